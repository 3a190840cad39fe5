//! A batch's input: read line by line when the batch is created, all bad lines told at once.

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
        answer::{Question, Serving},
        generate_request::{Ask, References},
        line_form::LineForm,
        models::Model,
        outcome::{Outcome, Rendering},
        usage::Usage,
    },
    scenario::Scenario,
    wire::{
        messages::{INLINE_REQUEST, INPUT_LINE},
        proto::{Fault, Parser, read},
        reply::Refused,
    },
};

/// Where a batch's requests came from. Inline ones are kept as lines too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// An uploaded file, by its id.
    File(String),
    /// The create call itself.
    Inline,
}

/// One request of a batch: where its line is, and what becomes of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The line's place in the input, from 0.
    pub(crate) position: usize,
    offset: u64,
    length: usize,
    pub(crate) outcome: Outcome,
    /// How all lines are written that are made for it.
    #[serde(default, skip_serializing_if = "LineForm::is_usual")]
    pub(crate) form: LineForm,
    /// Whether the output file has its line twice.
    pub(crate) repeated: bool,
    /// What its answer costs once it is done, in billionths of a dollar.
    pub(crate) nanodollars: u64,
    /// If it is served twice: what the other answer costs.
    pub(crate) again: Option<u64>,
    /// If the output file has an image more, under a key that nobody asked for: what that costs.
    pub(crate) stray: Option<u64>,
}

/// A request line, read.
pub(crate) struct Line {
    pub(crate) key: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) ask: Ask,
}

/// What a batch's input holds.
#[derive(Default)]
pub(crate) struct Examined {
    /// Its requests, in the order in which they will be done.
    pub(crate) rows: Vec<Row>,
    /// The uploaded files that they refer to.
    pub(crate) references: References,
    /// The tokens of all requests, however they will end.
    pub(crate) input_tokens: u64,
}

/// What there is to know to read a batch's input.
pub(crate) struct Reader<'a> {
    pub(crate) input: &'a Input,
    pub(crate) model: &'static Model,
}

impl Row {
    /// What a cancel makes of a row whose turn did not come.
    pub(crate) fn leave_unserved(&mut self) {
        *self = Self {
            outcome: Outcome::Unserved,
            repeated: false,
            again: None,
            stray: None,
            nanodollars: 0,
            ..*self
        };
    }

    /// What all that was made for it costs once it is done, in billionths of a dollar.
    pub(crate) fn billed(&self) -> u64 {
        self.nanodollars + self.again.unwrap_or(0) + self.stray.unwrap_or(0)
    }
}

impl Line {
    /// The request's key, or what stands for it.
    pub(crate) fn label(&self, position: usize) -> String {
        let in_metadata = || self.metadata.as_ref()?["key"].as_str().map(str::to_owned);
        self.key
            .clone()
            .or_else(in_metadata)
            .unwrap_or_else(|| format!("request {}", position + 1))
    }
}

impl Reader<'_> {
    /// Reads all lines and decides what becomes of each. `seen` are the keys that earlier create
    /// calls brought; `find` tells what is known of uploaded files.
    ///
    /// # Errors
    /// 400 with a message per bad line; 400 for an input without requests.
    pub(crate) fn examine(
        &self,
        path: &Path,
        batch: &str,
        scenario: &Scenario,
        seen: &SeenKeys,
        find: impl Fn(&Ask) -> References,
    ) -> Result<Examined, Refused> {
        let mut lines = BufReader::new(File::open(path)?);
        let (mut examined, mut errors) = (Examined::default(), Vec::new());
        let (mut offset, mut bytes) = (0, Vec::new());
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
                Err(told) => {
                    errors.push(format!("Error on line {number}: {told}"));
                    continue;
                }
            };
            let position = examined.rows.len();
            let label = line.label(position + errors.len());
            if let Some(told) = scenario.bad_line(&label, length, seen) {
                errors.push(format!("Error on line {number}: {told}"));
                continue;
            }
            examined.references.append(&mut find(&line.ask));
            examined.input_tokens += Usage::of_prompt(&line.ask, self.model).input_tokens();
            let question = |label, serving| Question {
                ask: &line.ask,
                model: self.model,
                uploaded: &examined.references,
                label,
                batch,
                seed: scenario.seed,
                serving,
            };
            let asked = question(&label, Serving::First);
            let fate = scenario.line_fate(batch, &label);
            let outcome = if asked.absent_file().is_some() {
                Outcome::NoReference
            } else {
                scenario.shaped_outcome(batch, &label, fate.outcome)
            };
            let price = |question: &Question<'_>, outcome| {
                question.usage(outcome).nanodollars(self.model) / 2
            };
            let image = Outcome::Image(Rendering::default());
            let served_twice = fate.served_twice && outcome.is_answer();
            let stray = stray_key(scenario.seed, batch, &label);
            let row = Row {
                position,
                offset: start,
                length,
                outcome,
                form: scenario.line_form(batch, &label),
                repeated: fate.repeated,
                nanodollars: price(&asked, outcome),
                again: served_twice.then(|| price(&question(&label, Serving::Second), image)),
                stray: fate
                    .stray
                    .then(|| price(&question(&stray, Serving::First), image)),
            };
            examined.rows.push(row);
        }
        seen.keep()?;
        if !errors.is_empty() {
            return Err(Refused::invalid(errors.join("\n")));
        }
        if examined.rows.is_empty() {
            return Err(Refused::invalid("Batch input holds no request."));
        }
        examined
            .rows
            .sort_by_cached_key(|row| scenario.rank(batch, row.position));
        Ok(examined)
    }

    /// Reads one row's line again.
    ///
    /// # Errors
    /// When it is not there any more.
    pub(crate) fn reread(&self, path: &Path, row: &Row) -> io::Result<Line> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(row.offset))?;
        let mut bytes = vec![0; row.length];
        file.read_exact(&mut bytes)?;
        self.line(&bytes)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn line(&self, bytes: &[u8]) -> Result<Line, String> {
        let value: Value = serde_json::from_slice(bytes.trim_ascii_end()).map_err(|error| {
            format!("invalid JSON, near column {}: syntax error", error.column())
        })?;
        let message = match self.input {
            Input::File(_) => &INPUT_LINE,
            Input::Inline => &INLINE_REQUEST,
        };
        let mut line =
            read(value, message, Parser::Lines).map_err(|faults| tell(&faults, bytes))?;
        let request = line["request"].take();
        if request.is_null() {
            return Err("request is required".to_owned());
        }
        Ok(Line {
            key: line["key"].as_str().map(str::to_owned),
            metadata: line.get("metadata").cloned(),
            ask: Ask::read(request, self.model)?,
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

/// A line's first fault, told the way the service tells it.
fn tell(faults: &[Fault], line: &[u8]) -> String {
    match faults.first() {
        Some(Fault::UnknownName { name, .. }) => {
            let column = column_of(line, format!("\"{name}\"").as_bytes());
            format!("invalid JSON, near column {column}: no such field: '{name}'")
        }
        Some(wrong @ Fault::WrongValue { .. }) => format!("invalid JSON: {wrong}"),
        None => "invalid JSON".to_owned(),
    }
}

fn column_of(line: &[u8], wanted: &[u8]) -> usize {
    line.windows(wanted.len())
        .position(|window| window == wanted)
        .map_or(1, |at| at + 1)
}
