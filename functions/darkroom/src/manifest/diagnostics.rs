//! Diagnostics: what is wrong with a manifest, for the user who wrote it.

pub(crate) mod validation;

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};

/// The longest text from a manifest that a message quotes, in characters.
const MAX_QUOTE_CHARACTERS: usize = 60;

/// One problem of a manifest: an error or a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The line of the file, from 1, on which the item begins.
    pub line: u64,
    /// The key of the item, if it has one.
    pub key: Option<String>,
    /// Whether the manifest is rejected.
    pub severity: Severity,
    /// A code for programs, such as `unknown_field`.
    pub code: String,
    /// What is wrong and what to do, for users.
    pub message: String,
}

impl Diagnostic {
    pub(crate) fn error(line: u64, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            line,
            key: None,
            severity: Severity::Error,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn warning(line: u64, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(line, code, message)
        }
    }
}

/// How severe a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest is rejected, and nothing is bought.
    Error,
    /// The manifest is accepted, but the user should read this.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// The diagnostics so far. All are counted, and of each severity as many as the limit are listed. A
/// warning with the same code and message as an earlier one is dropped.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    /// The listed warnings, by code and message.
    listed_warnings: HashSet<(String, String)>,
    pub(crate) listed: Vec<Diagnostic>,
    pub(crate) errors: u64,
    pub(crate) warnings: u64,
    limit: u64,
    /// Whether reading has stopped because of the errors. The number of unread lines is then
    /// reported instead of the number of unlisted errors.
    has_stopped: bool,
}

impl Diagnostics {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            listed_warnings: HashSet::new(),
            listed: Vec::new(),
            errors: 0,
            warnings: 0,
            limit: limit as u64,
            has_stopped: false,
        }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Warning {
            let words = (diagnostic.code.clone(), diagnostic.message.clone());
            if self.listed_warnings.contains(&words) {
                return;
            }
            if self.warnings < self.limit {
                self.listed_warnings.insert(words);
            }
        }
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= self.limit {
            self.listed.push(diagnostic);
        }
    }

    /// Returns the last line with a diagnostic, or 0.
    pub(crate) fn last_line(&self) -> u64 {
        self.listed
            .iter()
            .map(|diagnostic| diagnostic.line)
            .max()
            .unwrap_or_default()
    }

    /// Whether the limit of errors is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= self.limit
    }

    /// Reports the number of lines that were not read because there were too many errors before
    /// them.
    pub(crate) fn skipped(&mut self, line: u64, lines: u64) {
        let lines = if lines == 1 {
            "1 line was".to_owned()
        } else {
            format!("{lines} lines were")
        };
        let message = format!(
            "after {} errors the rest of the manifest was not read: {lines} skipped; fix these \
             errors first",
            self.errors
        );
        self.listed
            .push(Diagnostic::error(line, "lines_not_read", message));
        self.has_stopped = true;
    }

    /// Reports how many diagnostics are not listed.
    pub(crate) fn close(&mut self, line: u64) {
        let more = |count: u64, what| {
            (count > self.limit).then(|| {
                format!(
                    "{} more {what} are not listed: fix these first",
                    count - self.limit
                )
            })
        };
        let errors = more(self.errors, "errors").filter(|_| !self.has_stopped);
        let errors = errors.map(|message| Diagnostic::error(line, "more_errors", message));
        let warnings = more(self.warnings, "warnings")
            .map(|message| Diagnostic::warning(line, "more_warnings", message));
        self.listed.extend(errors.into_iter().chain(warnings));
    }
}

/// The most diagnostics of one item. A user who fixes this many can drop the manifest again.
const MAX_PER_ITEM: usize = 50;

/// The diagnostics of one item, before its line and key are added.
#[derive(Debug, Default)]
pub(crate) struct ItemDiagnostics {
    found: Vec<(Severity, &'static str, String)>,
}

impl ItemDiagnostics {
    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>) {
        self.push(Severity::Error, code, message);
    }

    pub(crate) fn warning(&mut self, code: &'static str, message: impl Into<String>) {
        self.push(Severity::Warning, code, message);
    }

    fn push(&mut self, severity: Severity, code: &'static str, message: impl Into<String>) {
        if self.found.len() < MAX_PER_ITEM {
            return self.found.push((severity, code, message.into()));
        }
        let code = match severity {
            Severity::Error => "more_errors",
            Severity::Warning => "more_warnings",
        };
        if !self.found.iter().any(|(_, found, _)| *found == code) {
            self.found.push((
                severity,
                code,
                format!("the item has more than these {MAX_PER_ITEM}: fix them first"),
            ));
        }
    }

    /// Adds the diagnostics of the document `name`.
    pub(crate) fn adopt(&mut self, others: Self, name: &str) {
        for (severity, code, message) in others.found {
            let message = if message.contains(name) {
                message
            } else {
                format!("in {name}: {message}")
            };
            self.push(severity, code, message);
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.found
            .iter()
            .any(|(severity, ..)| *severity == Severity::Error)
    }

    pub(crate) fn into_diagnostics(
        self,
        line: u64,
        key: Option<&str>,
    ) -> impl Iterator<Item = Diagnostic> {
        let key: Option<String> = key.map(|key| {
            key.chars()
                .take(256)
                .collect::<String>()
                .replace(char::is_control, "\u{fffd}")
        });
        self.found
            .into_iter()
            .map(move |(severity, code, message)| Diagnostic {
                line,
                key: key.clone(),
                severity,
                code: code.to_owned(),
                message,
            })
    }
}

/// Quotes a text of the manifest for a message: in quotes, on one line, and shortened.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Quotes a JSON value of the manifest for a message: as it is written, on one line, and shortened.
pub(crate) fn quote_json(value: &str) -> String {
    let mut short: String = value.trim().chars().take(MAX_QUOTE_CHARACTERS).collect();
    short = short.replace(char::is_control, " ");
    if short.len() < value.trim().len() {
        short + "…"
    } else {
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_beyond_the_limit_are_counted_and_do_not_displace_errors() {
        let mut diagnostics = Diagnostics::new(2);
        for line in 1..=5 {
            diagnostics.push(Diagnostic::warning(line, "w", format!("w {line}")));
            diagnostics.push(Diagnostic::warning(line, "w", "w 1"));
        }
        diagnostics.push(Diagnostic::error(9, "e", "e"));
        diagnostics.close(9);
        assert_eq!((diagnostics.errors, diagnostics.warnings), (1, 5));
        let codes: Vec<&str> = diagnostics
            .listed
            .iter()
            .map(|diagnostic| diagnostic.code.as_str())
            .collect();
        assert_eq!(codes, ["w", "w", "e", "more_warnings"]);
        assert!(diagnostics.listed[3].message.starts_with("3 more warnings"));
    }

    #[test]
    fn a_long_or_multiline_text_is_shortened_to_one_line() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        assert_eq!(quote_json(" {\n\"a\": 1}\n"), r#"{ "a": 1}"#);
        assert_eq!(
            quote_json(&"1".repeat(1000)).chars().count(),
            MAX_QUOTE_CHARACTERS + 1
        );
        assert_eq!(
            quote(&"x".repeat(1000)).chars().count(),
            MAX_QUOTE_CHARACTERS + 3
        );
    }
}
