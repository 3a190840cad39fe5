//! What stands beside a request in Google's form: its key, and what the caller keeps there for
//! himself.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::manifest::{
    diagnostics::{ItemDiagnostics, quote_json},
    dialect::{
        field::{Field, field},
        item,
    },
    resolve::variables::{BUILT_IN, Variables, json_text, scalar, spelling},
    strict_json,
};

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

/// Names of the key, the first one that a line has before the others.
const KEYS: [&str; 6] = [
    "key",
    "custom_id",
    "customId",
    "recordId",
    "record_id",
    "id",
];

/// Objects whose members come back with the results.
const OWN: [&str; 2] = ["vars", "metadata"];

/// A line, its request as it is written.
pub(crate) struct NativeLine<'a> {
    pub(crate) key: Option<String>,
    /// What the caller calls the key, where that isn't `key`.
    pub(crate) key_name: Option<&'static str>,
    pub(crate) model: Option<String>,
    pub(crate) path: Option<String>,
    /// The caller's own members.
    pub(crate) vars: Variables,
    pub(crate) request: Option<&'a str>,
    /// The request's name in the line.
    pub(crate) root: &'static str,
}

impl<'a> NativeLine<'a> {
    /// Whether these members make a line of Google's form.
    pub(crate) fn is_line(members: &Members<'_>) -> bool {
        members.iter().any(|(name, _)| name == "request")
    }

    /// A record of Bedrock's form.
    pub(crate) fn of_record(key: Option<String>, request: &'a RawValue) -> Self {
        let (key_name, request) = (Some("recordId"), Some(request.get()));
        let (model, path, vars) = Default::default();
        Self {
            key,
            key_name,
            model,
            path,
            vars,
            request,
            root: "modelInput",
        }
    }

    /// Reads a line that has a `request` member.
    pub(crate) fn read(members: &Members<'a>, diagnostics: &mut ItemDiagnostics) -> Self {
        let key_member = KEYS.iter().find(|key| has_value(members, key));
        let (key, model, path, vars, request) = Default::default();
        let key_name = key_member.and_then(|key| item::reported_key_name(key));
        let mut line = Self {
            key,
            key_name,
            model,
            path,
            vars,
            request,
            root: "request",
        };
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
        // The members of the line itself come first: they keep their names.
        for (name, value) in members {
            let is_known = matches!(name.as_ref(), "request" | "model" | "output" | "out");
            let is_key = key_member.is_some_and(|key| key == name);
            if !is_known
                && !is_key
                && strict_json::members(value.get())
                    .filter(|_| is_own(name))
                    .is_none()
            {
                line.carry(name, value.get(), diagnostics);
            }
        }
        for (name, value) in members.iter().filter(|(name, _)| is_own(name)) {
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

    /// Keeps a member of the line itself, unless it asks for something that a request says in
    /// itself.
    fn carry(&mut self, name: &str, value: &str, diagnostics: &mut ItemDiagnostics) {
        match field(name) {
            Ok(Field::Lane) => {
                let lane: Option<String> = item::read(name, value, "a text in quotes", diagnostics);
                item::check_lane(lane.as_deref(), diagnostics);
            }
            Ok(field) if value != "null" && affects_image(field, name) => diagnostics.error(
                "misplaced_field",
                format!(
                    "beside a request, {name} has no effect: write it into the request, or into metadata to keep it"
                ),
            ),
            _ => self.keep(name, value, diagnostics),
        }
    }

    /// Keeps a value under its name, or under `own_<name>` where placeholders have that name
    /// already.
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

fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// Whether a field of a friendly item, under this name, would change the image that comes. Words
/// that people use for values of their own, such as `count` and `images`, are theirs.
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

/// A key: a text, or a number, which is called by its digits.
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
