//! Lines of Gemini's batch files: `{"key":…,"request":{…}}`, in snake case or camel case.
//!
//! A request is parsed only as far as its price and its checks need. Its bytes are sent unchanged.

pub(crate) mod line;
pub(crate) mod request_check;
pub(crate) mod request_hints;
pub(crate) mod request_schema;

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};
use url::Url;

use self::{line::NativeLine, request_check::RequestCheck};
use super::{field::snake_case, item};
use crate::{
    manifest::{
        diagnostics::{ItemDiagnostics, quote},
        resolve::{
            image_request::{Form, ImageRequest},
            references,
        },
        strict_json,
    },
    models::Control,
    names::ObjectUri,
};

type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The host of uploaded files.
const FILES_HOST: &str = "generativelanguage.googleapis.com";

impl NativeLine<'_> {
    /// Reads the line into what it asks for. `None` if it holds no usable request.
    pub(crate) fn image_request(
        self,
        bucket: &str,
        strictness: RequestCheck,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<ImageRequest> {
        let (request, root) = (self.request?, self.root);
        let Some(members) = strict_json::members(request) else {
            diagnostics.error(
                "bad_request",
                format!("{root} must be an object with contents"),
            );
            return None;
        };

        // Gemini refuses a whole batch for these mistakes, so they are reported before anything is
        // bought. The tier would also contradict the lane, which decides the price.
        if member(&members, "serviceTier").is_some() {
            diagnostics.error(
                "bad_request",
                format!(
                    "{root}.serviceTier is decided by the lane: remove it, and set the lane of the \
                     line or of the job"
                ),
            );
        }
        request_check::check(request, root, strictness, diagnostics);

        // Only what is needed for the price and for the results is parsed.
        let texts = Reader {
            root,
            bucket,
            strictness,
            diagnostics,
        }
        .read(&members);
        let configuration = inner(&members, "generationConfig").unwrap_or_default();
        check_candidates(&configuration, root, strictness, diagnostics);
        let is_set = |control: &Control| member(&configuration, control.name()).is_some();
        let controls = Control::ALL.into_iter().filter(is_set).collect();
        let image = inner(&configuration, "imageConfig").unwrap_or_default();
        let thinking = inner(&configuration, "thinkingConfig").unwrap_or_default();
        // Values of another type have been reported above.
        let text =
            |members: &Members<'_>, name| serde_json::from_str(member(members, name)?.get()).ok();

        // The line and its request may both name a model. Gemini accepts it only outside of the
        // request.
        let (request, model) = without_model(request, &members, diagnostics);
        if self.model.is_some() && model.is_some() && self.model != model {
            diagnostics.error(
                "bad_request",
                format!("the line and its {root} name different models: keep the one of the line"),
            );
        }
        Some(ImageRequest {
            key: self.key,
            key_name: self.key_name,
            vars: self.vars,
            model: self.model.or(model),
            aspect_ratio: text(&image, "aspectRatio"),
            image_size: text(&image, "imageSize"),
            pixels: None,
            count: 1,
            path: self.path,
            refs: texts.refs,
            web: Vec::new(),
            pictures: texts.pictures,
            characters: texts.characters,
            prompt: (!texts.prompt.is_empty()).then_some(texts.prompt),
            controls,
            thinking: text(&thinking, "thinkingLevel").and_then(|level: String| level.parse().ok()),
            lane: self.lane,
            form: Form::Native {
                request,
                root,
                strictness,
            },
        })
    }
}

/// What was found in the contents of a request.
#[derive(Default)]
struct Contents {
    prompt: String,
    characters: usize,
    refs: Vec<ObjectUri>,
    pictures: usize,
}

/// Reads the contents of a request.
struct Reader<'a> {
    root: &'static str,
    bucket: &'a str,
    strictness: RequestCheck,
    diagnostics: &'a mut ItemDiagnostics,
}

impl Reader<'_> {
    fn read(mut self, request: &Members<'_>) -> Contents {
        let (mut texts, root) = (Contents::default(), self.root);

        // The prompt is in the contents.
        match member(request, "contents").and_then(list) {
            Some(contents) if !contents.is_empty() => {
                for (number, content) in contents.into_iter().enumerate() {
                    self.read_content(
                        content.get(),
                        &format!("{root}.contents[{number}]"),
                        true,
                        &mut texts,
                    );
                }
            }
            _ => {
                self.diagnostics.error(
                    "bad_request",
                    format!("{root}.contents must be a list with at least one content"),
                );
            }
        }

        // System instructions count as input, but are not part of the prompt.
        if let Some(system) = member(request, "systemInstruction") {
            self.read_content(
                system.get(),
                &format!("{root}.systemInstruction"),
                false,
                &mut texts,
            );
        }
        texts
    }

    fn read_content(&mut self, content: &str, place: &str, is_prompt: bool, texts: &mut Contents) {
        let Some(parts) = strict_json::members(content)
            .and_then(|content| member(&content, "parts").and_then(list))
        else {
            self.diagnostics.error(
                "bad_request",
                format!("{place} must be an object with a list of parts"),
            );
            return;
        };
        for (number, part) in parts.into_iter().enumerate() {
            let Some(part) = strict_json::members(part.get()) else {
                self.diagnostics.error(
                    "bad_request",
                    format!("{place}.parts[{number}] must be an object"),
                );
                continue;
            };

            // Texts are joined, and pictures are counted.
            // A text of another type has been reported before.
            if let Some(text) = member(&part, "text")
                .and_then(|text| serde_json::from_str::<String>(text.get()).ok())
            {
                texts.characters += text.chars().count();
                if is_prompt {
                    let gap = if texts.prompt.is_empty() { "" } else { "\n" };
                    texts.prompt.push_str(gap);
                    texts.prompt.push_str(&text);
                }
            }
            if member(&part, "inlineData").is_some() {
                texts.pictures += 1;
            }
            if let Some(file) = inner(&part, "fileData") {
                texts.pictures += 1;
                self.read_file(
                    &file,
                    format_args!("{place}.parts[{number}].fileData.fileUri"),
                    texts,
                );
            }
        }
    }

    fn read_file(
        &mut self,
        file: &Members<'_>,
        place: std::fmt::Arguments<'_>,
        texts: &mut Contents,
    ) {
        let uri =
            member(file, "fileUri").and_then(|uri| serde_json::from_str::<String>(uri.get()).ok());
        let Some(uri) = uri.filter(|uri| !uri.is_empty()) else {
            self.diagnostics.error(
                "bad_request",
                format!("{place} must be a text with the address of the picture"),
            );
            return;
        };
        if uri.starts_with("s3://") || !uri.contains("://") {
            match references::object(&uri, self.bucket) {
                Ok(uri) => texts.refs.push(uri),
                Err((code, message)) => self.diagnostics.error(code, format!("{place}: {message}")),
            }
        } else if !is_uploaded_file(&uri) {
            let what = format!("{} {}", quote(&uri), instead_of(&uri));
            self.strictness
                .note("unsupported_reference", place, &what, self.diagnostics);
        }
    }
}

/// Whether a URI is that of a file in Gemini's Files API, or in the simulated one on this machine:
/// `https://generativelanguage.googleapis.com/v1beta/files/abc`.
fn is_uploaded_file(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<Url>() else {
        return false;
    };
    let is_gemini = uri.scheme() == "https" && uri.host_str() == Some(FILES_HOST);
    let is_here = uri.scheme() == "http"
        && matches!(uri.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let folders: Vec<&str> = uri
        .path_segments()
        .map(Iterator::collect)
        .unwrap_or_default();
    let is_file =
        matches!(folders[..], [version, "files", id] if version.starts_with('v') && !id.is_empty());
    (is_gemini || is_here) && is_file
}

/// Explains why Gemini can't use an address, and what to do instead.
fn instead_of(uri: &str) -> &'static str {
    let scheme = uri
        .split("://")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match scheme.as_str() {
        "gs" => {
            "is in Google Cloud Storage, which Gemini's batches can't read: copy it to S3 and \
             write s3://bucket/key"
        }
        "http" | "https" => {
            "is a web address, which Gemini's batches don't fetch: put the picture into the \
             bucket and write its key, \
             such as refs/a.jpg"
        }
        _ => {
            "is an address of an unknown kind: write s3://bucket/key, or a key in the bucket, \
             such as refs/a.jpg"
        }
    }
}

/// Checks the number of candidates: Gemini refuses the whole batch if one request asks for several.
fn check_candidates(
    configuration: &Members<'_>,
    root: &str,
    strictness: RequestCheck,
    diagnostics: &mut ItemDiagnostics,
) {
    let Some(count) = member(configuration, "candidateCount") else {
        return;
    };
    let number: Option<f64> = count.get().trim_matches('"').trim().parse().ok();
    if number.is_some_and(|number| number > 1.0) {
        let what = "Gemini makes one image per request: remove it, and write a line with its own \
                    key for each image";
        let place = format_args!("{root}.generationConfig.candidateCount");
        strictness.note("bad_request_value", place, what, diagnostics);
    }
}

/// Removes the model from a request, because Gemini does not allow it there. Returns the request
/// and the model.
#[expect(
    clippy::expect_used,
    reason = "a list of raw members is an object again"
)]
fn without_model(
    request: &str,
    members: &Members<'_>,
    diagnostics: &mut ItemDiagnostics,
) -> (Box<RawValue>, Option<String>) {
    let Some((_, model)) = members.iter().find(|(name, _)| name == "model") else {
        return (
            RawValue::from_string(request.to_owned()).expect("it was read as JSON"),
            None,
        );
    };
    let model = item::read(
        "request.model",
        model.get(),
        "a text in quotes",
        diagnostics,
    );

    // The request is assembled from its other members, whose values keep their bytes.
    let rest = members.iter().filter(|(name, _)| name != "model");
    let rest: Vec<String> = rest
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_ref())))
        .collect();
    (
        RawValue::from_string(format!("{{{}}}", rest.join(","))).expect("members make an object"),
        model,
    )
}

/// Returns a member by its name in either case. `null` counts as missing.
fn member<'a>(members: &Members<'a>, camel: &str) -> Option<&'a RawValue> {
    let snake = snake_case(camel);
    let found = members
        .iter()
        .find(|(name, _)| *name == camel || *name == snake)
        .map(|(_, value)| *value);
    found.filter(|value| value.get() != "null")
}

fn inner<'a>(members: &Members<'a>, name: &str) -> Option<Members<'a>> {
    strict_json::members(member(members, name)?.get())
}

fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}
