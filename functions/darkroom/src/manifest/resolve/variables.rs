//! Variables: the names and values of columns, `vars` and axes.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::manifest::{
    diagnostics::{ItemDiagnostics, quote, quote_json},
    format::csv::cell::is_blank,
    strict_json,
};

/// The placeholders of a path that are not variables.
pub(crate) const BUILT_IN: [&str; 6] = [
    "key",
    "variant",
    "model",
    "aspect_ratio",
    "image_size",
    "ext",
];

/// The variables of one item, by their normalized names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads `{"color": "off white", "year": 2026}`.
    pub(crate) fn from_json(
        name: &str,
        value: &str,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<Self> {
        if value == "null" {
            return None;
        }
        let Some(members) = strict_json::members(value) else {
            let message = format!(
                "{name} must be an object such as {{\"color\": \"red\"}}, not {}",
                quote_json(value)
            );
            diagnostics.error("bad_value", message);
            return None;
        };

        // A null is not a value, and lists and objects have no text.
        let mut variables = Self::default();
        for (name, value) in members {
            match scalar(value.get()) {
                Some(text) => variables.set(&name, text, diagnostics),
                None if value.get() == "null" => {}
                None => {
                    let message = format!(
                        "variable {} must be a text or a number, not {}",
                        quote(&name),
                        quote_json(value.get())
                    );
                    diagnostics.error("bad_value", message);
                }
            }
        }
        Some(variables)
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, written: &str, value: String, diagnostics: &mut ItemDiagnostics) {
        let name = spelling(written);
        if name.is_empty() || BUILT_IN.contains(&name.as_str()) {
            let message = format!(
                "{} can't be a variable's name: choose another",
                quote(written)
            );
            return diagnostics.error("bad_variable", message);
        }
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(_) => {
                diagnostics.error(
                    "duplicate_member",
                    format!("variable {} appears twice: keep one", quote(written)),
                );
            }
        }
    }

    /// Sets a variable to the value of a column. Any name is allowed: if a placeholder has it
    /// already, such as `variant`, the placeholder keeps its meaning in paths.
    pub(crate) fn set_column(&mut self, written: &str, value: String) {
        self.0.insert(spelling(written), value);
    }

    /// Reads the caller's metadata: texts and numbers as they are, lists and objects as their JSON.
    pub(crate) fn from_metadata(
        members: &[(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)],
    ) -> Self {
        let mut variables = Self::default();
        for (name, value) in members.iter().filter(|(_, value)| value.get() != "null") {
            variables.set_column(name, json_text(value.get()));
        }
        variables
    }

    /// Returns the value of a variable. Its name may have any spelling.
    pub(crate) fn get(&self, written: &str) -> Option<&str> {
        self.0.get(&spelling(written)).map(String::as_str)
    }

    /// Returns the normalized names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds those of `others` whose names are not set here.
    pub(crate) fn or(mut self, others: &Self) -> Self {
        for (name, value) in &others.0 {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// Returns names and values.
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Normalizes a name: `Product Title`, `product-title` and `product_title` are the same name, and
/// so are `Body (HTML)` and `body_html`. A name without a letter or a digit, such as `#`, stays as
/// it is written.
pub(crate) fn spelling(name: &str) -> String {
    let mut spelt = String::with_capacity(name.len());
    for letter in name.trim_matches(is_blank).chars() {
        if letter.is_alphanumeric() {
            spelt.extend(letter.to_lowercase());
        } else if !spelt.is_empty() && !spelt.ends_with('_') {
            spelt.push('_');
        }
    }
    spelt.truncate(spelt.trim_end_matches('_').len());
    if spelt.is_empty() {
        name.trim_matches(is_blank).to_owned()
    } else {
        spelt
    }
}

/// Returns a value as text. A list or an object is its JSON.
pub(crate) fn json_text(json: &str) -> String {
    scalar(json).unwrap_or_else(|| json.to_owned())
}

/// Returns a text, a number or a boolean as text.
pub(crate) fn scalar(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Variables, usize) {
        let mut diagnostics = ItemDiagnostics::default();
        let variables = Variables::from_json("vars", json, &mut diagnostics).unwrap_or_default();
        (variables, diagnostics.into_diagnostics(1, None).count())
    }

    #[test]
    fn a_name_may_have_the_spelling_of_a_spreadsheet() {
        let (variables, problems) =
            read(r#"{"Product Title":"shoe","year":2026,"new":true,"none":null}"#);
        assert_eq!(problems, 0);
        assert_eq!(variables.get("product_title"), Some("shoe"));
        assert_eq!(variables.get("PRODUCT-title"), Some("shoe"));
        assert_eq!(
            (
                variables.get("year"),
                variables.get("new"),
                variables.get("none")
            ),
            (Some("2026"), Some("true"), None)
        );
    }

    #[test]
    fn punctuation_around_a_name_is_ignored_and_a_name_of_punctuation_is_kept() {
        for (name, spelt) in [
            ("Body (HTML)", "body_html"),
            ("_id", "id"),
            ("#", "#"),
            (" % ", "%"),
            ("Größe", "größe"),
        ] {
            assert_eq!(spelling(name), spelt, "{name}");
        }
    }

    #[test]
    fn values_that_are_not_text_and_reserved_names_are_refused() {
        for json in [
            r#"{"a":[1]}"#,
            r#"{"a":{}}"#,
            r#"{"key":"x"}"#,
            r#"{"Aspect Ratio":"x"}"#,
            r#"{"a":1,"A":2}"#,
            "[1]",
        ] {
            assert_eq!(read(json).1, 1, "{json}");
        }
    }
}
