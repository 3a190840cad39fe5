//! Markdown whose texts may contain anything.

use std::fmt::{self, Display, Write};

/// The maximum number of characters of a code span.
const MAX_CODE: usize = 200;

/// A page in Markdown.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Returns the text of the page.
    pub(super) fn into_text(mut self) -> String {
        self.0.truncate(self.0.trim_end().len());
        self.0.push('\n');
        self.0
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    /// Ends a block with one blank line.
    fn end_block(&mut self) {
        if !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// Adds a paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.end_block();
        let _ = writeln!(self.0, "{text}\n");
    }

    /// Adds a heading of the second level.
    pub(super) fn heading(&mut self, text: &str) {
        self.end_block();
        let _ = writeln!(self.0, "## {text}\n");
    }

    /// Begins a table. `r` in `alignment` aligns a column to the right.
    pub(super) fn table<const N: usize>(&mut self, names: [&str; N], alignment: &str) {
        self.end_block();
        self.row(names.each_ref().map(|name| name as &dyn Display));
        let rule = alignment.chars();
        let rule: Vec<&str> = rule
            .map(|column| if column == 'r' { "---:" } else { "---" })
            .collect();
        self.line(format_args!("| {} |", rule.join(" | ")));
    }

    /// Adds a row to the table.
    pub(super) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        let cells = cells.map(|cell| cell.to_string());
        self.line(format_args!("| {} |", cells.join(" | ")));
    }
}

/// A text as a code span. It may contain anything.
pub(super) struct Code<'a>(pub(super) &'a str);

impl Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line break would end the paragraph, and with it the span. Marks of the direction of
        // text would rearrange the line.
        let is_shown = |letter: char| !letter.is_control() && !is_invisible(letter);
        let shown = |letter| if is_shown(letter) { letter } else { '\u{fffd}' };
        let mut text: String = self.0.chars().take(MAX_CODE).map(shown).collect();
        if self.0.chars().nth(MAX_CODE).is_some() {
            text.push('…');
        }
        // A span ends at a run of as many backticks as it begins with.
        let runs = text.split(|letter| letter != '`');
        let fence = "`".repeat(1 + runs.map(str::len).max().unwrap_or_default());
        // Markdown removes one space at each end of a span, so it may keep backticks from the
        // fence.
        let is_padded =
            text.trim().is_empty() || text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
        let space = if is_padded { " " } else { "" };
        write!(f, "{fence}{space}{text}{space}{fence}")
    }
}

/// Whether a character breaks a line, changes the direction of text, or has no width.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{feff}')
        || ('\u{200b}'..='\u{200f}').contains(&letter)
        || ('\u{2028}'..='\u{202e}').contains(&letter)
        || ('\u{2060}'..='\u{206f}').contains(&letter)
}

/// The name of a model in a cell of a table, where code spans have rules that differ between
/// programs.
pub(super) struct Cell<'a>(pub(super) &'a str);

impl Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "._-/:".contains(*letter);
        let name: String = self
            .0
            .chars()
            .map(|letter| if is_plain(&letter) { letter } else { '?' })
            .collect();
        write!(f, "`{name}`")
    }
}

/// Quotes a text for a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/:_.-".contains(letter);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The fence of a span is longer than every run of backticks in it, and nothing ends its
        /// line.
        #[test]
        fn no_text_leaves_its_code_span(text in "[`|<a\\\\\r\n\u{2028}\u{202e} ]{0,40}|\\PC{0,40}") {
            let span = Code(&text).to_string();
            let inner = span.trim_matches('`');
            let fence = &span[..(span.len() - inner.len()) / 2];
            prop_assert!(!fence.is_empty() && span.ends_with(fence) && !inner.is_empty());
            prop_assert!(!inner.contains(fence));
            prop_assert!(!inner.chars().any(|letter| letter.is_control() || is_invisible(letter)));
        }

        #[test]
        fn a_cell_of_a_table_has_no_markup(text in ".{0,40}") {
            let cell = Cell(&text).to_string();
            let has_markup = cell[1..cell.len() - 1].contains(['`', '|', '<', '\\', '\n']);
            prop_assert!(!has_markup, "{}", cell);
        }
    }

    #[test]
    fn an_argument_of_a_shell_is_quoted_unless_it_is_plain() {
        assert_eq!(
            quoted("s3://studio/inbox/a-1.csv"),
            "s3://studio/inbox/a-1.csv"
        );
        assert_eq!(quoted("it's $(x)"), r"'it'\''s $(x)'");
    }
}
