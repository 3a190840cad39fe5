//! A batch's results, drawn when they are asked for: the lines of its output file, or its inline responses.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use clients::transport::{Body, BoxError};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Map, Value};

use super::{
    answer::{Answer, Question},
    batch::Batch,
    behaviour::Outcome,
    input::{Line, Reader, Row},
    models::Model,
};

/// How many lines are drawn at the same time, ahead of who downloads them.
const LINES_AHEAD: usize = 3;

/// The results of a batch.
pub(super) struct Results {
    /// The batch.
    pub(super) batch: Batch,
    /// Its model.
    pub(super) model: &'static Model,
    /// Where its input lines are.
    pub(super) input: PathBuf,
}

impl Results {
    /// The output file: a line for each row but the missing, then the repeated ones once more.
    pub(super) fn output_file(self, rows: Vec<Row>) -> Body {
        let results = Arc::new(self);
        let mut lines: Vec<Row> = rows.into_iter().filter(|row| row.outcome != Outcome::Missing).collect();
        let repeated: Vec<Row> = lines.iter().filter(|row| row.repeated).cloned().collect();
        lines.extend(repeated);
        let drawn = stream::iter(lines).map(move |row| {
            let results = Arc::clone(&results);
            async move {
                let line = tokio::task::spawn_blocking(move || results.output_line(&row)).await??;
                Ok::<_, BoxError>(Frame::data(Bytes::from(line)))
            }
        });
        BodyExt::boxed(StreamBody::new(drawn.buffered(LINES_AHEAD)))
    }

    /// The inline responses.
    ///
    /// # Errors
    /// When a request can't be read again or its picture can't be encoded.
    pub(super) fn inlined(&self, rows: &[Row]) -> Result<Vec<Value>, BoxError> {
        let there = rows.iter().filter(|row| row.outcome != Outcome::Missing);
        let inlined = there.map(|row| {
            let (line, (member, answer), _) = self.answer(row)?;
            let mut response = Map::new();
            response.insert(member.to_owned(), answer);
            if let Some(metadata) = line.metadata {
                response.insert("metadata".to_owned(), metadata);
            }
            Ok(Value::from(response))
        });
        inlined.collect()
    }

    fn output_line(&self, row: &Row) -> Result<String, BoxError> {
        let (line, (member, answer), key_comes_last) = self.answer(row)?;
        let mut members = Map::new();
        members.insert(member.to_owned(), answer);
        if let Some(key) = line.key {
            let place = if key_comes_last { 1 } else { 0 };
            members.shift_insert(place, "key".to_owned(), Value::from(key));
        }
        Ok(format!("{}\n", Value::from(members)))
    }

    fn answer(&self, row: &Row) -> Result<(Line, (&'static str, Value), bool), BoxError> {
        let reader = Reader { input: &self.batch.input, model: self.model };
        let line = reader.reread(&self.input, row)?;
        let question = Question {
            ask: &line.ask,
            model: self.model,
            uploaded: &self.batch.references,
            label: &line.label(row.position),
            batch: &self.batch.id,
            seed: self.batch.seed,
        };
        let answer = match question.answer(row.outcome)? {
            Answer::Response(response) => ("response", response),
            Answer::Error(status) => ("error", status),
        };
        let key_comes_last = question.key_comes_last();
        Ok((line, answer, key_comes_last))
    }
}
