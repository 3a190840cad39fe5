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

/// What a record asks for.
pub(crate) enum ModelInput<'a> {
    /// A request in Google's form, as it is written.
    Request(&'a RawValue),
    /// A friendly item.
    Item(Box<Item>),
}

/// Whether these members make a line of Bedrock's form.
pub(crate) fn is_line(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    members.iter().any(|(name, _)| name == "modelInput")
}

/// Reads a line: its record's id, and what it asks for. `None` where that can't be told.
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
                diagnostics.error(code, format!("beside modelInput: {message}"));
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
    if has("contents") {
        return Some(ModelInput::Request(value));
    }
    if has("prompt") || has("template") {
        return Some(ModelInput::Item(Box::new(Item::from_json(
            &members,
            diagnostics,
        ))));
    }
    let whose = match () {
        () if has("taskType") => "a request to Amazon's image models",
        () if has("text_prompts") => "a request to Stability's models",
        () if has("messages") => "a conversation with a text model",
        () => "no request that makes an image",
    };
    let message = format!(
        "modelInput is {whose}: write {{\"prompt\": …}}, or a request in Google's form, {{\"contents\": …}}"
    );
    diagnostics.error("bad_request", message);
    None
}
