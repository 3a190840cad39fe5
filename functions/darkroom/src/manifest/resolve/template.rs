//! Texts with placeholders: `{name}` and `{name|default}`. `{{` and `}}` are literal braces.

use std::borrow::Cow;

use crate::manifest::diagnostics::quote;

/// Why a text can't be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfilled {
    /// It is not a valid template. Holds the message.
    Malformed(String),
    /// These placeholders have neither a value nor a default.
    Missing(Vec<String>),
}

/// Fills in a text. Each placeholder becomes what `value` returns for its name, or its default.
pub(crate) fn fill<'v>(
    template: &str,
    mut value: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Result<String, Unfilled> {
    let mut text = String::with_capacity(template.len() + 16);
    let mut missing: Vec<String> = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];

        // A doubled brace is literal.
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }

        // Otherwise, an opening brace begins a placeholder.
        let (inner, after) = match rest.split_once('}') {
            Some(found) if brace == "{" => found,
            _ => {
                let message = format!(
                    "a brace in {} is unmatched: write {brace}{brace} for a literal brace",
                    quote(template)
                );
                return Err(Unfilled::Malformed(message));
            }
        };
        rest = after;

        // All missing names are collected, so that one message can list them.
        let (name, default) = match inner.split_once('|') {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match value(name).or(default.map(Cow::Borrowed)) {
            Some(found) => text.push_str(&found),
            None if missing.iter().any(|known| known == name) => {}
            None => missing.push(name.to_owned()),
        }
    }
    text.push_str(rest);
    if missing.is_empty() {
        Ok(text)
    } else {
        Err(Unfilled::Missing(missing))
    }
}

/// Returns the names in the placeholders of a text, which need not be a valid template.
pub(crate) fn variables(text: &str) -> impl Iterator<Item = &str> {
    let inner = text
        .split('{')
        .skip(1)
        .filter_map(|after| after.split_once('}'));
    inner.map(|(inner, _)| inner.split_once('|').map_or(inner, |(name, _)| name))
}

/// Returns the template that results in exactly this text.
pub(crate) fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> Result<String, Unfilled> {
        fill(template, |name| {
            (name == "color").then_some(Cow::Borrowed("red"))
        })
    }

    #[test]
    fn placeholders_take_a_value_or_their_default() {
        assert_eq!(
            filled("a {color} {thing|shoe}, {{so}}{x|}").unwrap(),
            "a red shoe, {so}"
        );
        assert_eq!(filled("{color|blue}").unwrap(), "red");
    }

    #[test]
    fn all_that_is_missing_is_named_once() {
        let missing = Unfilled::Missing(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(filled("{b} {color} {a} {b}"), Err(missing));
    }

    #[test]
    fn a_lone_brace_is_refused() {
        for template in ["{color", "color}", "{", "}"] {
            assert!(
                matches!(filled(template), Err(Unfilled::Malformed(_))),
                "{template}"
            );
        }
    }

    #[test]
    fn placeholders_of_a_prompt_are_found_among_other_braces() {
        let found: Vec<&str> = variables(r#"{"scene": {x} } and {color|red} {"#).collect();
        assert_eq!(found, ["x", "color"]);
    }

    proptest! {
        #[test]
        fn a_literal_fills_in_to_itself(text in "[a-z{}|/.é]{0,20}") {
            prop_assert_eq!(filled(&literal(&text)), Ok(text));
        }
    }
}
