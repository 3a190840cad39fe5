//! What `darkroom doctor` has found out: checks as a table, as Markdown and as JSON.
//!
//! Texts from Gemini and from AWS are hostile until [`foreign`] has made them harmless. In Markdown,
//! everything that was seen is in code spans, in which nothing is obeyed.

use std::path::Path;

use disk::Disk;
use jiff::Timestamp;
use serde::Serialize;

use crate::command::plain_text::plain;

/// The maximum length of a text from elsewhere, in characters.
const MAX_FOREIGN: usize = 160;

/// The widths of the columns of the table on a terminal.
const WIDTHS: [usize; 3] = [24, 34, 34];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// What was seen is what was expected.
    Expected,
    /// Something else was seen, and Darkroom handles it.
    Handled,
    /// Something else was seen, and the user must act.
    Failed,
    /// It could not be seen.
    Unseen,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Expected => "ok",
            Self::Handled => "differs",
            Self::Failed => "FAILED",
            Self::Unseen => "unseen",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The name of the check. The documentation has a row for each.
    pub(super) check: String,
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) verdict: Verdict,
    /// What follows from it. Empty if nothing does.
    pub(super) follows: String,
}

impl Check {
    /// A check that found what it expected.
    pub(super) fn expected(check: &str, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        Self::new(check, expected.clone(), expected, Verdict::Expected, "")
    }

    /// A check with all its members.
    pub(super) fn new(
        check: &str,
        expected: impl Into<String>,
        seen: impl Into<String>,
        verdict: Verdict,
        follows: &str,
    ) -> Self {
        Self {
            check: check.to_owned(),
            expected: expected.into(),
            seen: seen.into(),
            verdict,
            follows: follows.to_owned(),
        }
    }
}

/// A report, in the form in which it is stored as JSON. Programs rely on the names of its members.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The version of this form.
    pub(super) version: u32,
    /// What was examined, as a heading.
    pub(super) subject: String,
    /// The version of Darkroom.
    pub(super) darkroom: &'static str,
    /// When the examination began.
    pub(super) started: Timestamp,
    /// When this report was made.
    pub(super) reported: Timestamp,
    /// Whether all checks have their final result.
    pub(super) complete: bool,
    /// Facts about the examination, such as its price.
    pub(super) facts: Vec<String>,
    pub(super) checks: Vec<Check>,
}

impl Report {
    /// Returns the report as a table for a terminal.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        push_row(&mut table, "", ["check", "expected", "seen"]);
        for check in &self.checks {
            let cells = [&*check.check, &*check.expected, &*check.seen];
            push_row(&mut table, check.verdict.word(), cells);
            if !check.follows.is_empty() {
                for line in wrap(&shown(&check.follows), WIDTHS.iter().sum()) {
                    table.push_str(&format!("{:11}{line}\n", ""));
                }
            }
        }
        table
    }

    /// Returns the report as Markdown.
    pub(super) fn markdown(&self) -> String {
        let state = if self.complete {
            "complete"
        } else {
            "not complete: some checks have no final result yet"
        };
        let mut text = format!(
            "# Darkroom doctor: {}\n\n- Darkroom {}\n- begun {}, reported {}\n- {state}\n",
            cell(&self.subject),
            self.darkroom,
            self.started,
            self.reported
        );
        for fact in &self.facts {
            text.push_str(&format!("- {}\n", code(fact)));
        }
        text.push_str("\n| check | result | expected | seen | what follows |\n");
        text.push_str("|---|---|---|---|---|\n");
        for check in &self.checks {
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} |\n",
                code(&check.check),
                check.verdict.word(),
                code(&check.expected),
                code(&check.seen),
                cell(&check.follows)
            ));
        }
        text
    }

    /// Returns the report as JSON.
    ///
    /// # Errors
    /// Returns an error if it can't be serialized.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        Ok(crate::command::plain_text::plain_json(&serde_json::to_string_pretty(self)?) + "\n")
    }

    /// Writes the report to `<stem>.md` and `<stem>.json` in a folder, without any of `secrets`.
    ///
    /// # Errors
    /// Returns an error if a file can't be written.
    pub(super) fn store(
        &self,
        disk: &Disk,
        folder: &Path,
        stem: &str,
        secrets: &[String],
    ) -> anyhow::Result<()> {
        for (extension, text) in [("md", self.markdown()), ("json", self.json()?)] {
            let text = without(&text, secrets);
            disk.replace(&folder.join(format!("{stem}.{extension}")), text.as_bytes())?;
        }
        Ok(())
    }

    /// Whether a check failed or could not be made.
    pub(super) fn has_failures(&self) -> bool {
        let mut verdicts = self.checks.iter().map(|check| check.verdict);
        verdicts.any(|verdict| matches!(verdict, Verdict::Failed | Verdict::Unseen))
    }

    /// Returns the number of checks with each verdict, as a sentence.
    pub(super) fn counts(&self) -> String {
        let count = |verdict| {
            let checks = self.checks.iter();
            checks.filter(|check| check.verdict == verdict).count()
        };
        format!(
            "{} as expected, {} differ and are handled, {} failed, {} could not be seen.",
            count(Verdict::Expected),
            count(Verdict::Handled),
            count(Verdict::Failed),
            count(Verdict::Unseen)
        )
    }
}

/// Makes a text from Gemini or AWS harmless for a terminal, on one line, and short.
pub(super) fn foreign(text: &str) -> String {
    let short: String = text.trim().chars().take(MAX_FOREIGN).collect();
    plain(&short).into_owned()
}

/// Replaces every one of `secrets` in a text. Gemini's answers could contain the key.
pub(super) fn without(text: &str, secrets: &[String]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), "[secret]")
    })
}

/// Adds a row of a table for a terminal. A cell may take several lines.
fn push_row(table: &mut String, verdict: &str, cells: [&str; 3]) {
    let cells = cells.iter().zip(WIDTHS);
    let columns: Vec<Vec<String>> = cells
        .map(|(cell, width)| wrap(&shown(cell), width))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let cell = |column: usize| columns[column].get(line).map_or("", String::as_str);
        let verdict = if line == 0 { verdict } else { "" };
        let [first, second, _] = WIDTHS;
        let text = format!(
            "{verdict:<8} {:<first$}  {:<second$}  {}",
            cell(0),
            cell(1),
            cell(2)
        );
        table.push_str(text.trim_end());
        table.push('\n');
    }
}

fn shown(text: &str) -> String {
    plain(text).into_owned()
}

/// Returns a text as a code span in a cell of a Markdown table.
fn code(text: &str) -> String {
    let text = shown(text).replace('`', "'").replace('|', "\\|");
    if text.trim().is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}

/// Returns one of the command's own texts as a cell of a Markdown table.
fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|").replace('<', "&lt;")
}

/// Breaks a text into lines of at most `width` characters, between words where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let used = line.chars().count();
            let space = usize::from(used > 0);
            if used + space + word.len() <= width {
                if used > 0 {
                    line.push(' ');
                }
                line.extend(word);
                break;
            }
            if used > 0 {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            // A word that is longer than a line.
            lines.push(word.drain(..width).collect());
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\u{1b}[2J\u{202e}| `x` <script>alert(1)</script> @everyone\n# Owned";

    fn report() -> Report {
        let check = Check::new(
            "refusal",
            "blocked",
            foreign(HOSTILE),
            Verdict::Failed,
            "Read on <here> | there.",
        );
        Report {
            version: 1,
            subject: "Gemini".to_owned(),
            darkroom: "0",
            started: Timestamp::UNIX_EPOCH,
            reported: Timestamp::UNIX_EPOCH,
            complete: true,
            facts: vec![foreign(HOSTILE)],
            checks: vec![Check::expected("key", "accepted"), check],
        }
    }

    #[test]
    fn hostile_text_controls_neither_terminal_nor_markdown() {
        let report = report();
        for text in [report.table(), report.markdown(), report.json().unwrap()] {
            let obeyed = |letter: char| letter != '\n' && letter.is_control();
            assert!(
                !text.contains(obeyed) && !text.contains('\u{202e}'),
                "{text}"
            );
            assert!(
                !text.lines().any(|line| line.starts_with("# Owned")),
                "{text}"
            );
        }
        let markdown = report.markdown();
        let row = markdown.lines().last().unwrap();
        assert!(
            row.contains("`\u{fffd}[2J\u{fffd}\\| 'x' <script>"),
            "{row}"
        );
        assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
    }

    #[test]
    fn secrets_are_removed() {
        let secrets = ["k3y".to_owned(), String::new()];
        assert_eq!(without("a k3y b", &secrets), "a [secret] b");
    }

    #[test]
    fn lines_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
