//! What holds for a whole manifest: its format, its job and its defaults.

use std::{borrow::Cow, io};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Context, ReadError, Stop,
    document::Sections,
    field::bad_name,
    input::Input,
    item::{self, Item},
    problem::{Findings, Problem, quote_json},
    strict,
};
use crate::cost::Usd;

/// The longest name of a job, in characters.
const NAME_CHARACTERS: usize = 256;

/// What holds for a whole manifest, read ahead of its items.
#[derive(Clone, Debug)]
pub struct Header {
    /// What the manifest says about the job.
    pub job: Job,
    pub(super) format: Format,
    pub(super) defaults: Item,
    pub(super) problems: Vec<Problem>,
    /// The line of the first JSON line, if that is `{"manifest":{…}}`.
    pub(super) header_line: Option<u64>,
}

/// What a manifest says about its job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// What people call it.
    pub name: Option<String>,
    /// The most that the images may cost, in a batch. [`super::read`] holds the estimate against it.
    pub budget_usd: Option<Usd>,
}

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// CSV with a header line.
    Table,
    /// JSON Lines.
    Lines,
    /// A JSON array of items.
    Array,
    /// A JSON object that holds items.
    Envelope,
}

impl Header {
    /// Reads as much of a manifest as is needed; of an envelope that is all of it.
    ///
    /// # Errors
    /// [`ReadError::Source`] when the source fails. What is wrong in the manifest is left to [`super::read`].
    pub fn read(source: impl io::Read, context: &Context<'_>) -> Result<Self, ReadError> {
        let mut header = Self {
            job: Job::default(),
            format: Format::Lines,
            defaults: Item::default(),
            problems: Vec::new(),
            header_line: None,
        };
        match Input::open(source, &context.limits).and_then(|input| header.fill(input)) {
            Ok(()) | Err(Stop::Problem(_)) => Ok(header),
            Err(Stop::Source(error)) => Err(ReadError::Source(error)),
            Err(Stop::Sink(error)) => Err(ReadError::Sink(error)),
        }
    }

    fn fill(&mut self, mut input: Input<'_>) -> Result<(), Stop> {
        let place = input.place();
        match input.first_byte().map_err(|error| place.stop(error))? {
            None => return Ok(()),
            Some(b'[') => self.format = Format::Array,
            Some(b'{') => return self.fill_from_object(input),
            Some(_) => self.format = Format::Table,
        }
        Ok(())
    }

    /// The first object is an envelope if it has a member that only envelopes have; else it is a JSON line.
    fn fill_from_object(&mut self, input: Input<'_>) -> Result<(), Stop> {
        let mut sections = Sections::default();
        let read = sections.read(input);
        if sections.envelope {
            self.format = Format::Envelope;
        }
        for (line, name, value) in &sections.found {
            let mut findings = Findings::default();
            if let Err((code, message)) = strict::check(value.get()) {
                findings.error(code, format!("in {name}: {message}"));
            } else if name != "manifest" {
                self.take(name, value.get(), &mut findings);
            } else if !sections.envelope {
                self.header_line = Some(*line);
                self.take_manifest(value.get(), &mut findings);
            }
            self.problems.extend(findings.into_problems(*line, None));
        }
        read
    }

    /// `{"manifest":{"version":1,"job":…,"defaults":…}}`
    fn take_manifest(&mut self, value: &str, findings: &mut Findings) {
        for (name, value) in object("manifest", value, findings) {
            match name.as_ref() {
                "version" | "job" | "defaults" => self.take(&name, value.get(), findings),
                _ => {
                    let (code, message) = bad_name(&name, ["version", "job", "defaults"].into_iter());
                    findings.error(code, format!("in manifest: {message}"));
                }
            }
        }
    }

    fn take(&mut self, name: &str, value: &str, findings: &mut Findings) {
        match name {
            "version" if value == "1" => {}
            "version" => findings.error("unsupported_version", format!("version must be 1, not {}", quote_json(value))),
            "job" => self.job = Job::read(value, findings),
            _ => {
                let members = object("defaults", value, findings);
                self.defaults = Item::from_json(&members, findings);
                if self.defaults.key.is_some() {
                    findings.error("bad_value", "a key can't be a default: give each item its own");
                }
            }
        }
    }
}

impl Job {
    fn read(value: &str, findings: &mut Findings) -> Self {
        let mut job = Self::default();
        for (name, value) in object("job", value, findings) {
            let value = value.get();
            match name.as_ref() {
                "name" => {
                    let name: Option<String> = item::read("job.name", value, "a text in quotes", findings);
                    if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARACTERS) {
                        findings.error("bad_value", format!("job.name must have at most {NAME_CHARACTERS} characters"));
                    } else {
                        job.name = name;
                    }
                }
                // Another run makes other bytes, and so another job. Nothing else is done with it.
                "run" => {
                    let _: Option<Run> = item::read("job.run", value, "a text or a whole number", findings);
                }
                "budget_usd" | "budgetUsd" => {
                    job.budget_usd = item::read("job.budget_usd", value, "a number of dollars", findings)
                }
                "lane" => {
                    let lane: Option<String> = item::read("job.lane", value, "a text in quotes", findings);
                    item::check_lane(lane.as_deref(), findings);
                }
                _ => {
                    let (code, message) = bad_name(&name, ["name", "run", "budget_usd", "lane"].into_iter());
                    findings.error(code, format!("in job: {message}"));
                }
            }
        }
        job
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only that it reads matters")]
enum Run {
    Text(String),
    Number(u64),
}

fn object<'a>(name: &str, value: &'a str, findings: &mut Findings) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    strict::members(value).unwrap_or_else(|| {
        findings.error("bad_value", format!("{name} must be an object, not {}", quote_json(value)));
        Vec::new()
    })
}
