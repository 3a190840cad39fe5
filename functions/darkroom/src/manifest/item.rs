//! A friendly item: `key`, `prompt` and how the image should be.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    field::{Field, bad_name, field},
    problem::{Findings, quote, quote_json},
    strict,
};

/// What an item says; what it leaves out may come from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Item {
    pub(super) key: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) count: Option<u32>,
    pub(super) model: Option<String>,
    pub(super) aspect_ratio: Option<String>,
    pub(super) image_size: Option<String>,
    pub(super) refs: Option<Vec<String>>,
    pub(super) system: Option<String>,
    pub(super) seed: Option<i32>,
    pub(super) temperature: Option<f64>,
    pub(super) path: Option<String>,
}

impl Item {
    /// Reads an object's members.
    pub(super) fn from_json(members: &[(Cow<'_, str>, &RawValue)], findings: &mut Findings) -> Self {
        let mut item = Self::default();
        let mut seen: Vec<(Field, &str)> = Vec::new();
        for (name, value) in members {
            match field(name) {
                Err((code, message)) => findings.error(code, message),
                Ok(field) => match seen.iter().find(|(other, _)| *other == field) {
                    Some((_, other)) => {
                        findings.error("duplicate_member", format!("{name} and {other} are the same field: keep one"));
                    }
                    None => {
                        seen.push((field, name));
                        item.set_json(field, name, value.get(), findings);
                    }
                },
            }
        }
        item
    }

    fn set_json(&mut self, field: Field, name: &str, value: &str, findings: &mut Findings) {
        match field {
            Field::Key => self.key = read(name, value, A_TEXT, findings),
            Field::Prompt => self.prompt = read(name, value, A_TEXT, findings),
            Field::Count => self.count = read(name, value, A_COUNT, findings),
            Field::Model => self.model = read(name, value, A_TEXT, findings),
            Field::AspectRatio => self.aspect_ratio = read(name, value, "a text such as \"4:5\"", findings),
            Field::ImageSize => self.image_size = read(name, value, "a text such as \"1K\"", findings),
            Field::Refs => self.refs = read(name, value, "a list of texts such as [\"refs/a.jpg\"]", findings),
            Field::System => self.system = read(name, value, A_TEXT, findings),
            Field::Seed => self.seed = read(name, value, A_SEED, findings),
            Field::Temperature => self.temperature = read(name, value, A_TEMPERATURE, findings),
            Field::Lane => {
                let lane: Option<String> = read(name, value, A_TEXT, findings);
                check_lane(lane.as_deref(), findings);
            }
            Field::Output => self.path = path(name, value, findings),
        }
    }

    /// Reads one cell of a CSV row. An empty cell says nothing.
    pub(super) fn set_cell(&mut self, field: Field, name: &str, cell: &str, findings: &mut Findings) {
        let text = || Some(cell.to_owned());
        match field {
            _ if cell.is_empty() => {}
            Field::Key => self.key = text(),
            Field::Prompt => self.prompt = text(),
            Field::Count => self.count = parse(name, cell, A_COUNT, findings),
            Field::Model => self.model = text(),
            Field::AspectRatio => self.aspect_ratio = text(),
            Field::ImageSize => self.image_size = text(),
            Field::Refs => {
                let refs = cell.split('|').map(str::trim).filter(|reference| !reference.is_empty());
                self.refs = Some(refs.map(str::to_owned).collect());
            }
            Field::System => self.system = text(),
            Field::Seed => self.seed = parse(name, cell, A_SEED, findings),
            Field::Temperature => self.temperature = parse(name, cell, A_TEMPERATURE, findings),
            Field::Lane => check_lane(Some(cell), findings),
            Field::Output => self.path = text(),
        }
    }

    /// The item with what it leaves out taken from the defaults.
    pub(super) fn or(self, defaults: &Self) -> Self {
        Self {
            key: self.key,
            prompt: self.prompt.or_else(|| defaults.prompt.clone()),
            count: self.count.or(defaults.count),
            model: self.model.or_else(|| defaults.model.clone()),
            aspect_ratio: self.aspect_ratio.or_else(|| defaults.aspect_ratio.clone()),
            image_size: self.image_size.or_else(|| defaults.image_size.clone()),
            refs: self.refs.or_else(|| defaults.refs.clone()),
            system: self.system.or_else(|| defaults.system.clone()),
            seed: self.seed.or(defaults.seed),
            temperature: self.temperature.or(defaults.temperature),
            path: self.path.or_else(|| defaults.path.clone()),
        }
    }
}

const A_TEXT: &str = "a text in quotes";
const A_COUNT: &str = "a whole number such as 2";
const A_SEED: &str = "a whole number from -2147483648 to 2147483647";
const A_TEMPERATURE: &str = "a number from 0 to 2";

/// A member's value, `None` for null and, with a finding, for a value of another type.
pub(super) fn read<T: DeserializeOwned>(name: &str, value: &str, expected: &str, findings: &mut Findings) -> Option<T> {
    serde_json::from_str::<Option<T>>(value).unwrap_or_else(|_| {
        findings.error("bad_value", format!("{name} must be {expected}, not {}", quote_json(value)));
        None
    })
}

fn parse<T: std::str::FromStr>(name: &str, cell: &str, expected: &str, findings: &mut Findings) -> Option<T> {
    let parsed = cell.parse().ok();
    if parsed.is_none() {
        findings.error("bad_value", format!("{name} must be {expected}, not {}", quote(cell)));
    }
    parsed
}

/// The path of `output: {"path": …}`.
pub(super) fn path(name: &str, value: &str, findings: &mut Findings) -> Option<String> {
    if value == "null" {
        return None;
    }
    let Some(members) = strict::members(value) else {
        findings.error(
            "bad_value",
            format!("{name} must be an object such as {{\"path\": \"sku/1\"}}, not {}", quote_json(value)),
        );
        return None;
    };
    let mut path = None;
    for (member, value) in members {
        if member == "path" {
            path = read("output.path", value.get(), A_TEXT, findings);
        } else {
            let (code, message) = bad_name(&member, ["path"].into_iter());
            findings.error(code, format!("in {name}: {message}"));
        }
    }
    path
}

/// Every image goes through a batch for now.
pub(super) fn check_lane(lane: Option<&str>, findings: &mut Findings) {
    if let Some(lane) = lane.filter(|lane| *lane != "batch") {
        findings.error(
            "unsupported_field",
            format!("lane {} is not supported yet: leave it out, every image goes through a batch", quote(lane)),
        );
    }
}
