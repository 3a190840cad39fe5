//! Protection against CSV injection: spreadsheets run cells that begin as a formula does
//! (<https://owasp.org/www-community/attacks/CSV_Injection>, read 2026-11).

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Characters at which a spreadsheet may begin another cell. The published tables are separated by
/// commas. A spreadsheet with another list separator, such as a semicolon or a tab, takes the
/// quotes around a cell for a part of its text. It then splits inside the cell, and at line breaks
/// too.
const SEPARATORS: [char; 4] = [';', '\t', '\n', '\r'];

/// Characters that begin a formula.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];

/// Characters that spreadsheets take for a minus sign, although Unicode doesn't normalize them to
/// one.
const MINUS: [char; 2] = ['\u{2212}', '\u{30fc}'];

/// Returns the cell with an apostrophe before each part that a spreadsheet could take for a
/// formula. Full-width and other forms of the same signs count as well, since Excel accepts them in
/// a Japanese environment.
pub(crate) fn escape_formulas(cell: &str) -> Cow<'_, str> {
    let parts = || cell.split_inclusive(SEPARATORS).enumerate();
    let is_dangerous = |(number, part): (usize, &str)| {
        // A leading separator is dangerous on its own: spreadsheets drop it and evaluate the rest.
        begins_formula(part) || (number == 0 && part.starts_with(SEPARATORS))
    };
    if !parts().any(is_dangerous) {
        return cell.into();
    }
    let guard = |part| if is_dangerous(part) { "'" } else { "" };
    parts()
        .flat_map(|part| [guard(part), part.1])
        .collect::<String>()
        .into()
}

/// Whether a text begins as a formula does, apart from the characters that spreadsheets ignore.
fn begins_formula(text: &str) -> bool {
    let first = text.chars().find(|letter| !is_ignored(*letter));
    first.is_some_and(|first| {
        let plain = first.nfkc().next().unwrap_or(first);
        FORMULA.contains(&plain) || MINUS.contains(&first)
    })
}

/// Whether spreadsheets ignore a leading character: blanks, quotes, and characters without width.
fn is_ignored(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(
            letter,
            '"' | '\u{ad}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dangerous_beginning_is_escaped() {
        for cell in [
            "=1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "\nx",
            ";x",
            " =1",
            "\u{a0}=1",
            "\u{feff}=1",
            "\"=1",
            "\0=1",
        ] {
            assert_eq!(escape_formulas(cell), format!("'{cell}"));
        }
        for cell in ["a=1", "a+b", "'=1", "", "a;b", "a\nb", "100-200"] {
            assert_eq!(escape_formulas(cell), cell);
        }
    }

    #[test]
    fn a_part_that_a_spreadsheet_splits_off_is_escaped_too() {
        for (cell, safe) in [
            ("a;=1+1", "a;'=1+1"),
            ("a\t=1+1", "a\t'=1+1"),
            ("a\n=1+1", "a\n'=1+1"),
            ("a\r\n=1+1", "a\r\n'=1+1"),
            ("a;\"=1+1", "a;'\"=1+1"),
            ("a; +1; b;-1", "a;' +1; b;'-1"),
            ("=a;=b", "'=a;'=b"),
            ("a;;@b", "a;;'@b"),
        ] {
            assert_eq!(escape_formulas(cell), safe);
        }
    }

    #[test]
    fn other_forms_of_the_signs_are_escaped_as_well() {
        for cell in [
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "﹦1",
            "﹢1",
            "﹣1",
            "﹫x",
            "−1",
            "ー1",
            "a;＝cmd|' /C calc'!A0",
        ] {
            assert!(escape_formulas(cell).contains('\''), "{cell}");
            assert_ne!(escape_formulas(cell), cell);
        }
        // A dash in a sentence is not a sign.
        assert_eq!(escape_formulas("a – b"), "a – b");
    }

    #[test]
    fn no_part_begins_as_a_formula_after_escaping() {
        for cell in ["a;=b;\n+c\t\t-d\r\r@e", ";;\n=x", "x;\u{200b}\" ＝y"] {
            let safe = escape_formulas(cell);
            assert!(!safe.split(SEPARATORS).any(begins_formula), "{safe:?}");
        }
    }
}
