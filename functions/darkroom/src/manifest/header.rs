//! The header of a manifest: what holds for all items, such as its format, its job and its
//! defaults.

use std::io;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{
    Context, Proof, ReadError, RequestCheck, Stop,
    diagnostics::{Diagnostic, ItemDiagnostics, quote, quote_json},
    dialect::{
        field::bad_name,
        item::{self, Item},
    },
    format::{
        csv::{columns::Columns, continuation::ContinuationRows},
        document::Sections,
        input::Input,
    },
    resolve::{
        matrix::Matrix,
        named::Definitions,
        sidecar::{Sidecar, document},
        template,
    },
    strict_json,
};
use crate::{
    lane::{Lane, RequestedLane},
    money::Usd,
};

/// The fields of a job.
const JOB_FIELDS: [&str; 12] = [
    "name",
    "run",
    "budget_usd",
    "mode",
    "request_check",
    "lane",
    "within",
    "rescue",
    "flex_fallback",
    "proof",
    "columns",
    "continuation_rows",
];

/// The longest name of a job, in characters.
const MAX_NAME_CHARACTERS: usize = 256;

/// The shortest and the longest time limit of a job.
const WITHIN: [SignedDuration; 2] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_hours(7 * 24),
];

/// What holds for a whole manifest. It is read ahead of the items.
#[derive(Clone, Debug, Default)]
pub struct Header {
    pub(super) declarations: Declarations,
    pub(super) format: Format,
    pub(super) matrix: Option<Matrix>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The line of the first JSON line, if that is `{"manifest":{…}}`.
    pub(super) header_line: Option<u64>,
}

/// Declarations that hold for all items.
#[derive(Clone, Debug, Default)]
pub(super) struct Declarations {
    pub(super) job: Job,
    pub(super) defaults: Item,
    /// Templates and references that items use by name.
    pub(super) definitions: Definitions,
}

/// A manifest's declarations about its job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// The name that the user gives it.
    pub name: Option<String>,
    /// The most that the job may cost, retries included. [`super::read`] compares it with the most
    /// that the images can cost if each is requested once.
    pub budget_usd: Option<Usd>,
    /// Whether the images are made, or only estimated.
    pub mode: Option<Mode>,
    /// What the columns of its table hold.
    pub columns: Columns,
    /// How rows that continue the previous one are handled.
    pub continuation_rows: Option<ContinuationRows>,
    /// How Gemini requests are handled that Gemini may refuse.
    pub request_check: Option<RequestCheck>,
    /// The lane of images for which neither their item nor the defaults name one.
    pub lane: RequestedLane,
    /// The time in which the images must arrive, 1 minute to 7 days. It decides the lane of images
    /// with the lane `auto`, and when a batch is rescued.
    pub within: Option<SignedDuration>,
    /// How the images of a batch are requested that does not end in time. It is set only together
    /// with `within`.
    pub rescue: Option<RescueMode>,
    /// Where images of the flex lane go if Gemini has no capacity for them.
    pub flex_fallback: Option<FlexFallback>,
    /// The proof that is made before the other images.
    pub proof: Option<Proof>,
}

impl Job {
    /// Returns the lane in which the images of a late batch are requested, or `None` if they wait
    /// for the batch.
    pub fn rescue_lane(&self) -> Option<Lane> {
        match self.rescue? {
            RescueMode::Interactive => Some(Lane::Interactive),
            RescueMode::Flex => Some(Lane::Flex),
            RescueMode::Off => None,
        }
    }

    /// Returns the lane of images of the flex lane for which Gemini has no capacity.
    pub fn fallback(&self) -> Lane {
        match self.flex_fallback {
            Some(FlexFallback::Interactive) => Lane::Interactive,
            Some(FlexFallback::Batch) | None => Lane::Batch,
        }
    }

    /// Fills what these declarations leave out from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            budget_usd: self.budget_usd.or(other.budget_usd),
            mode: self.mode.or(other.mode),
            columns: self.columns.or(other.columns),
            continuation_rows: self.continuation_rows.or(other.continuation_rows),
            request_check: self.request_check.or(other.request_check),
            lane: self.lane.or(other.lane),
            within: self.within.or(other.within),
            rescue: self.rescue.or(other.rescue),
            flex_fallback: self.flex_fallback.or(other.flex_fallback),
            proof: self.proof.or(other.proof),
        }
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It makes the images.
    Run,
    /// It estimates the cost, and buys nothing.
    #[serde(alias = "estimate")]
    DryRun,
}

/// How the images of a batch are requested that does not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RescueMode {
    /// In the interactive lane.
    Interactive,
    /// In the flex lane.
    Flex,
    /// Not at all: they wait for the batch.
    Off,
}

/// Where images of the flex lane go if Gemini has no capacity for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlexFallback {
    /// To a batch, at the same price.
    Batch,
    /// To the interactive lane, at full price.
    Interactive,
}

/// The format of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// CSV with a header line.
    Table,
    /// JSON Lines.
    #[default]
    Lines,
    /// A JSON array of items.
    Array,
    /// A JSON object that holds items.
    Envelope,
}

impl Header {
    /// Returns the declarations about the job.
    pub fn job(&self) -> &Job {
        &self.declarations.job
    }

    /// Whether the manifest is a table, such as CSV.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Reads as much of a manifest as the header needs. Of an envelope, that is everything.
    ///
    /// # Errors
    /// [`ReadError::Source`] if the source fails. Mistakes in the manifest are reported by
    /// [`super::read`].
    pub fn read(source: impl io::Read, context: &Context<'_>) -> Result<Self, ReadError> {
        let mut header = Self::default();
        match Input::open(source, &context.limits).and_then(|input| header.fill(input)) {
            Ok(()) | Err(Stop::Diagnostic(_) | Stop::Full) => {}
            Err(Stop::Source(error)) => return Err(ReadError::Source(error)),
            Err(Stop::Sink(error)) => return Err(ReadError::Sink(error)),
        }
        header.apply_sidecar(context.sidecar);
        header.declarations.apply_columns();
        header.check_columns();
        header.check_rescue();
        Ok(header)
    }

    /// Applies the sidecar. Precedence, highest first: the metadata, the job document, the
    /// manifest, the defaults of its folder.
    fn apply_sidecar(&mut self, sidecar: &Sidecar) {
        let mut diagnostics = ItemDiagnostics::default();
        if let Some(text) = &sidecar.folder_defaults {
            let name = "the defaults of the folder";
            let under = Declarations::of_document(name, text, &mut diagnostics);
            self.declarations = std::mem::take(&mut self.declarations).or(under);
        }
        if let Some(text) = &sidecar.job {
            match strict_json::check(text) {
                Ok(()) => self.override_with("the job document", text, &mut diagnostics),
                Err((code, message)) => {
                    diagnostics.error(code, format!("the job document: {message}"))
                }
            }
        }
        if let Some(text) = sidecar.metadata_document(&mut diagnostics) {
            self.override_with("the metadata", &text, &mut diagnostics);
        }
        self.diagnostics
            .extend(diagnostics.into_diagnostics(1, None));
    }

    /// Reports declarations about columns if the manifest is not a table.
    fn check_columns(&mut self) {
        let job = &self.declarations.job;
        let named = [
            (!job.columns.is_empty(), "columns"),
            (job.continuation_rows.is_some(), "continuation_rows"),
        ];
        for (_, name) in named
            .into_iter()
            .filter(|(is_declared, _)| *is_declared && self.format != Format::Table)
        {
            let message = format!(
                "job.{name} is about the columns of a table, and this manifest is JSON: remove it"
            );
            self.diagnostics
                .push(Diagnostic::error(1, "bad_value", message));
        }
    }

    /// Reports a rescue without a time limit. The two may come from different declarations.
    fn check_rescue(&mut self) {
        let job = &self.declarations.job;
        if job.rescue_lane().is_some() && job.within.is_none() {
            let message = "job.rescue needs job.within, the time after which a batch is rescued: \
                           add it, such as \"within\": \"2h\", or remove job.rescue";
            self.diagnostics
                .push(Diagnostic::error(1, "bad_value", message));
        }
    }

    fn override_with(&mut self, name: &str, text: &str, diagnostics: &mut ItemDiagnostics) {
        let over = Declarations::of_document(name, text, diagnostics);
        self.declarations = over.or(std::mem::take(&mut self.declarations));
    }

    fn fill(&mut self, mut input: Input<'_>) -> Result<(), Stop> {
        let position = input.position();
        match input.first_byte().map_err(|error| position.stop(error))? {
            None => return Ok(()),
            Some(b'[') => self.format = Format::Array,
            Some(b'{') => return self.fill_from_object(input),
            Some(_) => self.format = Format::Table,
        }
        Ok(())
    }

    /// Reads the header from the first object. It is an envelope if it has a member that only
    /// envelopes have, and otherwise a JSON line.
    fn fill_from_object(&mut self, input: Input<'_>) -> Result<(), Stop> {
        let mut sections = Sections::default();
        let read = sections.read(input);
        if sections.envelope {
            self.format = Format::Envelope;
        }
        for (line, name, value) in &sections.found {
            // Each member is checked on its own, so that a mistake in one does not hide the others.
            let mut diagnostics = ItemDiagnostics::default();
            if let Err((code, message)) = strict_json::check(value.get()) {
                diagnostics.error(code, format!("in {name}: {message}"));
            } else if name == "matrix" {
                self.matrix = Matrix::read(*line, value.get(), &mut diagnostics);
            } else if name != "manifest" {
                // In a JSON line, these are the item's references.
                if sections.envelope {
                    self.declarations.set(name, value.get(), &mut diagnostics);
                }
            } else if !sections.envelope {
                self.header_line = Some(*line);
                for (name, value) in document("manifest", value.get(), &mut diagnostics) {
                    self.declarations.set(&name, value.get(), &mut diagnostics);
                }
            }
            self.diagnostics
                .extend(diagnostics.into_diagnostics(*line, None));
        }
        read
    }
}

/// Returns the problems of a text in the form of a job document: `{"job": …, "defaults": …}`.
pub(crate) fn job_document_problems(text: &str) -> Vec<Diagnostic> {
    let mut diagnostics = ItemDiagnostics::default();
    Declarations::of_document("the defaults", text, &mut diagnostics);
    diagnostics.into_diagnostics(1, None).collect()
}

impl Declarations {
    /// Reads a text in the form of a job document. `name` is its name in messages.
    fn of_document(name: &str, text: &str, diagnostics: &mut ItemDiagnostics) -> Self {
        let (mut declarations, mut found) = (Self::default(), ItemDiagnostics::default());
        for (member, value) in document(name, text, &mut found) {
            declarations.set(&member, value.get(), &mut found);
        }
        diagnostics.adopt(found, name);
        declarations
    }

    /// Fills what these declarations leave out from `others`.
    fn or(self, others: Self) -> Self {
        let key = self
            .defaults
            .key
            .clone()
            .or_else(|| others.defaults.key.clone());
        Self {
            job: self.job.or(others.job),
            defaults: Item {
                key,
                ..self.defaults.or(&others.defaults)
            },
            definitions: self.definitions.or(others.definitions),
        }
    }

    /// Moves templates of the key and the references from `job.columns` to the defaults, where they
    /// take precedence.
    fn apply_columns(&mut self) {
        let columns = &self.job.columns;
        self.defaults.key = columns.key.clone().or(self.defaults.key.take());
        self.defaults.refs = columns.refs.clone().or(self.defaults.refs.take());
    }

    fn set(&mut self, name: &str, value: &str, diagnostics: &mut ItemDiagnostics) {
        match name {
            "version" if value == "1" => {}
            "version" => diagnostics.error(
                "unsupported_version",
                format!("version must be 1, not {}", quote_json(value)),
            ),
            // Editors use it to find the schema.
            "$schema" => {}
            "job" => self.job = Job::read(value, diagnostics),
            "templates" => self.definitions.read_templates(value, diagnostics),
            "references" => self.definitions.read_references(value, diagnostics),
            _ => {
                let members = strict_json::members_of("defaults", value, diagnostics);
                self.defaults = Item::from_json(&members, diagnostics);
                let key = self.defaults.key.as_deref();
                if key.is_some_and(|key| template::variables(key).next().is_none()) {
                    diagnostics.error(
                        "bad_value",
                        "a key among the defaults must contain a variable, such as {sku}: \
                         otherwise all items have the same key",
                    );
                }
            }
        }
    }
}

impl Job {
    fn read(value: &str, diagnostics: &mut ItemDiagnostics) -> Self {
        let mut job = Self::default();
        for (name, value) in strict_json::members_of("job", value, diagnostics) {
            let value = value.get();

            // Each field has its own type. Unknown fields are reported.
            match name.as_ref() {
                "name" => {
                    let name: Option<String> =
                        item::read("job.name", value, "a text in quotes", diagnostics);
                    if name
                        .as_ref()
                        .is_some_and(|name| name.chars().count() > MAX_NAME_CHARACTERS)
                    {
                        diagnostics.error(
                            "bad_value",
                            format!("job.name must have at most {MAX_NAME_CHARACTERS} characters"),
                        );
                    } else {
                        job.name = name;
                    }
                }
                // Another value changes the bytes of the manifest, and so makes another job. It has
                // no other use.
                "run" => {
                    let _: Option<Run> =
                        item::read("job.run", value, "a text or a whole number", diagnostics);
                }
                "budget_usd" | "budgetUsd" => {
                    job.budget_usd =
                        item::read("job.budget_usd", value, "a number of dollars", diagnostics)
                }
                "columns" => job.columns = Columns::read(value, diagnostics),
                "continuation_rows" | "continuationRows" => {
                    let expected = "\"references\", \"skip\" or \"fill\"";
                    job.continuation_rows =
                        item::read("job.continuation_rows", value, expected, diagnostics);
                }
                "mode" => {
                    job.mode = item::read("job.mode", value, "\"run\" or \"dry_run\"", diagnostics)
                }
                "request_check" | "requestCheck" => {
                    job.request_check = item::read(
                        "job.request_check",
                        value,
                        "\"error\" or \"warn\"",
                        diagnostics,
                    );
                }
                "lane" => job.lane = item::read_lane("job.lane", value, diagnostics),
                "within" => job.within = read_within(value, diagnostics),
                "rescue" => {
                    let expected = "\"interactive\", \"flex\" or \"off\"";
                    job.rescue = item::read("job.rescue", value, expected, diagnostics);
                }
                "flex_fallback" | "flexFallback" => {
                    let expected = "\"batch\" or \"interactive\"";
                    job.flex_fallback =
                        item::read("job.flex_fallback", value, expected, diagnostics);
                }
                "proof" => job.proof = Proof::read(value, diagnostics),
                _ => {
                    let (code, message) = bad_name(&name, JOB_FIELDS.into_iter());
                    diagnostics.error(code, format!("in job: {message}"));
                }
            }
        }
        job
    }
}

/// Reads a time limit such as `15m`, `2h` or `1d`.
fn read_within(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<SignedDuration> {
    let expected = "a time such as \"15m\", \"2h\" or \"1d\", from 1m to 7d";
    let text: String = item::read("job.within", value, expected, diagnostics)?;
    let [least, most] = WITHIN;
    let within = duration(&text).filter(|within| (least..=most).contains(within));
    if within.is_none() {
        let message = format!("job.within must be {expected}, not {}", quote(&text));
        diagnostics.error("bad_value", message);
    }
    within
}

/// Reads a whole number of minutes, hours or days. `None` for any other text.
fn duration(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 1_440,
        _ => return None,
    };
    // A sign is not a digit, although a number may begin with one.
    let is_whole = number.bytes().all(|digit| digit.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| is_whole)?;
    Some(SignedDuration::from_mins(i64::from(number) * minutes))
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only whether it parses matters")]
enum Run {
    Text(String),
    Number(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_a_whole_number_and_a_unit() {
        for (text, minutes) in [
            ("1m", Some(1)),
            ("15m", Some(15)),
            ("2h", Some(120)),
            ("1d", Some(1_440)),
            ("007m", Some(7)),
            ("", None),
            ("m", None),
            ("15", None),
            ("1.5h", None),
            ("+1h", None),
            ("-1h", None),
            ("1 h", None),
            ("1H", None),
            ("90s", None),
            ("1é", None),
            ("4294967296m", None),
            ("9223372036854775808m", None),
        ] {
            let expected = minutes.map(SignedDuration::from_mins);
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }
}
