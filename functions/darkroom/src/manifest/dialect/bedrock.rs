//! Lines of Bedrock's batch files: `{"recordId":…,"modelInput":{…}}`
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html>, read
//! 2026-11).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    field::bad_name,
    item::{self, Item},
};
use crate::manifest::{diagnostics::ItemDiagnostics, strict_json};

const LINE: [&str; 2] = ["recordId", "modelInput"];

/// The input of a record.
pub(crate) enum ModelInput<'a> {
    /// A Gemini request, as it is written.
    Request(&'a RawValue),
    /// An item in Darkroom's own dialect.
    Item(Box<Item>),
}

/// Whether these members make a line of Bedrock's batch files.
pub(crate) fn is_line(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    members.iter().any(|(name, _)| name == "modelInput")
}

/// Reads a line: the id of its record, and the input, or `None` if that is not recognized.
pub(crate) fn read<'a>(
    members: &[(Cow<'_, str>, &'a RawValue)],
    diagnostics: &mut ItemDiagnostics,
) -> (Option<String>, Option<ModelInput<'a>>) {
    let (mut id, mut input) = (None, None);
    for (name, value) in members {
        match name.as_ref() {
            "recordId" => id = item::read_key(name, value.get(), diagnostics),
            "modelInput" => input = read_input(value, diagnostics),
            _ => {
                let (code, message) = bad_name(name, LINE.into_iter());
                diagnostics.error(code, format!("next to modelInput: {message}"));
            }
        }
    }
    (id, input)
}

fn read_input<'a>(
    value: &'a RawValue,
    diagnostics: &mut ItemDiagnostics,
) -> Option<ModelInput<'a>> {
    let members = strict_json::members_of("modelInput", value.get(), diagnostics);
    if members.is_empty() && diagnostics.failed() {
        return None;
    }
    let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);

    // Bedrock accepts the native form of each model, so the members determine the dialect.
    if has("contents") {
        return Some(ModelInput::Request(value));
    }
    if has("prompt") || has("template") {
        return Some(ModelInput::Item(Box::new(Item::from_json(
            &members,
            diagnostics,
        ))));
    }

    // Requests to other models are named, so that the user recognizes the mistake.
    let whose = match () {
        () if has("taskType") => "a request to Amazon's image models",
        () if has("text_prompts") => "a request to Stability's models",
        () if has("messages") => "a conversation with a text model",
        () => "not a request for an image",
    };
    let message = format!(
        "modelInput is {whose}: write {{\"prompt\": …}}, or a Gemini request, {{\"contents\": …}}"
    );
    diagnostics.error("bad_request", message);
    None
}
