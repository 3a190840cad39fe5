//! Cells of the tables that people open in spreadsheets.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Where some spreadsheet begins another cell. Our tables are separated by commas, but a
/// spreadsheet of a country whose lists are separated by semicolons, or one that is told to split
/// at tabs, takes the quotes around a cell as part of its text, and so splits in the middle of it,
/// at line breaks too.
const SEPARATORS: [char; 4] = [';', '\t', '\n', '\r'];

/// What begins a formula.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];

/// What is taken for a minus though Unicode doesn't call it a form of one.
const MINUS: [char; 2] = ['\u{2212}', '\u{30fc}'];

/// The cell as text, whatever it begins with: what a spreadsheet could take for the beginning of a
/// formula gets an apostrophe before it. Full-width and other forms of the same signs count as
/// well: Excel takes them in a Japanese environment
/// (<https://owasp.org/www-community/attacks/CSV_Injection>, read 2026-11).
pub(crate) fn guarded(cell: &str) -> Cow<'_, str> {
    let parts = || cell.split_inclusive(SEPARATORS).enumerate();
    let is_dangerous = |(number, part): (usize, &str)| {
        // A separator that is the first of all is dangerous by itself: spreadsheets drop it, and
        // look at what follows.
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

/// Whether a text begins as a formula does, after what spreadsheets ignore.
fn begins_formula(text: &str) -> bool {
    let first = text.chars().find(|letter| !is_ignored(*letter));
    first.is_some_and(|first| {
        let plain = first.nfkc().next().unwrap_or(first);
        FORMULA.contains(&plain) || MINUS.contains(&first)
    })
}

/// Blanks, quotes, and what has no width.
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
    fn every_dangerous_beginning_is_guarded() {
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
            assert_eq!(guarded(cell), format!("'{cell}"));
        }
        for cell in ["a=1", "a+b", "'=1", "", "a;b", "a\nb", "100-200"] {
            assert_eq!(guarded(cell), cell);
        }
    }

    #[test]
    fn what_a_spreadsheet_splits_off_is_guarded_too() {
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
            assert_eq!(guarded(cell), safe);
        }
    }

    #[test]
    fn other_forms_of_the_signs_count_as_well() {
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
            assert!(guarded(cell).contains('\''), "{cell}");
            assert_ne!(guarded(cell), cell);
        }
        // A dash in a sentence is none.
        assert_eq!(guarded("a – b"), "a – b");
    }

    #[test]
    fn nothing_is_split_off_that_begins_as_a_formula() {
        for cell in ["a;=b;\n+c\t\t-d\r\r@e", ";;\n=x", "x;\u{200b}\" ＝y"] {
            let safe = guarded(cell);
            assert!(!safe.split(SEPARATORS).any(begins_formula), "{safe:?}");
        }
    }
}
