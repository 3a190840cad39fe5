//! Darkroom's own dialect: an item with `key`, `prompt` or `template`, and settings of its image.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::field::{Field, bad_name, field};
use crate::{
    lane::RequestedLane,
    manifest::{
        diagnostics::{ItemDiagnostics, quote, quote_json},
        format::csv::cell,
        resolve::variables::Variables,
        strict_json,
    },
    models::{ThinkingLevel, nearest},
};

/// The fields of an item. Fields that it leaves out may come from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Item {
    pub(crate) key: Option<String>,
    /// The caller's name for the key, if that is not `key`.
    pub(crate) key_name: Option<&'static str>,
    /// The prompt, sent as it is written.
    pub(crate) prompt: Option<String>,
    /// The name or the text of a template.
    pub(crate) template: Option<String>,
    pub(crate) vars: Variables,
    pub(crate) count: Option<u32>,
    pub(crate) model: Option<String>,
    pub(crate) aspect_ratio: Option<String>,
    pub(crate) image_size: Option<String>,
    /// A width and a height, from which ratio and size are derived.
    pub(crate) pixels: Option<(u32, u32)>,
    pub(crate) refs: Option<Vec<String>>,
    /// Further references, from rows that continue the item's row. They are sent as far as the
    /// model accepts them.
    pub(crate) more_refs: Vec<String>,
    pub(crate) system: Option<String>,
    pub(crate) seed: Option<i32>,
    pub(crate) temperature: Option<f64>,
    pub(crate) thinking: Option<ThinkingLevel>,
    pub(crate) lane: RequestedLane,
    pub(crate) path: Option<String>,
}

impl Item {
    /// Reads an item from the members of a JSON object.
    pub(crate) fn from_json(
        members: &[(Cow<'_, str>, &RawValue)],
        diagnostics: &mut ItemDiagnostics,
    ) -> Self {
        let mut item = Self::default();
        let mut seen: Vec<(Field, &str)> = Vec::new();
        for (name, value) in members {
            // Two names of one field are an error, because only one of the values can be used.
            match field(name) {
                Err((code, message)) => diagnostics.error(code, message),
                Ok(field) => match seen.iter().find(|(other, _)| *other == field) {
                    Some((_, other)) => {
                        diagnostics.error(
                            "duplicate_member",
                            format!("{name} and {other} are the same field: keep one"),
                        );
                    }
                    None => {
                        seen.push((field, name));
                        item.set_json(field, name, value.get(), diagnostics);
                        if field == Field::Key {
                            item.key_name = reported_key_name(name);
                        }
                    }
                },
            }
        }
        item
    }

    /// Sets a field from a JSON value.
    pub(crate) fn set_json(
        &mut self,
        field: Field,
        name: &str,
        value: &str,
        diagnostics: &mut ItemDiagnostics,
    ) {
        match field {
            Field::Key => self.key = read_key(name, value, diagnostics),
            Field::Prompt => self.prompt = read(name, value, A_TEXT, diagnostics),
            Field::Template => self.template = read(name, value, A_TEXT, diagnostics),
            Field::Vars => {
                let vars = Variables::from_json(name, value, diagnostics).unwrap_or_default();
                self.vars = vars.or(&self.vars);
            }
            Field::Metadata => self.set_metadata(name, value, diagnostics),
            Field::Count => self.count = read_whole(name, value, A_COUNT, diagnostics),
            Field::Model => self.model = read(name, value, A_TEXT, diagnostics),
            Field::AspectRatio => {
                self.aspect_ratio = read(name, value, "a text such as \"4:5\"", diagnostics)
            }
            Field::ImageSize => {
                self.image_size = read(name, value, "a text such as \"1K\"", diagnostics)
            }
            Field::Refs => self.refs = references(name, value, diagnostics),
            Field::System => self.system = read(name, value, A_TEXT, diagnostics),
            Field::Seed => self.seed = read_whole(name, value, A_SEED, diagnostics),
            Field::Temperature => self.temperature = read(name, value, A_TEMPERATURE, diagnostics),
            Field::Thinking => {
                let level: Option<String> = read(name, value, A_LEVEL, diagnostics);
                self.thinking = level.and_then(|level| parse(name, &level, A_LEVEL, diagnostics));
            }
            Field::Lane => self.lane = read_lane(name, value, diagnostics),
            Field::Output => self.path = path(name, value, diagnostics),
        }
    }

    /// Reads the caller's metadata. The key may be among it.
    fn set_metadata(&mut self, name: &str, value: &str, diagnostics: &mut ItemDiagnostics) {
        if value == "null" {
            return;
        }
        let members = strict_json::members_of(name, value, diagnostics);
        let is_key = |member: &&(Cow<'_, str>, &RawValue)| member.0 == "key";
        if let Some((_, key)) = members.iter().find(is_key)
            && self.key.is_none()
        {
            self.key = read_key("metadata.key", key.get(), diagnostics);
        }
        let own: Vec<_> = members
            .into_iter()
            .filter(|member| !is_key(&member))
            .collect();
        self.vars = std::mem::take(&mut self.vars).or(&Variables::from_metadata(&own));
    }

    /// Sets a field from a cell of a table that is not empty.
    pub(crate) fn set_cell(
        &mut self,
        field: Field,
        name: &str,
        cell: &str,
        style: CellStyle,
        diagnostics: &mut ItemDiagnostics,
    ) {
        let text = || Some(cell.to_owned());
        let number = || cell::number(cell, style.decimal_comma);
        match field {
            Field::Key => self.key = text(),
            Field::Prompt => self.prompt = text(),
            Field::Template => self.template = text(),
            // A table has a column for each variable.
            Field::Vars | Field::Metadata => {}
            Field::Count => self.count = parse(name, &number(), A_COUNT, diagnostics),
            Field::Model => self.model = text(),
            Field::AspectRatio => {
                let (ratio, is_time) = cell::aspect_ratio(cell);
                if is_time {
                    let message = format!(
                        "ratios in {name} were saved as times of day: 04:05 is read as 4:5"
                    );
                    diagnostics.warning("ratio_as_time", message);
                }
                self.aspect_ratio = Some(ratio.into_owned());
            }
            Field::ImageSize => self.image_size = text(),
            // Several columns may hold references.
            Field::Refs => self
                .refs
                .get_or_insert_default()
                .extend(cell::references(cell)),
            Field::System => self.system = text(),
            Field::Seed => self.seed = parse(name, &number(), A_SEED, diagnostics),
            Field::Temperature => {
                self.temperature = parse(name, &number(), A_TEMPERATURE, diagnostics)
            }
            Field::Thinking => self.thinking = parse(name, cell, A_LEVEL, diagnostics),
            Field::Lane => self.lane = parse_lane(name, cell, diagnostics),
            Field::Output => self.path = text(),
        }
    }

    /// Fills the empty cells of a row from the previous row.
    pub(crate) fn filled_from(self, above: &Self) -> Self {
        let (path, pixels) = (
            self.path.clone().or_else(|| above.path.clone()),
            self.pixels.or(above.pixels),
        );
        Self {
            path,
            pixels,
            ..self.or(above)
        }
    }

    /// Fills the missing fields of an item from the defaults. A prompt and a template replace each
    /// other.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        let has_prompt = self.prompt.is_some() || self.template.is_some();

        // The default of one must not be combined with the item's other.
        let (prompt, template) = if has_prompt {
            (self.prompt, self.template)
        } else {
            (defaults.prompt.clone(), defaults.template.clone())
        };
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
            more_refs: self.more_refs,
            system: self.system.or_else(|| defaults.system.clone()),
            seed: self.seed.or(defaults.seed),
            temperature: self.temperature.or(defaults.temperature),
            thinking: self.thinking.or(defaults.thinking),
            lane: self.lane.or(defaults.lane),
            path: self.path.or_else(|| defaults.path.clone()),
        }
    }
}

/// How a table writes numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellStyle {
    /// Whether a comma may be a decimal comma.
    pub(crate) decimal_comma: bool,
}

const A_TEXT: &str = "a text in quotes";
const A_COUNT: &str = "a whole number such as 2";
const A_SEED: &str = "a whole number from -2147483648 to 2147483647";
const A_TEMPERATURE: &str = "a number from 0 to 2";
const A_LEVEL: &str = "minimal, low, medium or high";
const A_LANE: &str = "batch, flex, interactive or auto";

/// Reads a member's value. A null is `None`, and so is a value of another type, which is reported.
pub(crate) fn read<T: DeserializeOwned>(
    name: &str,
    value: &str,
    expected: &str,
    diagnostics: &mut ItemDiagnostics,
) -> Option<T> {
    serde_json::from_str::<Option<T>>(value).unwrap_or_else(|_| {
        diagnostics.error(
            "bad_value",
            format!("{name} must be {expected}, not {}", quote_json(value)),
        );
        None
    })
}

/// Reads a key: a text, or a number as it is written, with `1001.0` as `1001`.
pub(crate) fn read_key(
    name: &str,
    value: &str,
    diagnostics: &mut ItemDiagnostics,
) -> Option<String> {
    match value.as_bytes().first() {
        Some(b'0'..=b'9' | b'-') => Some(cell::number(value, false).into_owned()),
        _ => read(name, value, "a text in quotes, or a number", diagnostics),
    }
}

/// Reads a whole number, which may be written with a fraction of zeros.
pub(crate) fn read_whole<T: DeserializeOwned>(
    name: &str,
    value: &str,
    expected: &str,
    diagnostics: &mut ItemDiagnostics,
) -> Option<T> {
    let whole = cell::number(value, false);
    if serde_json::from_str::<Option<T>>(&whole).is_ok() {
        return read(name, &whole, expected, diagnostics);
    }
    read(name, value, expected, diagnostics)
}

fn parse<T: std::str::FromStr>(
    name: &str,
    cell: &str,
    expected: &str,
    diagnostics: &mut ItemDiagnostics,
) -> Option<T> {
    let parsed = cell.parse().ok();
    if parsed.is_none() {
        diagnostics.error(
            "bad_value",
            format!("{name} must be {expected}, not {}", quote(cell)),
        );
    }
    parsed
}

/// Reads reference pictures: `"refs/a.jpg"`, or a list of such texts or of `{"uri": "refs/a.jpg"}`.
pub(crate) fn references(
    name: &str,
    value: &str,
    diagnostics: &mut ItemDiagnostics,
) -> Option<Vec<String>> {
    if value == "null" {
        return None;
    }

    // A single text is a list of one. Only a list may contain objects.
    let list = match serde_json::from_str(value) {
        Ok(Reference::Text(one)) => return Some(vec![one]),
        Ok(Reference::Object(_)) | Err(_) => serde_json::from_str::<Vec<Reference<'_>>>(value),
    };
    let Ok(list) = list else {
        let message = format!(
            "{name} must be a list such as [\"refs/a.jpg\"], not {}",
            quote_json(value)
        );
        diagnostics.error("bad_value", message);
        return None;
    };

    // Elements without an address are reported and dropped.
    let uri = |reference| match reference {
        Reference::Text(uri) => Some(uri),
        Reference::Object(members) => uri_of(name, members, diagnostics),
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

fn uri_of(
    name: &str,
    mut members: BTreeMap<Cow<'_, str>, Value>,
    diagnostics: &mut ItemDiagnostics,
) -> Option<String> {
    let uri = match members.remove("uri") {
        Some(Value::String(uri)) => Some(uri),
        Some(_) | None => {
            diagnostics.error(
                "bad_reference",
                format!("a reference in {name} has no uri: write its address"),
            );
            None
        }
    };
    for member in members.keys() {
        let (code, message) = bad_name(member, ["uri"].into_iter());
        diagnostics.error(code, format!("in {name}: {message}"));
    }
    uri
}

/// Returns the name of a key that the results repeat, if this is one.
pub(crate) fn reported_key_name(name: &str) -> Option<&'static str> {
    ["id", "custom_id", "customId", "recordId", "record_id"]
        .into_iter()
        .find(|known| *known == name)
}

/// Reads the path of `output: {"path": …}`.
pub(crate) fn path(name: &str, value: &str, diagnostics: &mut ItemDiagnostics) -> Option<String> {
    if value == "null" {
        return None;
    }
    let Some(members) = strict_json::members(value) else {
        diagnostics.error(
            "bad_value",
            format!(
                "{name} must be an object such as {{\"path\": \"sku/1\"}}, not {}",
                quote_json(value)
            ),
        );
        return None;
    };
    let mut path = None;
    for (member, value) in members {
        if member == "path" {
            path = read("output.path", value.get(), A_TEXT, diagnostics);
        } else {
            let (code, message) = bad_name(&member, ["path"].into_iter());
            diagnostics.error(code, format!("in {name}: {message}"));
        }
    }
    path
}

/// Reads a lane.
pub(crate) fn read_lane(
    name: &str,
    value: &str,
    diagnostics: &mut ItemDiagnostics,
) -> RequestedLane {
    let lane: Option<String> = read(name, value, A_LANE, diagnostics);
    lane.map_or(RequestedLane::Unset, |lane| {
        parse_lane(name, &lane, diagnostics)
    })
}

fn parse_lane(name: &str, text: &str, diagnostics: &mut ItemDiagnostics) -> RequestedLane {
    text.parse().unwrap_or_else(|_| {
        let message = format!("{name} must be {A_LANE}, not {}", quote(text));
        let hint = match nearest(text, RequestedLane::NAMES).first() {
            Some(near) => format!(": did you mean {near}?"),
            None => String::new(),
        };
        diagnostics.error("bad_value", message + &hint);
        RequestedLane::Unset
    })
}
