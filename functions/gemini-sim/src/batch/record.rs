//! The service's own record of a batch, so that a test can compare a client's results with it. No
//! API call returns this.

use std::{fs, io, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::batch::{
    Batch,
    input::{Input, Row},
    output_file::whole_lines,
    results::OutputLine,
};

/// The service's own record of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `batches/<id>`.
    pub name: String,
    /// The display name that the client gave it.
    pub display_name: String,
    /// The keys of the requests, in the order of the input file. Inline requests have none.
    pub keys: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it ended, if it has.
    pub ended: Option<Timestamp>,
    /// `files/<id>` of the output, if it is available and a file.
    pub output: Option<String>,
    /// Whether the output is part of the operation instead of a file.
    pub inline_output: bool,
    /// When the output became or will become available, if the batch has ended with an output that
    /// is not lost.
    pub output_from: Option<Timestamp>,
    /// When the output file expires. Inline output stays as long as the batch.
    pub output_until: Option<Timestamp>,
    /// The bill so far.
    pub bill: Bill,
}

/// What the service charges for a batch, by its own price table: each request when it is done, at
/// half the model's standard price. In billionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// The total.
    pub nanodollars: u64,
    /// The part for answers that are missing from the output or cut off, which no client can
    /// account for.
    pub undelivered_nanodollars: u64,
}

impl Record {
    /// Creates the record at `now` of a batch with these `rows` and with its input lines in the
    /// file `input`. Output files are kept for `lifetime`.
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
        let (output_from, in_file) = (batch.output_available_from(now), !batch.is_inline());
        let available = batch.has_output(now);

        // The keys are read from the stored input, since rows do not hold them.
        let mut keys = Vec::new();
        if let Input::File(_) = batch.input {
            for line in fs::read_to_string(input)?.lines() {
                let line: Value = serde_json::from_str(line)?;
                keys.extend(line["key"].as_str().map(str::to_owned));
            }
        }

        // What was billed but is in no line of the output was not delivered.
        let nanodollars: u64 = rows.iter().map(Row::billed).sum();
        let lines = if available {
            whole_lines(batch, rows)
        } else {
            Vec::new()
        };
        let delivered: u64 = lines.iter().map(OutputLine::billed).sum();
        Ok(Self {
            name: batch.name(),
            display_name: batch.display_name.clone(),
            keys,
            created: batch.created,
            ended: progress.state.is_terminal().then_some(progress.updated),
            output: (available && in_file).then(|| batch.output_file()),
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

/// Returns when an output file expires that became available at `from`.
pub(crate) fn kept_until(from: Timestamp, lifetime: SignedDuration) -> Timestamp {
    from.saturating_add(lifetime).unwrap_or(Timestamp::MAX)
}
