//! Cells of the tables that people open in spreadsheets.

use std::borrow::Cow;

/// The cell as text, whatever it begins with: one that a spreadsheet could take for a formula gets an apostrophe before
/// it (<https://owasp.org/www-community/attacks/CSV_Injection>, read 2026-11).
pub(crate) fn guarded(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}").into() } else { cell.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dangerous_beginning_is_guarded() {
        for cell in ["=1", "+1", "-1", "@x", "\tx", "\rx"] {
            assert_eq!(guarded(cell), format!("'{cell}"));
        }
        assert_eq!(guarded("a=1"), "a=1");
    }
}
