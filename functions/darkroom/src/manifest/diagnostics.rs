//! What is wrong with a manifest, for the person who wrote it.

pub(crate) mod validation;

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};

/// The longest text of a manifest that a message repeats, in characters.
const QUOTED: usize = 60;

/// One problem of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The line of the file, from 1, on which the item begins.
    pub line: u64,
    /// The item's key, if it has one.
    pub key: Option<String>,
    /// Whether the manifest can't be accepted.
    pub severity: Severity,
    /// A name for programs: `unknown_field`.
    pub code: String,
    /// What to do, for people.
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

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is bought until it is mended.
    Error,
    /// It will be done; read this first.
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

/// The problems so far: all counted, and of each severity no more than the limit listed. A warning
/// that would only repeat another's words says nothing.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    /// The warnings listed, by code and message.
    listed_warnings: HashSet<(String, String)>,
    pub(crate) listed: Vec<Diagnostic>,
    pub(crate) errors: u64,
    pub(crate) warnings: u64,
    limit: u64,
    /// Whether reading has stopped because of the errors. That says more than how many of them are
    /// not listed.
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

    /// The last line on which there was a problem, or 0.
    pub(crate) fn last_line(&self) -> u64 {
        self.listed
            .iter()
            .map(|diagnostic| diagnostic.line)
            .max()
            .unwrap_or_default()
    }

    /// Whether as many errors were found as are listed.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= self.limit
    }

    /// Says that so many lines were not looked at, as there were too many errors before them.
    pub(crate) fn skipped(&mut self, line: u64, lines: u64) {
        let lines = if lines == 1 {
            "1 line was".to_owned()
        } else {
            format!("{lines} lines were")
        };
        let message = format!(
            "after {} errors the rest of the manifest was left unread: {lines} not looked at; correct these first",
            self.errors
        );
        self.listed
            .push(Diagnostic::error(line, "lines_not_read", message));
        self.has_stopped = true;
    }

    /// Says how many are not listed.
    pub(crate) fn close(&mut self, line: u64) {
        let more = |count: u64, what| {
            (count > self.limit).then(|| {
                format!(
                    "{} more {what} are not listed: mend these first",
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

/// The most that is found in one item: who has mended so much may drop it again.
const FINDINGS: usize = 50;

/// What was found in one item, before its line and key are put to it.
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
        if self.found.len() < FINDINGS {
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
                format!("there is more than these {FINDINGS}: mend them first"),
            ));
        }
    }

    /// Takes over what was found in the document `name`.
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

/// A text of the manifest as a message repeats it: in quotes, on one line, and not too long.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A JSON value of the manifest as a message repeats it: as it is written, on one line, and not too
/// long.
pub(crate) fn quote_json(value: &str) -> String {
    let mut short: String = value.trim().chars().take(QUOTED).collect();
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
    fn beyond_the_limit_problems_are_counted_and_errors_are_not_crowded_out() {
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
    fn a_long_or_odd_text_is_quoted_briefly() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        assert_eq!(quote_json(" {\n\"a\": 1}\n"), r#"{ "a": 1}"#);
        assert_eq!(quote_json(&"1".repeat(1000)).chars().count(), QUOTED + 1);
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), QUOTED + 3);
    }
}
