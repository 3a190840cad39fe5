//! Lines of Google's own batch files: `{"key":…,"request":{…}}`, in either casing.
//!
//! The request is read only as far as needed to price and check it; its bytes are passed through.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::{
    field::{Field, bad_name, field, snake_case},
    item,
    order::{Form, Order},
    problem::{Findings, quote},
    reference, strict,
    variables::Variables,
};
use crate::{models::Control, names::ObjectUri};

type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

const LINE: [&str; 6] = ["key", "id", "model", "request", "output", "out"];

/// Members of a request (<https://ai.google.dev/api/generate-content>, read 2026-11).
const REQUEST: [&str; 8] = [
    "contents",
    "systemInstruction",
    "generationConfig",
    "safetySettings",
    "tools",
    "toolConfig",
    "cachedContent",
    "store",
];

/// A line, its request as it is written.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) key: Option<String>,
    /// What the caller calls the key, where that isn't `key`.
    pub(super) key_name: Option<&'static str>,
    pub(super) model: Option<String>,
    pub(super) path: Option<String>,
    pub(super) request: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Whether these members make a line of Google's form.
    pub(super) fn is_line(members: &Members<'_>) -> bool {
        members.iter().any(|(name, _)| name == "request")
    }

    /// Reads a line that has a `request` member.
    pub(super) fn read(members: &Members<'a>, findings: &mut Findings) -> Self {
        let mut line = Self::default();
        for (name, value) in members {
            let value = value.get();
            match name.as_ref() {
                name if field(name) == Ok(Field::Key) => {
                    if line.key.is_some() {
                        findings.error("duplicate_member", format!("{name} is one key too many: keep one"));
                    }
                    line.key = item::read_key(name, value, findings);
                    line.key_name = item::callers_name(name);
                }
                "model" => line.model = item::read(name, value, "a text in quotes", findings),
                "output" | "out" => line.path = item::path(name, value, findings),
                "request" => line.request = Some(value),
                _ => {
                    let (code, message) = bad_name(name, LINE.into_iter());
                    findings.error(code, format!("beside a request: {message}"));
                }
            }
        }
        line
    }

    /// What the line orders. `None` where there is nothing to go on with.
    pub(super) fn order(self, bucket: &str, findings: &mut Findings) -> Option<Order> {
        let request = self.request?;
        let Some(members) = strict::members(request) else {
            findings.error("bad_request", "request must be an object with contents");
            return None;
        };
        check_names(&members, findings);
        let texts = Texts::of(&members, bucket, findings);
        let configuration = inner(&members, "generationConfig", findings).unwrap_or_default();
        let is_set = |control: &Control| member(&configuration, control.name(), &mut Findings::default()).is_some();
        let controls = Control::ALL.into_iter().filter(is_set).collect();
        let image = inner(&configuration, "imageConfig", findings);
        let mut asked = |name| {
            let value = member(image.as_ref()?, name, findings)?;
            item::read(name, value.get(), "a text in quotes", findings)
        };
        let (aspect_ratio, image_size) = (asked("aspectRatio"), asked("imageSize"));
        let (request, model) = without_model(request, &members, findings);
        if self.model.is_some() && model.is_some() && self.model != model {
            findings.error("bad_request", "the line and its request name different models: keep the line's");
        }
        Some(Order {
            key: self.key,
            key_name: self.key_name,
            vars: Variables::default(),
            model: self.model.or(model),
            aspect_ratio,
            image_size,
            pixels: None,
            count: 1,
            path: self.path,
            refs: texts.refs,
            web: Vec::new(),
            pictures: texts.pictures,
            characters: texts.characters,
            prompt: (!texts.prompt.is_empty()).then_some(texts.prompt),
            controls,
            form: Form::Native(request),
        })
    }
}

/// What a request's contents hold.
#[derive(Default)]
struct Texts {
    prompt: String,
    characters: usize,
    refs: Vec<ObjectUri>,
    pictures: usize,
}

impl Texts {
    fn of(request: &Members<'_>, bucket: &str, findings: &mut Findings) -> Self {
        let mut texts = Self::default();
        let contents = member(request, "contents", findings).and_then(list);
        match contents {
            Some(contents) if !contents.is_empty() => {
                for content in contents {
                    texts.read_content(content.get(), true, bucket, findings);
                }
            }
            _ => findings.error("bad_request", "request.contents must be a list with at least one content"),
        }
        if let Some(system) = member(request, "systemInstruction", findings) {
            texts.read_content(system.get(), false, bucket, findings);
        }
        texts
    }

    fn read_content(&mut self, content: &str, prompt: bool, bucket: &str, findings: &mut Findings) {
        let Some(parts) =
            strict::members(content).and_then(|content| member(&content, "parts", findings).and_then(list))
        else {
            findings.error("bad_request", "a content of the request must be an object with a list of parts");
            return;
        };
        for part in parts {
            let Some(part) = strict::members(part.get()) else {
                findings.error("bad_request", "a part of the request must be an object");
                continue;
            };
            if let Some(text) = member(&part, "text", findings)
                && let Some(text) = item::read::<String>("text", text.get(), "a text in quotes", findings)
            {
                self.characters += text.chars().count();
                if prompt {
                    let gap = if self.prompt.is_empty() { "" } else { "\n" };
                    self.prompt.push_str(gap);
                    self.prompt.push_str(&text);
                }
            }
            if member(&part, "inlineData", findings).is_some() {
                self.pictures += 1;
            }
            if let Some(file) = inner(&part, "fileData", findings) {
                self.pictures += 1;
                self.read_file(&file, bucket, findings);
            }
        }
    }

    /// Whatever has a scheme other than S3's is Gemini's business.
    fn read_file(&mut self, file: &Members<'_>, bucket: &str, findings: &mut Findings) {
        let uri = member(file, "fileUri", findings);
        let Some(uri) = uri.and_then(|uri| item::read::<String>("fileUri", uri.get(), "a text in quotes", findings))
        else {
            findings.error("bad_request", "a fileData of the request has no fileUri");
            return;
        };
        if uri.starts_with("s3://") || !uri.contains("://") {
            match reference::object(&uri, bucket) {
                Ok(uri) => self.refs.push(uri),
                Err((code, message)) => findings.error(code, message),
            }
        }
    }
}

/// Google refuses the whole batch for one unknown name. It is a warning only, because Google adds names.
fn check_names(request: &Members<'_>, findings: &mut Findings) {
    for (name, _) in request {
        let snake = snake_case(name);
        if snake == "service_tier" {
            findings.error("bad_request", "serviceTier is not allowed in a batch: take it out");
        } else if name != "model" && !REQUEST.iter().any(|known| snake_case(known) == snake) {
            findings.warning(
                "unknown_request_field",
                format!(
                    "Gemini may refuse the whole batch for {} in a request: it knows {}",
                    quote(name),
                    REQUEST.join(", ")
                ),
            );
        }
    }
}

/// The request without its model, which Gemini doesn't allow there, and the model.
#[expect(clippy::expect_used, reason = "a list of raw members is an object again")]
fn without_model(request: &str, members: &Members<'_>, findings: &mut Findings) -> (Box<RawValue>, Option<String>) {
    let Some((_, model)) = members.iter().find(|(name, _)| name == "model") else {
        return (RawValue::from_string(request.to_owned()).expect("it was read as JSON"), None);
    };
    let model = item::read("request.model", model.get(), "a text in quotes", findings);
    let rest = members.iter().filter(|(name, _)| name != "model");
    let rest: Vec<String> = rest.map(|(name, value)| format!("{}:{value}", Value::from(name.as_ref()))).collect();
    (RawValue::from_string(format!("{{{}}}", rest.join(","))).expect("members make an object"), model)
}

/// A member in either casing; `null` is as good as none.
fn member<'a>(members: &Members<'a>, camel: &str, findings: &mut Findings) -> Option<&'a RawValue> {
    let snake = snake_case(camel);
    let mut found = members.iter().filter(|(name, _)| *name == camel || *name == snake).map(|(_, value)| *value);
    let first = found.next()?;
    if found.next().is_some() {
        findings.error("duplicate_member", format!("{camel} and {snake} are the same member: keep one"));
    }
    (first.get() != "null").then_some(first)
}

fn inner<'a>(members: &Members<'a>, name: &str, findings: &mut Findings) -> Option<Members<'a>> {
    let value = member(members, name, findings)?;
    let found = strict::members(value.get());
    if found.is_none() {
        findings.error("bad_request", format!("{name} must be an object"));
    }
    found
}

fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}
