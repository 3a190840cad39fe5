//! From a manifest line to the body of a call, by the library that reads manifests.

use std::collections::HashMap;

use darkroom::{
    batch_bounds::BatchBounds,
    job::JobSettings,
    lane::Lane,
    manifest::{self, Context, Diagnostic, Header, Limits, PlannedImage, Severity, Sidecar},
    models::Catalog,
    names::ObjectUri,
    requests::{self, PlacedReference},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::record::Record;
use crate::cloud::BUCKET;

/// A manifest line in Darkroom's own dialect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::command) struct FriendlyLine {
    pub(in crate::command) key: String,
    pub(in crate::command) prompt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) aspect_ratio: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) image_size: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) thinking: Option<String>,
    /// Keys below `refs/`, next to the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) refs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) lane: Option<Lane>,
}

impl FriendlyLine {
    /// Returns the line, without a line break.
    pub(in crate::command) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Returns the manifest line of a request in Google's form, without a line break.
pub(super) fn native_line(key: &str, model: &str, request: &str) -> String {
    let (key, model) = (Value::from(key), Value::from(model));
    format!("{{\"key\":{key},\"model\":{model},\"request\":{request}}}")
}

/// A manifest line that was read.
#[derive(Debug)]
pub(in crate::command) struct Planned {
    pub(in crate::command) image: PlannedImage,
    /// What the user should know about it.
    pub(in crate::command) warnings: Vec<String>,
}

/// Reads manifest lines as `plan` does.
#[derive(Debug)]
pub(in crate::command) struct Planner {
    catalog: Catalog,
    settings: JobSettings,
    on: Date,
}

impl Planner {
    pub(in crate::command) fn new(catalog: Catalog, now: Timestamp) -> Self {
        Self {
            catalog,
            settings: JobSettings::default(),
            on: now.to_zoned(TimeZone::UTC).date(),
        }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns what a manifest with this sidecar is read with.
    pub(super) fn context<'a>(&'a self, sidecar: &'a Sidecar) -> Context<'a> {
        Context {
            bucket: BUCKET,
            catalog: &self.catalog,
            default_model: &self.settings.default_model,
            on: self.on,
            allow_retired_models: self.settings.allow_retired_models,
            sidecar,
            allowed_models: None,
            allow_unknown_models: self.settings.allow_unknown_models,
            copies: None,
            bounds: BatchBounds::none(),
            limits: Limits::default(),
            lanes: None,
        }
    }

    /// Reads one line. Returns its image, or the texts of its errors.
    pub(in crate::command) fn read(
        &self,
        line: &str,
    ) -> anyhow::Result<Result<Planned, Vec<String>>> {
        let sidecar = Sidecar::default();
        let context = self.context(&sidecar);
        let header = Header::read(line.as_bytes(), &context)?;
        let mut image = None;
        let reading = manifest::read(line.as_bytes(), &header, &context, |planned| {
            image = Some(planned);
            Ok(())
        })?;
        let texts = |severity| {
            let problems = reading.problems.iter();
            let of_severity = problems.filter(move |problem| problem.severity == severity);
            of_severity.map(describe).collect()
        };
        Ok(match image.filter(|_| reading.errors == 0) {
            Some(image) => Ok(Planned {
                image,
                warnings: texts(Severity::Warning),
            }),
            None => Err(texts(Severity::Error)),
        })
    }
}

/// Returns the text of a problem without its line: the prompt comes from the command line.
pub(super) fn describe(problem: &Diagnostic) -> String {
    format!(
        "{}: {} ({})",
        problem.severity, problem.message, problem.code
    )
}

/// Returns the request that a batch would have for an image, byte for byte.
pub(in crate::command) fn request_text(
    image: &PlannedImage,
    placed: &HashMap<ObjectUri, PlacedReference>,
) -> anyhow::Result<String> {
    let line = requests::line(&image.key, &image.request);
    let line = requests::with_placed(&line, BUCKET, placed)?;
    Ok(String::from_utf8(requests::call_body(&line, false)?)?)
}

/// The members of a request that was built from a line in Darkroom's own dialect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    contents: Vec<&'a RawValue>,
    #[serde(borrow)]
    generation_config: &'a RawValue,
}

/// Returns the request that continues a conversation: the earlier turns and the answer unchanged,
/// and then the turn of the request `next`. The configuration is that of the first request.
pub(super) fn conversation(previous: &Record, next: &str) -> anyhow::Result<String> {
    let Some(answer) = &previous.answer else {
        anyhow::bail!(
            "the last image can't be edited, because its answer had no content: start again with \
             darkroom try \"a prompt\""
        );
    };
    let before: Members<'_> = serde_json::from_str(previous.request.get())?;
    let next: Members<'_> = serde_json::from_str(next)?;
    let turns = before.contents.iter().map(|turn| turn.get().to_owned());
    let turns: Vec<String> = turns
        .chain([model_turn(answer)?])
        .chain(next.contents.iter().map(|turn| turn.get().to_owned()))
        .collect();
    Ok(format!(
        "{{\"contents\":[{}],\"generationConfig\":{}}}",
        turns.join(","),
        before.generation_config.get()
    ))
}

/// Returns an answer as a turn of a request, on one line. Its parts are unchanged: Gemini checks the
/// signature of each image.
fn model_turn(answer: &RawValue) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Turn {
        role: Option<String>,
    }
    // A line break can occur only between JSON tokens, where a space is equivalent.
    let text = answer.get().replace(['\n', '\r'], " ");
    let turn: Turn = serde_json::from_str(&text)?;
    Ok(match text.strip_prefix('{') {
        Some(rest) if turn.role.is_none() => format!("{{\"role\":\"model\",{rest}"),
        _ => text,
    })
}
