//! What the service itself knows of a batch, so that a test can hold a client's results against it.
//! No call tells it.

use std::{fs, io, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::batch::{
    Batch,
    input::{Input, Row},
    output_file::whole_lines,
    results::Written,
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
    /// `files/<id>` of its output, if it is there and a file.
    pub output: Option<String>,
    /// Whether its output is in its operation instead of a file.
    pub inline_output: bool,
    /// When its output came, or will come, if it has ended and has any that is not lost.
    pub output_from: Option<Timestamp>,
    /// Until when its output file is kept. Inline output stays as long as the batch.
    pub output_until: Option<Timestamp>,
    /// Its bill so far.
    pub bill: Bill,
}

/// What the service charges for a batch: each request as it is done, at half of the model's
/// standard prices. In billionths of a dollar, by the service's own price table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// All of it.
    pub nanodollars: u64,
    /// The part of it that is for answers which its output doesn't have, or not whole: no client
    /// can know them.
    pub undelivered_nanodollars: u64,
}

impl Record {
    /// What is known at `now` of a batch whose input lines are in `input`, and whose rows by now
    /// are `rows`. Output files are kept for `lifetime`.
    ///
    /// # Errors
    /// When the input can't be read.
    pub(crate) fn of(
        batch: &Batch,
        rows: &[Row],
        input: &Path,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> io::Result<Self> {
        let progress = batch.progress(now);
        let (output_from, in_file) = (batch.output_comes(now), !batch.is_inline());
        let there = batch.has_output(now);
        let mut keys = Vec::new();
        if let Input::File(_) = batch.input {
            for line in fs::read_to_string(input)?.lines() {
                let line: Value = serde_json::from_str(line)?;
                keys.extend(line["key"].as_str().map(str::to_owned));
            }
        }
        let nanodollars: u64 = rows.iter().map(Row::billed).sum();
        let lines = if there {
            whole_lines(batch, rows)
        } else {
            Vec::new()
        };
        let delivered: u64 = lines.iter().map(Written::billed).sum();
        Ok(Self {
            name: batch.name(),
            display_name: batch.display_name.clone(),
            keys,
            created: batch.created,
            ended: progress.state.is_terminal().then_some(progress.updated),
            output: (there && in_file).then(|| batch.output_file()),
            inline_output: batch.is_inline(),
            output_from,
            output_until: output_from
                .filter(|_| in_file)
                .map(|from| kept_until(from, lifetime)),
            bill: Bill {
                nanodollars,
                undelivered_nanodollars: nanodollars - delivered,
            },
        })
    }
}

/// Until when an output file is kept that came at `from`.
pub(crate) fn kept_until(from: Timestamp, lifetime: SignedDuration) -> Timestamp {
    from.saturating_add(lifetime).unwrap_or(Timestamp::MAX)
}
