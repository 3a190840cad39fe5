//! The text of a cell, as spreadsheets, databases and other programs write it.

use std::borrow::Cow;

/// Zero-width characters, which are copied along with text. Unicode does not class them as white
/// space.
const INVISIBLE: [char; 5] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// Whether a character is blank: a space of any kind, a line break, or a zero-width character.
pub(crate) fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || INVISIBLE.contains(&letter)
}

/// What databases and pandas write for a missing value, and Excel for a formula that fails.
const NO_VALUE: [&str; 13] = [
    "\\N", "NULL", "NaN", "<NA>", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NULL!",
    "#NUM!", "#SPILL!", "#CALC!",
];

/// Returns the text of a cell, trimmed. A missing value is an empty text. The formula by which
/// programs keep Excel from reading a text as a number is resolved: `="0012"` is `0012`.
pub(crate) fn text(cell: &str) -> Cow<'_, str> {
    let cell = cell.trim_matches(is_blank);
    if NO_VALUE.contains(&cell) {
        return Cow::Borrowed("");
    }
    let quoted = cell
        .strip_prefix("=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        // A quote inside is doubled. A single one means that this is another formula, such as
        // ="a"&"b".
        Some(inner) if !inner.replace("\"\"", "").contains('"') => {
            Cow::Owned(inner.replace("\"\"", "\""))
        }
        Some(_) | None => Cow::Borrowed(cell),
    }
}

/// Returns a number in the form that Rust parses: `0,5` becomes `0.5` if commas don't separate
/// cells, and `2.0` becomes `2`.
pub(crate) fn number(cell: &str, decimal_comma: bool) -> Cow<'_, str> {
    let cell = match cell.split_once(',') {
        Some((whole, fraction)) if decimal_comma && is_digits(fraction) => {
            Cow::Owned(format!("{whole}.{fraction}"))
        }
        Some(_) | None => Cow::Borrowed(cell),
    };
    match cell.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            Cow::Owned(whole.to_owned())
        }
        Some(_) | None => cell,
    }
}

/// Returns an aspect ratio, and whether it was written as a time of day. Excel reads `4:5` as a
/// time and saves `04:05`, `4:05:00` or `4:05:00 AM`. Any other text is returned unchanged.
pub(crate) fn aspect_ratio(cell: &str) -> (Cow<'_, str>, bool) {
    let as_it_is = (Cow::Borrowed(cell), false);
    let lower = cell.to_ascii_lowercase();

    // The text may be a time with twelve hours.
    let (clock, after_noon) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
        (Some(clock), _) => (clock, Some(false)),
        (_, Some(clock)) => (clock, Some(true)),
        (None, None) => (lower.as_str(), None),
    };
    let numbers: Option<Vec<u32>> = clock
        .split(':')
        .map(str::trim)
        .map(|number| {
            number
                .parse()
                .ok()
                .filter(|_| (1..=2).contains(&number.len()))
        })
        .collect();
    let Some((width, height)) = numbers.as_deref().and_then(hours_and_minutes) else {
        return as_it_is;
    };

    // The hours are the width, and the minutes are the height.
    let width = match (after_noon, width) {
        (Some(true), 1..12) => width + 12,
        (Some(false), 12) => 0,
        _ => width,
    };
    if width == 0 || height == 0 {
        return as_it_is;
    }
    let ratio = format!("{width}:{height}");
    // Blanks around the colon do not make it a time.
    let is_time = cell.split_whitespace().collect::<String>() != ratio;
    (Cow::Owned(ratio), is_time)
}

/// Returns the hours and minutes of a time of day whose seconds, if it has any, are zero.
fn hours_and_minutes(numbers: &[u32]) -> Option<(u32, u32)> {
    match numbers {
        [hours, minutes] | [hours, minutes, 0] => Some((*hours, *minutes)),
        _ => None,
    }
}

/// Reads `1536x1024`, with any of the usual signs between width and height.
pub(crate) fn pixels(cell: &str) -> Option<(u32, u32)> {
    let cell = cell.to_lowercase();
    let cell = cell.replace("px", "");
    let (width, height) = cell.split_once(['x', '×', '*'])?;
    Some((side(width)?, side(height)?))
}

/// Reads the width or height of an image, in pixels. Smaller numbers are dimensions of a product,
/// not of an image.
pub(crate) fn side(cell: &str) -> Option<u32> {
    number(cell.trim(), false)
        .parse()
        .ok()
        .filter(|side| (64..=16_384).contains(side))
}

/// Splits a cell into reference pictures. They are separated by `|`, or by commas if each piece is
/// recognizable as a picture on its own: the key of an object may contain a comma.
pub(crate) fn references(cell: &str) -> Vec<String> {
    let pieces = |separator: char| {
        cell.split(separator)
            .map(|piece| piece.trim_matches(is_blank))
            .collect::<Vec<_>>()
    };
    let commas = pieces(',');
    let by_commas = !cell.contains('|')
        && commas
            .iter()
            .all(|piece| piece.is_empty() || is_reference(piece));
    let found = if by_commas { commas } else { pieces('|') };
    found
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a piece of a cell is a picture on its own: an address, a named reference, or the key of
/// an object.
fn is_reference(text: &str) -> bool {
    const BEGINNINGS: [&str; 4] = ["https://", "http://", "s3://", "@"];
    BEGINNINGS
        .iter()
        .any(|beginning| text.starts_with(beginning))
        || has_pictures_extension(text)
}

/// Whether a cell names a picture, and not a web page.
pub(crate) fn is_picture(cell: &str) -> bool {
    let first = cell.split([',', '|']).next().unwrap_or_default().trim();
    // The query and the fragment of an address don't show its type.
    has_pictures_extension(first.split(['?', '#']).next().unwrap_or_default())
}

fn has_pictures_extension(text: &str) -> bool {
    const EXTENSIONS: [&str; 7] = [".png", ".jpg", ".jpeg", ".webp", ".heic", ".heif", ".gif"];
    // This avoids a copy, because it runs for each cell of each row until one holds a picture.
    let ends_with = |extension: &&str| {
        let end = text
            .len()
            .checked_sub(extension.len())
            .and_then(|start| text.as_bytes().get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(extension.as_bytes()))
    };
    EXTENSIONS.iter().any(ends_with)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_of_every_kind_are_trimmed_and_text_formulas_are_resolved() {
        for (cell, expected) in [
            (" a b ", "a b"),
            ("\u{a0}\u{200b}", ""),
            ("\u{feff}key", "key"),
            (r#"="0012""#, "0012"),
            (r#"="say ""hi""""#, r#"say "hi""#),
            (r#"="a"&"b""#, r#"="a"&"b""#),
            (r#"=""#, r#"=""#),
            (r#"="""#, ""),
            ("\\N", ""),
            (" NULL ", ""),
            ("#REF!", ""),
            ("null", "null"),
            ("#1", "#1"),
        ] {
            assert_eq!(text(cell), expected, "{cell}");
        }
    }

    #[test]
    fn a_whole_number_may_end_in_zeros_and_a_fraction_may_have_a_comma() {
        for (cell, comma, expected) in [
            ("2.0", false, "2"),
            ("42.00", false, "42"),
            ("2.5", false, "2.5"),
            ("-3.0", false, "-3"),
            ("0,5", true, "0.5"),
            ("0,5", false, "0,5"),
            ("2,0", true, "2"),
            ("1,000", false, "1,000"),
            ("2.", false, "2."),
        ] {
            assert_eq!(number(cell, comma), expected, "{cell}");
        }
    }

    #[test]
    fn a_ratio_that_excel_saved_as_a_time_is_restored() {
        for (cell, ratio, is_time) in [
            ("4:5", "4:5", false),
            ("4 : 5", "4:5", false),
            ("16:9", "16:9", false),
            ("16:09", "16:9", true),
            ("04:05", "4:5", true),
            ("4:05:00", "4:5", true),
            ("1:01:00 AM", "1:1", true),
            ("4:09:00 PM", "16:9", true),
            ("21:09", "21:9", true),
            ("9:16", "9:16", false),
            ("12:05 AM", "12:05 AM", false),
            ("4:05:30", "4:05:30", false),
            ("wide", "wide", false),
            ("0:00", "0:00", false),
            ("100:1", "100:1", false),
        ] {
            assert_eq!(
                aspect_ratio(cell),
                (Cow::Borrowed(ratio), is_time),
                "{cell}"
            );
        }
    }

    #[test]
    fn pixels_are_two_numbers_in_the_range_of_an_image() {
        for cell in [
            "1536x1024",
            "1536 × 1024",
            "1536*1024",
            "1536X1024px",
            "1536px x 1024px",
        ] {
            assert_eq!(pixels(cell), Some((1536, 1024)), "{cell}");
        }
        for cell in ["30x40", "XL", "1536", "x", "1536x", "20000x64"] {
            assert_eq!(pixels(cell), None, "{cell}");
        }
    }

    #[test]
    fn references_are_separated_by_bars_or_by_commas_between_pictures() {
        for (cell, expected) in [
            ("refs/a.png|refs/b.png", &["refs/a.png", "refs/b.png"][..]),
            (
                "https://x/1.jpg, https://x/2.jpg?w=1",
                &["https://x/1.jpg", "https://x/2.jpg?w=1"],
            ),
            ("refs/a.jpg,refs/b.jpg", &["refs/a.jpg", "refs/b.jpg"]),
            ("refs/red, white.png", &["refs/red, white.png"]),
            (
                "refs/red, white.png|refs/b.png",
                &["refs/red, white.png", "refs/b.png"],
            ),
            ("refs/a.png, ", &["refs/a.png"]),
            ("", &[]),
        ] {
            assert_eq!(references(cell), expected, "{cell}");
        }
    }
}
