//! A batch's results, drawn when they are asked for.

use std::path::PathBuf;

use seam::transport::BoxError;
use serde_json::{Map, Value, json};

use crate::{
    batch::{
        Batch,
        input::{Input, Line, Reader, Row},
    },
    generation::{
        answer::{Answer, Question, Serving},
        line_form::LineForm,
        models::Model,
        outcome::{Outcome, Rendering},
    },
    seeded_random::Draw,
};

/// The results of a batch.
pub(crate) struct Results {
    /// The batch.
    pub(crate) batch: Batch,
    /// Its model.
    pub(crate) model: &'static Model,
    /// Where its input lines are.
    pub(crate) input: PathBuf,
}

/// A line of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    /// What a request asked for.
    AsAsked(Row),
    /// The same once more.
    Repeated(Row),
    /// Another answer to it.
    Again(Row),
    /// An image under a key that no request has, made in addition to this row's.
    Stray(Row),
}

/// What a line of the output answers.
pub(crate) struct Asked {
    line: Line,
    /// The request's key, or what stands for it; of a stray line, the key that no request has.
    pub(crate) label: String,
    /// What the line holds.
    pub(crate) outcome: Outcome,
    serving: Serving,
    /// How it is written.
    pub(crate) form: LineForm,
}

impl Results {
    /// The inline responses.
    ///
    /// # Errors
    /// When a request can't be read again or its picture can't be encoded.
    pub(crate) fn inlined(&self, lines: &[Written]) -> Result<Vec<Value>, BoxError> {
        let inlined = lines.iter().map(|written| {
            let asked = self.asked(written)?;
            let mut response = self.members(&asked)?;
            if let Some(metadata) = self.metadata(&asked) {
                response.insert("metadata".to_owned(), metadata);
            }
            Ok(Value::from(response))
        });
        inlined.collect()
    }

    /// A line of the output file, without its end.
    ///
    /// # Errors
    /// As [`Self::inlined`].
    pub(crate) fn output_line(&self, written: &Written) -> Result<String, BoxError> {
        let asked = self.asked(written)?;
        let mut members = self.members(&asked)?;
        if let Some(key) = asked
            .line
            .key
            .as_deref()
            .and_then(|key| asked.form.key.key(key))
        {
            let place = if self.question(&asked).key_comes_last() {
                members.len()
            } else {
                0
            };
            members.shift_insert(place, "key".to_owned(), key);
        }
        Ok(Value::from(members).to_string())
    }

    /// What a line answers.
    ///
    /// # Errors
    /// When its request can't be read again.
    pub(crate) fn asked(&self, written: &Written) -> Result<Asked, BoxError> {
        let row = written.row();
        let reader = Reader {
            input: &self.batch.input,
            model: self.model,
        };
        let mut line = reader.reread(&self.input, row)?;
        let mut label = line.label(row.position);
        let image = Outcome::Image(Rendering::default());
        let (outcome, serving) = match written {
            Written::AsAsked(row) | Written::Repeated(row) => (row.outcome, Serving::First),
            Written::Again(_) => (image, Serving::Second),
            Written::Stray(_) => {
                label = stray_key(self.batch.seed, &self.batch.id, &label);
                match self.batch.input {
                    Input::File(_) => line.key = Some(label.clone()),
                    Input::Inline => line.metadata = Some(json!({"key": label})),
                }
                (image, Serving::First)
            }
        };
        Ok(Asked {
            line,
            label,
            outcome,
            serving,
            form: row.form,
        })
    }

    /// The request that a line answers, with all that its answer depends on.
    pub(crate) fn question<'a>(&'a self, asked: &'a Asked) -> Question<'a> {
        Question {
            ask: &asked.line.ask,
            model: self.model,
            uploaded: &self.batch.references,
            label: &asked.label,
            batch: &self.batch.id,
            seed: self.batch.seed,
            serving: asked.serving,
        }
    }

    /// The members of a line but those that tell which request it answers.
    fn members(&self, asked: &Asked) -> Result<Map<String, Value>, BoxError> {
        Ok(
            match self
                .question(asked)
                .answer(asked.outcome, asked.form.image)?
            {
                Answer::Response(response) => asked.form.response(response),
                Answer::Error(error) => Map::from_iter([("error".to_owned(), error)]),
            },
        )
    }

    /// What tells which request an inline response answers: what the request brought along, or its
    /// key.
    fn metadata(&self, asked: &Asked) -> Option<Value> {
        let Asked { line, form, .. } = asked;
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

impl Asked {
    /// Whether the line carries a key.
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

impl Written {
    /// What the line's answer was billed for, in billionths of a dollar. One that is written once
    /// more isn't billed again.
    pub(crate) fn billed(&self) -> u64 {
        match self {
            Self::AsAsked(row) => row.nanodollars,
            Self::Repeated(_) => 0,
            Self::Again(row) => row.again.unwrap_or(0),
            Self::Stray(row) => row.stray.unwrap_or(0),
        }
    }

    fn row(&self) -> &Row {
        let (Self::AsAsked(row) | Self::Repeated(row) | Self::Again(row) | Self::Stray(row)) = self;
        row
    }
}

/// The key of the image that is made in addition to the one of `label`. No request has it.
pub(crate) fn stray_key(seed: u64, batch: &str, label: &str) -> String {
    format!(
        "stray-{}",
        Draw::about(seed, &["stray key", batch, label]).id(12)
    )
}
