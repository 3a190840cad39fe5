//! A friendly item: `key`, `prompt` or `template`, and how the image should be.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{
    field::{Field, bad_name, field},
    problem::{Findings, quote, quote_json},
    strict,
    variables::Variables,
};

/// What an item says; what it leaves out may come from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Item {
    pub(super) key: Option<String>,
    /// What the caller calls the key, where that isn't `key`.
    pub(super) key_name: Option<&'static str>,
    /// Sent as it is written.
    pub(super) prompt: Option<String>,
    /// The name of a template, or the text of one.
    pub(super) template: Option<String>,
    pub(super) vars: Variables,
    pub(super) count: Option<u32>,
    pub(super) model: Option<String>,
    pub(super) aspect_ratio: Option<String>,
    pub(super) image_size: Option<String>,
    /// Width and height that stand for a ratio and a size.
    pub(super) pixels: Option<(u32, u32)>,
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
                        if field == Field::Key {
                            item.key_name = callers_name(name);
                        }
                    }
                },
            }
        }
        item
    }

    /// Sets a field to a JSON value.
    pub(super) fn set_json(&mut self, field: Field, name: &str, value: &str, findings: &mut Findings) {
        match field {
            Field::Key => self.key = read(name, value, A_TEXT, findings),
            Field::Prompt => self.prompt = read(name, value, A_TEXT, findings),
            Field::Template => self.template = read(name, value, A_TEXT, findings),
            Field::Vars => self.vars = Variables::from_json(name, value, findings).unwrap_or_default(),
            Field::Count => self.count = read(name, value, A_COUNT, findings),
            Field::Model => self.model = read(name, value, A_TEXT, findings),
            Field::AspectRatio => self.aspect_ratio = read(name, value, "a text such as \"4:5\"", findings),
            Field::ImageSize => self.image_size = read(name, value, "a text such as \"1K\"", findings),
            Field::Refs => self.refs = references(name, value, findings),
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
            Field::Template => self.template = text(),
            // A table has a column for each variable.
            Field::Vars => {}
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

    /// The item with what it leaves out taken from the defaults. A prompt and a template stand for each other.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let speaks = self.prompt.is_some() || self.template.is_some();
        let (prompt, template) =
            if speaks { (self.prompt, self.template) } else { (defaults.prompt.clone(), defaults.template.clone()) };
        Self {
            key: self.key,
            key_name: self.key_name,
            prompt,
            template,
            vars: self.vars.or(&defaults.vars),
            pixels: self.pixels,
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

/// Reference pictures: `"refs/a.jpg"`, or a list of such texts or of `{"uri": "refs/a.jpg"}`.
pub(super) fn references(name: &str, value: &str, findings: &mut Findings) -> Option<Vec<String>> {
    if value == "null" {
        return None;
    }
    let list = match serde_json::from_str(value) {
        Ok(Reference::Text(one)) => return Some(vec![one]),
        Ok(Reference::Object(_)) | Err(_) => serde_json::from_str::<Vec<Reference<'_>>>(value),
    };
    let Ok(list) = list else {
        let message = format!("{name} must be a list such as [\"refs/a.jpg\"], not {}", quote_json(value));
        findings.error("bad_value", message);
        return None;
    };
    let uri = |reference| match reference {
        Reference::Text(uri) => Some(uri),
        Reference::Object(members) => uri_of(name, members, findings),
    };
    Some(list.into_iter().filter_map(uri).collect())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reference<'a> {
    Text(String),
    #[serde(borrow)]
    Object(BTreeMap<Cow<'a, str>, Value>),
}

fn uri_of(name: &str, mut members: BTreeMap<Cow<'_, str>, Value>, findings: &mut Findings) -> Option<String> {
    let uri = match members.remove("uri") {
        Some(Value::String(uri)) => Some(uri),
        Some(_) | None => {
            findings.error("bad_reference", format!("a reference in {name} has no uri: write its address"));
            None
        }
    };
    for member in members.keys() {
        let (code, message) = bad_name(member, ["uri"].into_iter());
        findings.error(code, format!("in {name}: {message}"));
    }
    uri
}

/// A name for the key by which the results call it too.
pub(super) fn callers_name(name: &str) -> Option<&'static str> {
    ["id", "custom_id", "customId", "recordId", "record_id"].into_iter().find(|known| *known == name)
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
