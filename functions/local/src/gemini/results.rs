//! A batch's results, drawn when they are asked for.

use std::path::PathBuf;

use clients::transport::BoxError;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Question, Serving},
    batch::Batch,
    draw::Draw,
    input::{Line, Reader, Row},
    models::Model,
    outcome::{Outcome, Rendering},
};

/// The results of a batch.
pub(super) struct Results {
    /// The batch.
    pub(super) batch: Batch,
    /// Its model.
    pub(super) model: &'static Model,
    /// Where its input lines are.
    pub(super) input: PathBuf,
}

/// A line of the output file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written {
    /// What a request asked for.
    AsAsked(Row),
    /// The same once more.
    Repeated(Row),
    /// Another answer to it.
    Again(Row),
    /// An image under a key that nobody asked for, beside this row's.
    Stray(Row),
}

impl Results {
    /// The inline responses.
    ///
    /// # Errors
    /// When a request can't be read again or its picture can't be encoded.
    pub(super) fn inlined(&self, rows: &[Row]) -> Result<Vec<Value>, BoxError> {
        let there = rows.iter().filter(|row| row.outcome != Outcome::Missing);
        let inlined = there.map(|row| {
            let line = self.line(row)?;
            let label = line.label(row.position);
            let (member, answer) = answer(&self.question(&line, &label), row.outcome)?;
            let mut response = Map::new();
            response.insert(member.to_owned(), answer);
            if let Some(metadata) = line.metadata {
                response.insert("metadata".to_owned(), metadata);
            }
            Ok(Value::from(response))
        });
        inlined.collect()
    }

    /// A line of the output file, with its end.
    ///
    /// # Errors
    /// As [`Self::inlined`].
    pub(super) fn output_line(&self, written: &Written) -> Result<String, BoxError> {
        let (Written::AsAsked(row) | Written::Repeated(row) | Written::Again(row) | Written::Stray(row)) = written;
        let mut line = self.line(row)?;
        let mut label = line.label(row.position);
        let image = Outcome::Image(Rendering::default());
        let (outcome, serving) = match written {
            Written::AsAsked(row) | Written::Repeated(row) => (row.outcome, Serving::First),
            Written::Again(_) => (image, Serving::Second),
            Written::Stray(_) => {
                label = stray_key(self.batch.seed, &self.batch.id, &label);
                line.key = Some(label.clone());
                (image, Serving::First)
            }
        };
        let question = Question { serving, ..self.question(&line, &label) };
        let (member, answer) = answer(&question, outcome)?;
        let key_comes_last = question.key_comes_last();
        let mut members = Map::new();
        members.insert(member.to_owned(), answer);
        if let Some(key) = &line.key {
            let place = if key_comes_last { 1 } else { 0 };
            members.shift_insert(place, "key".to_owned(), json!(key));
        }
        Ok(format!("{}\n", Value::from(members)))
    }

    fn line(&self, row: &Row) -> Result<Line, BoxError> {
        let reader = Reader { input: &self.batch.input, model: self.model };
        Ok(reader.reread(&self.input, row)?)
    }

    fn question<'a>(&'a self, line: &'a Line, label: &'a str) -> Question<'a> {
        Question {
            ask: &line.ask,
            model: self.model,
            uploaded: &self.batch.references,
            label,
            batch: &self.batch.id,
            seed: self.batch.seed,
            serving: Serving::First,
        }
    }
}

impl Written {
    /// What the line's answer was billed for, in billionths of a dollar. One that is told once more isn't billed again.
    pub(super) fn billed(&self) -> u64 {
        match self {
            Self::AsAsked(row) => row.nanodollars,
            Self::Repeated(_) => 0,
            Self::Again(row) => row.again.unwrap_or(0),
            Self::Stray(row) => row.stray.unwrap_or(0),
        }
    }
}

/// The key that nobody asked for, of an image beside the line of `label`.
pub(super) fn stray_key(seed: u64, batch: &str, label: &str) -> String {
    format!("stray-{}", Draw::about(seed, &["stray key", batch, label]).id(12))
}

/// The member that holds the answer, and the answer.
fn answer(question: &Question<'_>, outcome: Outcome) -> Result<(&'static str, Value), BoxError> {
    Ok(match question.answer(outcome)? {
        Answer::Response(response) => ("response", response),
        Answer::Error(status) => ("error", status),
    })
}
