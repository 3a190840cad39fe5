//! A batch's results, drawn on demand.

use std::path::PathBuf;

use seam::transport::BoxError;
use serde_json::{Map, Value, json};

use crate::{
    batch::{
        Batch,
        input::{Input, InputLine, InputReader, Row},
    },
    generation::{
        answer::{Answer, AnswerContext, Serving},
        line_form::LineForm,
        models::Model,
        outcome::{Rendering, RequestOutcome},
        service_tier::ServiceTier,
    },
    seeded_random::SeededRandom,
};

/// The results of a batch.
pub(crate) struct Results {
    /// The batch.
    pub(crate) batch: Batch,
    /// Its model.
    pub(crate) model: &'static Model,
    /// The file with the input lines.
    pub(crate) input: PathBuf,
}

/// One line of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputLine {
    /// The answer to a request.
    Requested(Row),
    /// The same line again.
    Repeated(Row),
    /// A second answer to the request.
    SecondAnswer(Row),
    /// An extra image under a key that no request has, made for this row.
    Stray(Row),
}

/// An output line with everything that its content depends on.
pub(crate) struct ResolvedLine {
    line: InputLine,
    /// The request's key, or a replacement if it has none. For a stray line, the key that no
    /// request has.
    pub(crate) label: String,
    /// The outcome that the line shows.
    pub(crate) outcome: RequestOutcome,
    serving: Serving,
    /// The form of the line.
    pub(crate) form: LineForm,
}

impl Results {
    /// Returns the inline responses.
    ///
    /// # Errors
    /// When a request can't be read again or its image can't be encoded.
    pub(crate) fn inlined(&self, lines: &[OutputLine]) -> Result<Vec<Value>, BoxError> {
        let inlined = lines.iter().map(|output_line| {
            let resolved = self.resolve(output_line)?;
            let mut response = self.members(&resolved)?;
            if let Some(metadata) = self.metadata(&resolved) {
                response.insert("metadata".to_owned(), metadata);
            }
            Ok(Value::from(response))
        });
        inlined.collect()
    }

    /// Returns a line of the output file, without its line break.
    ///
    /// # Errors
    /// As [`Self::inlined`].
    pub(crate) fn file_line(&self, output_line: &OutputLine) -> Result<String, BoxError> {
        let resolved = self.resolve(output_line)?;
        let mut members = self.members(&resolved)?;
        if let Some(key) = resolved
            .line
            .key
            .as_deref()
            .and_then(|key| resolved.form.key.key(key))
        {
            let place = if self.context(&resolved).key_comes_last() {
                members.len()
            } else {
                0
            };
            members.shift_insert(place, "key".to_owned(), key);
        }
        Ok(Value::from(members).to_string())
    }

    /// Resolves a line of the output.
    ///
    /// # Errors
    /// When its request can't be read again.
    pub(crate) fn resolve(&self, output_line: &OutputLine) -> Result<ResolvedLine, BoxError> {
        // Requests are not kept in memory: the line is read again from the stored input.
        let row = output_line.row();
        let reader = InputReader {
            input: &self.batch.input,
            model: self.model,
        };
        let mut line = reader.reread(&self.input, row)?;
        let mut label = line.label(row.position);

        // Second answers and stray lines are always images without deviations.
        let image = RequestOutcome::Image(Rendering::default());
        let (outcome, serving) = match output_line {
            OutputLine::Requested(row) | OutputLine::Repeated(row) => (row.outcome, Serving::First),
            OutputLine::SecondAnswer(_) => (image, Serving::Second),
            OutputLine::Stray(_) => {
                label = stray_key(self.batch.seed, &self.batch.id, &label);
                match self.batch.input {
                    Input::File(_) => line.key = Some(label.clone()),
                    Input::Inline => line.metadata = Some(json!({"key": label})),
                }
                (image, Serving::First)
            }
        };
        Ok(ResolvedLine {
            line,
            label,
            outcome,
            serving,
            form: row.form,
        })
    }

    /// Returns everything that the line's answer depends on.
    pub(crate) fn context<'a>(&'a self, resolved: &'a ResolvedLine) -> AnswerContext<'a> {
        AnswerContext {
            request: &resolved.line.request,
            model: self.model,
            uploaded: &self.batch.references,
            label: &resolved.label,
            batch: &self.batch.id,
            seed: self.batch.seed,
            serving: resolved.serving,
            tier: ServiceTier::Standard,
        }
    }

    /// Returns the members of a line, except those that identify the request.
    fn members(&self, resolved: &ResolvedLine) -> Result<Map<String, Value>, BoxError> {
        Ok(
            match self
                .context(resolved)
                .answer(resolved.outcome, resolved.form.image)?
            {
                Answer::Response(response) => resolved.form.response(response),
                Answer::Error(error) => Map::from_iter([("error".to_owned(), error)]),
            },
        )
    }

    /// Returns what identifies the request of an inline response: the metadata that the request
    /// brought, or its key.
    fn metadata(&self, resolved: &ResolvedLine) -> Option<Value> {
        let ResolvedLine { line, form, .. } = resolved;
        let mut metadata = match (&line.metadata, &line.key) {
            (Some(metadata), _) => metadata.clone(),
            (None, Some(key)) => json!({"key": key}),
            (None, None) => return None,
        };
        if let Some(key) = metadata["key"].as_str() {
            metadata["key"] = form.key.key(key)?;
        }
        Some(metadata)
    }
}

impl ResolvedLine {
    /// Returns whether the line carries a key.
    pub(crate) fn carries_key(&self) -> bool {
        let in_metadata = || {
            self.line
                .metadata
                .as_ref()
                .is_some_and(|metadata| metadata["key"].is_string())
        };
        (self.line.key.is_some() || in_metadata()) && self.form.key.key(&self.label).is_some()
    }
}

impl OutputLine {
    /// Returns what was billed for the line, in billionths of a dollar. A repeated line isn't
    /// billed again.
    pub(crate) fn billed(&self) -> u64 {
        match self {
            Self::Requested(row) => row.nanodollars,
            Self::Repeated(_) => 0,
            Self::SecondAnswer(row) => row.again.unwrap_or(0),
            Self::Stray(row) => row.stray.unwrap_or(0),
        }
    }

    fn row(&self) -> &Row {
        let (Self::Requested(row)
        | Self::Repeated(row)
        | Self::SecondAnswer(row)
        | Self::Stray(row)) = self;
        row
    }
}

/// Returns the key of the extra image that is made for `label`. No request has this key.
pub(crate) fn stray_key(seed: u64, batch: &str, label: &str) -> String {
    format!(
        "stray-{}",
        SeededRandom::new(seed, &["stray key", batch, label]).id(12)
    )
}
