//! The members next to a Gemini request: its key, and the values that the caller keeps there.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    lane::RequestedLane,
    manifest::{
        diagnostics::{ItemDiagnostics, quote_json},
        dialect::{
            field::{Field, field},
            item,
        },
        resolve::variables::{BUILT_IN, Variables, json_text, scalar, spelling},
        strict_json,
    },
};

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

/// Names of the key. The first that a line has is its key.
const KEYS: [&str; 6] = [
    "key",
    "custom_id",
    "customId",
    "recordId",
    "record_id",
    "id",
];

/// Objects whose members are repeated in the results.
const METADATA_OBJECTS: [&str; 2] = ["vars", "metadata"];

/// A line of a batch file, with its request as it is written.
pub(crate) struct NativeLine<'a> {
    pub(crate) key: Option<String>,
    /// The caller's name for the key, if that is not `key`.
    pub(crate) key_name: Option<&'static str>,
    pub(crate) model: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) lane: RequestedLane,
    /// The caller's values.
    pub(crate) vars: Variables,
    pub(crate) request: Option<&'a str>,
    /// The name of the request's member, for messages.
    pub(crate) root: &'static str,
}

impl<'a> NativeLine<'a> {
    /// Whether these members make a line of Gemini's batch files.
    pub(crate) fn is_line(members: &Members<'_>) -> bool {
        members.iter().any(|(name, _)| name == "request")
    }

    /// Makes a line of a record in Bedrock's dialect.
    pub(crate) fn of_record(key: Option<String>, request: &'a RawValue) -> Self {
        let (key_name, request) = (Some("recordId"), Some(request.get()));
        let (model, path, lane, vars) = Default::default();
        Self {
            key,
            key_name,
            model,
            path,
            lane,
            vars,
            request,
            root: "modelInput",
        }
    }

    /// Reads a line that has a `request` member.
    pub(crate) fn read(members: &Members<'a>, diagnostics: &mut ItemDiagnostics) -> Self {
        let key_member = KEYS.iter().find(|key| has_value(members, key));
        let (key, model, path, lane, vars, request) = Default::default();
        let key_name = key_member.and_then(|key| item::reported_key_name(key));

        // The first name of the key that has a value wins. Other names are kept as values of the
        // caller.
        let mut line = Self {
            key,
            key_name,
            model,
            path,
            lane,
            vars,
            request,
            root: "request",
        };

        // The members with a meaning are read first.
        for (name, value) in members {
            let value = value.get();
            match name.as_ref() {
                "request" => line.request = Some(value),
                "model" => line.model = item::read(name, value, "a text in quotes", diagnostics),
                "output" | "out" => line.path = item::path(name, value, diagnostics),
                name if key_member.is_some_and(|key| *key == name) => {
                    line.key = read_key(name, value, diagnostics)
                }
                _ => {}
            }
        }
        // The members of the line itself come first, so that they keep their names.
        for (name, value) in members {
            let is_known = matches!(name.as_ref(), "request" | "model" | "output" | "out");
            let is_key = key_member.is_some_and(|key| key == name);
            if !is_known
                && !is_key
                && strict_json::members(value.get())
                    .filter(|_| is_metadata_object(name))
                    .is_none()
            {
                line.carry(name, value.get(), diagnostics);
            }
        }

        // Members of objects follow. They get a prefix if their name is taken.
        for (name, value) in members.iter().filter(|(name, _)| is_metadata_object(name)) {
            line.carry_members(
                name,
                strict_json::members(value.get()).unwrap_or_default(),
                diagnostics,
            );
        }
        line
    }

    /// Keeps the members of `vars` or `metadata`. Google's inline requests have their key in the
    /// metadata.
    fn carry_members(
        &mut self,
        of: &str,
        members: Vec<(Cow<'_, str>, &RawValue)>,
        diagnostics: &mut ItemDiagnostics,
    ) {
        for (name, value) in members {
            if of == "metadata" && name == "key" && self.key.is_none() {
                self.key = read_key("metadata.key", value.get(), diagnostics);
            } else if self.vars.get(&name).is_some() {
                self.keep(&format!("{of}_{name}"), value.get(), diagnostics);
            } else {
                self.keep(&name, value.get(), diagnostics);
            }
        }
    }

    /// Keeps a member of the line itself, unless it is a setting that belongs into the request.
    fn carry(&mut self, name: &str, value: &str, diagnostics: &mut ItemDiagnostics) {
        match field(name) {
            Ok(Field::Lane) => self.lane = item::read_lane(name, value, diagnostics),
            Ok(field) if value != "null" && affects_image(field, name) => diagnostics.error(
                "misplaced_field",
                format!(
                    "next to a request, {name} has no effect: write it into the request, or into \
                     metadata to keep it"
                ),
            ),
            _ => self.keep(name, value, diagnostics),
        }
    }

    /// Keeps a value under its name, or under `own_<name>` if placeholders already use that name.
    fn keep(&mut self, name: &str, value: &str, diagnostics: &mut ItemDiagnostics) {
        if value == "null" {
            return;
        }
        let value = json_text(value);
        let spelt = spelling(name);
        if spelt.is_empty() || BUILT_IN.contains(&spelt.as_str()) {
            self.vars.set(&format!("own_{name}"), value, diagnostics);
        } else {
            self.vars.set(name, value, diagnostics);
        }
    }
}

fn has_value(members: &Members<'_>, wanted: &str) -> bool {
    members
        .iter()
        .any(|(name, value)| name == wanted && value.get() != "null")
}

fn is_metadata_object(name: &str) -> bool {
    METADATA_OBJECTS.contains(&name)
}

/// Whether a field of an item, under this name, would change the image. Names that users give to
/// their own values, such as `count` and `images`, are kept as such.
fn affects_image(field: Field, name: &str) -> bool {
    match field {
        Field::Count => name == "n",
        Field::Refs => name == "refs",
        Field::AspectRatio
        | Field::ImageSize
        | Field::Seed
        | Field::Temperature
        | Field::Thinking => true,
        _ => false,
    }
}

/// Reads a key: a text, or a number in its digits.
fn read_key(name: &str, value: &str, diagnostics: &mut ItemDiagnostics) -> Option<String> {
    if value == "null" {
        return None;
    }
    let key = scalar(value).filter(|_| !matches!(value, "true" | "false"));
    if key.is_none() {
        diagnostics.error(
            "bad_value",
            format!(
                "{name} must be a text or a number, not {}",
                quote_json(value)
            ),
        );
    }
    key
}
