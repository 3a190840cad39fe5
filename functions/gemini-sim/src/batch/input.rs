//! A batch's input. It is read line by line when the batch is created, and all bad lines are
//! reported at once.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    batch::{bad_lines::SeenKeys, results::stray_key},
    generation::{
        answer::{AnswerContext, Serving},
        generate_request::{GenerateRequest, References},
        line_form::LineForm,
        models::Model,
        outcome::{Rendering, RequestOutcome},
        service_tier::ServiceTier,
        usage::Usage,
    },
    scenario::Scenario,
    wire::{
        messages::{INLINE_REQUEST, INPUT_LINE},
        proto::{FieldError, Parser, read},
        reply::ApiError,
    },
};

/// Where a batch's requests came from. Inline requests are stored as lines too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// An uploaded file, by its id.
    File(String),
    /// The create call.
    Inline,
}

/// One request of a batch: where its line is, and how it ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The index of the line in the input, from 0.
    pub(crate) position: usize,
    offset: u64,
    length: usize,
    pub(crate) outcome: RequestOutcome,
    /// The form of every output line that belongs to this request.
    #[serde(default, skip_serializing_if = "LineForm::is_default")]
    pub(crate) form: LineForm,
    /// Whether the output file contains the line twice.
    pub(crate) repeated: bool,
    /// The cost of the answer once the request is done, in billionths of a dollar.
    pub(crate) nanodollars: u64,
    /// The cost of the second answer, if the request is served twice.
    pub(crate) again: Option<u64>,
    /// The cost of the extra image under an unrequested key, if the output has one for this row.
    pub(crate) stray: Option<u64>,
}

/// A parsed request line.
pub(crate) struct InputLine {
    pub(crate) key: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) request: GenerateRequest,
}

/// Where a line is in the input.
struct Place {
    /// The index among the requests, from 0.
    position: usize,
    /// The offset in bytes.
    offset: u64,
    /// The length in bytes, including the line break.
    length: usize,
}

/// The content of a batch's input.
#[derive(Default)]
pub(crate) struct ExaminedInput {
    /// The requests, in processing order.
    pub(crate) rows: Vec<Row>,
    /// The uploaded files that the requests refer to.
    pub(crate) references: References,
    /// The input tokens of all requests, whatever their outcome.
    pub(crate) input_tokens: u64,
}

/// What is needed to read a batch's input.
pub(crate) struct InputReader<'a> {
    pub(crate) input: &'a Input,
    pub(crate) model: &'static Model,
}

impl Row {
    /// Turns the row into one that a cancel left unprocessed.
    pub(crate) fn mark_unserved(&mut self) {
        *self = Self {
            outcome: RequestOutcome::Unserved,
            repeated: false,
            again: None,
            stray: None,
            nanodollars: 0,
            ..*self
        };
    }

    /// Returns the cost of all answers that were made for the row, in billionths of a dollar.
    pub(crate) fn billed(&self) -> u64 {
        self.nanodollars + self.again.unwrap_or(0) + self.stray.unwrap_or(0)
    }
}

impl InputLine {
    /// Returns the request's key, or a replacement if it has none.
    pub(crate) fn label(&self, position: usize) -> String {
        let in_metadata = || self.metadata.as_ref()?["key"].as_str().map(str::to_owned);
        self.key
            .clone()
            .or_else(in_metadata)
            .unwrap_or_else(|| format!("request {}", position + 1))
    }
}

impl InputReader<'_> {
    /// Reads all lines and decides the outcome of each. `seen` holds the keys of earlier create
    /// calls; `find` looks up the uploaded files of a request.
    ///
    /// # Errors
    /// 400 with a message for each bad line; 400 for an input without requests.
    pub(crate) fn examine(
        &self,
        path: &Path,
        batch: &str,
        scenario: &Scenario,
        seen: &SeenKeys,
        find: impl Fn(&GenerateRequest) -> References,
    ) -> Result<ExaminedInput, ApiError> {
        // The whole input is read even after an error, so that one answer names all bad lines.
        let mut lines = BufReader::new(File::open(path)?);
        let (mut examined, mut errors) = (ExaminedInput::default(), Vec::new());
        let (mut offset, mut bytes) = (0, Vec::new());

        // Line numbers in error messages count empty lines too.
        for number in 1.. {
            bytes.clear();
            let length = lines.read_until(b'\n', &mut bytes)?;
            if length == 0 {
                break;
            }
            let start = offset;
            offset += length as u64;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let line = match self.line(&bytes) {
                Ok(line) => line,
                Err(message) => {
                    errors.push(format!("Error on line {number}: {message}"));
                    continue;
                }
            };
            // Bad lines do not become rows, but they count for the label of inline requests.
            let position = examined.rows.len();
            let label = line.label(position + errors.len());
            if let Some(message) = scenario.bad_line(&label, length, seen) {
                errors.push(format!("Error on line {number}: {message}"));
                continue;
            }
            // References come first, because the answer's aspect ratio may depend on them.
            examined.references.append(&mut find(&line.request));
            let checked = line
                .request
                .check_signatures(scenario.seed, &examined.references);
            if let Err(message) = checked {
                errors.push(format!("Error on line {number}: {message}"));
                continue;
            }
            examined.input_tokens += Usage::of_prompt(&line.request, self.model).input_tokens();
            let place = Place {
                position,
                offset: start,
                length,
            };
            let row = self.row(place, &line, &label, batch, scenario, &examined.references);
            examined.rows.push(row);
        }

        // Keys count even if the batch is rejected, so that a key is bad in its next batch too.
        seen.store()?;
        if !errors.is_empty() {
            return Err(ApiError::invalid(errors.join("\n")));
        }
        if examined.rows.is_empty() {
            return Err(ApiError::invalid("Batch input holds no request."));
        }
        examined
            .rows
            .sort_by_cached_key(|row| scenario.rank(batch, row.position));
        Ok(examined)
    }

    /// Decides the outcome of a line and what its answers cost.
    fn row(
        &self,
        place: Place,
        line: &InputLine,
        label: &str,
        batch: &str,
        scenario: &Scenario,
        references: &References,
    ) -> Row {
        let context = |label, serving| AnswerContext {
            request: &line.request,
            model: self.model,
            uploaded: references,
            label,
            batch,
            seed: scenario.seed,
            serving,
            tier: ServiceTier::Standard,
        };
        let regular = context(label, Serving::First);

        // A missing reference takes precedence over everything that the scenario decides.
        let plan = scenario.line_plan(batch, label);
        let outcome = if line.request.absent_file(references).is_some() {
            RequestOutcome::NoReference
        } else {
            let outcome = scenario.policy_outcome(&line.request.prompt, plan.outcome);
            scenario.shaped_outcome(batch, label, outcome)
        };

        // Batches cost half. Second answers and stray lines are always images.
        let price = |context: &AnswerContext<'_>, outcome| {
            context.usage(outcome).nanodollars(self.model) / 2
        };
        let image = RequestOutcome::Image(Rendering::default());
        let served_twice = plan.served_twice && outcome.is_answer();
        let stray = stray_key(scenario.seed, batch, label);
        Row {
            position: place.position,
            offset: place.offset,
            length: place.length,
            outcome,
            form: scenario.line_form(batch, label),
            repeated: plan.repeated,
            nanodollars: price(&regular, outcome),
            again: served_twice.then(|| price(&context(label, Serving::Second), image)),
            stray: plan
                .stray
                .then(|| price(&context(&stray, Serving::First), image)),
        }
    }

    /// Reads the line of one row again.
    ///
    /// # Errors
    /// When the line can't be read or parsed.
    pub(crate) fn reread(&self, path: &Path, row: &Row) -> io::Result<InputLine> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(row.offset))?;
        let mut bytes = vec![0; row.length];
        file.read_exact(&mut bytes)?;
        self.line(&bytes)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn line(&self, bytes: &[u8]) -> Result<InputLine, String> {
        let value: Value = serde_json::from_slice(bytes.trim_ascii_end()).map_err(|error| {
            format!("invalid JSON, near column {}: syntax error", error.column())
        })?;
        let message = match self.input {
            Input::File(_) => &INPUT_LINE,
            Input::Inline => &INLINE_REQUEST,
        };
        let mut line =
            read(value, message, Parser::Lines).map_err(|errors| describe(&errors, bytes))?;
        let request = line["request"].take();
        if request.is_null() {
            return Err("request is required".to_owned());
        }
        Ok(InputLine {
            key: line["key"].as_str().map(str::to_owned),
            metadata: line.get("metadata").cloned(),
            request: GenerateRequest::read(request, self.model)?,
        })
    }
}

/// Writes inline requests as lines.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn write_inline(path: &Path, requests: &[Value]) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    for request in requests {
        writeln!(file, "{request}")?;
    }
    file.flush()
}

/// Describes the first error of a line in the service's format.
fn describe(errors: &[FieldError], line: &[u8]) -> String {
    match errors.first() {
        Some(FieldError::UnknownName { name, .. }) => {
            let column = column_of(line, format!("\"{name}\"").as_bytes());
            format!("invalid JSON, near column {column}: no such field: '{name}'")
        }
        Some(wrong @ FieldError::WrongValue { .. }) => format!("invalid JSON: {wrong}"),
        None => "invalid JSON".to_owned(),
    }
}

fn column_of(line: &[u8], wanted: &[u8]) -> usize {
    line.windows(wanted.len())
        .position(|window| window == wanted)
        .map_or(1, |at| at + 1)
}
