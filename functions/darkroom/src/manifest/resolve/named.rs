//! Templates and references that items use by name.

use std::collections::BTreeMap;

use crate::{
    manifest::{
        diagnostics::{ItemDiagnostics, quote, quote_json},
        dialect::item::{Item, references},
        strict_json,
    },
    models::nearest,
};

/// A prompt with placeholders, and settings for its images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Template {
    pub(crate) text: String,
    pub(crate) fields: Item,
}

impl Template {
    /// Reads `"{product} on white"`, or an item's fields with the text as `prompt` or `template`.
    pub(crate) fn from_json(
        name: &str,
        value: &str,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<Self> {
        if let Ok(text) = serde_json::from_str(value) {
            return Some(Self {
                text,
                fields: Item::default(),
            });
        }
        let Some(members) = strict_json::members(value) else {
            let message = format!(
                "template {} must be a text or an object, not {}",
                quote(name),
                quote_json(value)
            );
            diagnostics.error("bad_value", message);
            return None;
        };

        // A template may set any field of an item but the key.
        let mut fields = Item::from_json(&members, diagnostics);
        if fields.key.is_some() {
            diagnostics.error(
                "bad_value",
                format!("template {} has a key: keys belong to items", quote(name)),
            );
        }

        // Its text is called prompt or template.
        match (fields.prompt.take(), fields.template.take()) {
            (Some(text), None) | (None, Some(text)) => Some(Self { text, fields }),
            (None, None) => {
                diagnostics.error(
                    "missing_prompt",
                    format!("template {} has no prompt: add one", quote(name)),
                );
                None
            }
            (Some(_), Some(_)) => {
                diagnostics.error(
                    "bad_value",
                    format!("template {} has prompt and template: keep one", quote(name)),
                );
                None
            }
        }
    }
}

/// Templates and references by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Definitions {
    pub(crate) templates: BTreeMap<String, Template>,
    references: BTreeMap<String, Vec<String>>,
}

impl Definitions {
    /// Reads `{"hero": "{product} in {scene}"}`.
    pub(crate) fn read_templates(&mut self, value: &str, diagnostics: &mut ItemDiagnostics) {
        for (name, value) in strict_json::members_of("templates", value, diagnostics) {
            if let Some(template) = Template::from_json(&name, value.get(), diagnostics) {
                self.templates.insert(name.into_owned(), template);
            }
        }
    }

    /// Reads `{"grinder": ["s3://studio/refs/a.png"]}`.
    pub(crate) fn read_references(&mut self, value: &str, diagnostics: &mut ItemDiagnostics) {
        for (name, value) in strict_json::members_of("references", value, diagnostics) {
            let what = format!("references.{name}");
            let found = references(&what, value.get(), diagnostics).unwrap_or_default();
            if found.iter().any(|reference| reference.starts_with('@')) {
                let message = format!(
                    "{} names another reference: write the pictures themselves",
                    quote(&what)
                );
                diagnostics.error("bad_reference", message);
            } else {
                self.references.insert(name.into_owned(), found);
            }
        }
    }

    /// Adds those of `others` whose names are not defined here.
    pub(crate) fn or(mut self, others: Self) -> Self {
        for (name, template) in others.templates {
            self.templates.entry(name).or_insert(template);
        }
        for (name, found) in others.references {
            self.references.entry(name).or_insert(found);
        }
        self
    }

    /// Replaces the names among references by what they stand for, in order.
    pub(crate) fn resolve(
        &self,
        refs: Vec<String>,
        diagnostics: &mut ItemDiagnostics,
    ) -> Vec<String> {
        let mut resolved = Vec::with_capacity(refs.len());
        for reference in refs {
            match reference.strip_prefix('@') {
                None => resolved.push(reference),
                Some(name) => match self.references.get(name) {
                    Some(found) => resolved.extend(found.iter().cloned()),
                    None => diagnostics.error(
                        "unknown_reference",
                        unknown("reference", name, self.references.keys()),
                    ),
                },
            }
        }
        resolved
    }
}

/// Returns the message for a name that is not defined.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a String> + Clone,
) -> String {
    let near = nearest(name, known.clone().map(String::as_str));
    let names: Vec<&str> = known.map(String::as_str).take(20).collect();
    let hint = match near.first() {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => format!("the manifest names no {what}s"),
        None => format!("use {}", names.join(", ")),
    };
    format!("there is no {what} {}: {hint}", quote(name))
}
