//! What the service itself knows of a batch: for whoever checks a client's word against it. No call tells it.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    batch::Batch,
    input::{Input, Row},
    output::billed_and_delivered,
};

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `batches/<id>`.
    pub name: String,
    /// As the client called it.
    pub display_name: String,
    /// The keys of its requests, in the order of its input file. Inline requests have none.
    pub keys: Vec<String>,
    /// When it was created: it lives from then on.
    pub created: Timestamp,
    /// When it came to its end, if it has.
    pub ended: Option<Timestamp>,
    /// `files/<id>` of its output, if there is any.
    pub output: Option<String>,
    /// Its bill so far.
    pub bill: Bill,
}

/// What the service charges for a batch: each request as it is done, at half of the model's standard prices. In billionths
/// of a dollar, by the service's own price table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// All of it.
    pub nanodollars: u64,
    /// The part of it that is for answers which its output doesn't have, or not whole: no client can know them.
    pub undelivered_nanodollars: u64,
}

impl Record {
    /// What is known at `now` of a batch whose input lines are in `input`, and whose rows by now are `rows`.
    ///
    /// # Errors
    /// When the input can't be read.
    pub(super) fn of(batch: &Batch, rows: &[Row], input: &Path, now: Timestamp) -> io::Result<Self> {
        let progress = batch.progress(now);
        let output = batch.operation(now, None)["response"]["responsesFile"].as_str().map(str::to_owned);
        let mut keys = Vec::new();
        if let Input::File(_) = batch.input {
            for line in fs::read_to_string(input)?.lines() {
                let line: Value = serde_json::from_str(line)?;
                keys.extend(line["key"].as_str().map(str::to_owned));
            }
        }
        let nanodollars: u64 = rows.iter().map(Row::billed).sum();
        let delivered = if progress.has_output() { billed_and_delivered(rows, batch.fate) } else { 0 };
        Ok(Self {
            name: batch.name(),
            display_name: batch.display_name.clone(),
            keys,
            created: batch.created,
            ended: progress.state.is_terminal().then_some(progress.updated),
            output,
            bill: Bill { nanodollars, undelivered_nanodollars: nanodollars - delivered },
        })
    }
}
