//! Text on images: an 8 × 8 font, scaled up, and line wrapping.

use font8x8::{BASIC_FONTS, BOX_FONTS, GREEK_FONTS, HIRAGANA_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::images::canvas::{Canvas, Color};

/// The width and height of a letter in pixels at scale 1.
pub(crate) const CELL: i32 = 8;

/// The hexadecimal digits as 3 × 5 pixels: five rows from the top, three bits each.
const DIGITS: [u16; 16] = [
    0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71122, 0o75757, 0o75717,
    0o75755, 0o65656, 0o74447, 0o65556, 0o74747, 0o74744,
];

/// Writes one line of text with its upper left corner at `x`, `y`.
pub(crate) fn write(canvas: &mut Canvas, x: i32, y: i32, scale: i32, color: Color, text: &str) {
    let mut x = x;
    for letter in text.chars() {
        match glyph(letter) {
            Some(rows) => stamp(canvas, x, y, scale, color, &rows),
            None => write_code_point(canvas, x, y, scale, color, letter),
        }
        x += CELL * scale;
    }
}

/// Breaks text into at most `max_lines` lines of at most `columns` letters, between words if
/// possible. The last line ends in `...` if text is left over.
pub(crate) fn wrap(text: &str, columns: usize, max_lines: usize) -> Vec<String> {
    let columns = columns.max(4);
    let mut lines: Vec<String> = Vec::new();
    let mut line = Vec::new();
    for word in text.split_whitespace() {
        for (n, piece) in word.chars().collect::<Vec<_>>().chunks(columns).enumerate() {
            let gap = usize::from(n == 0 && !line.is_empty());
            if line.len() + gap + piece.len() > columns {
                lines.push(line.drain(..).collect());
            } else if gap == 1 {
                line.push(' ');
            }
            line.extend_from_slice(piece);
        }
        if lines.len() > max_lines {
            break;
        }
    }
    if !line.is_empty() {
        lines.push(line.into_iter().collect());
    }
    if lines.len() > max_lines {
        lines.truncate(max_lines);
        if let Some(last) = lines.last_mut() {
            *last = last
                .chars()
                .take(columns - 3)
                .chain("...".chars())
                .collect();
        }
    }
    lines
}

fn glyph(letter: char) -> Option<[u8; 8]> {
    let typographic = match letter {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2013}' | '\u{2014}' => '-',
        other => other,
    };
    if typographic.is_control() {
        return None;
    }
    BASIC_FONTS
        .get(typographic)
        .or_else(|| LATIN_FONTS.get(typographic))
        .or_else(|| GREEK_FONTS.get(typographic))
        .or_else(|| HIRAGANA_FONTS.get(typographic))
        .or_else(|| BOX_FONTS.get(typographic))
}

/// Draws the set bits of a glyph; the lowest bit is the left column.
fn stamp(canvas: &mut Canvas, x: i32, y: i32, scale: i32, color: Color, rows: &[u8; 8]) {
    for (row, bits) in (0..).zip(rows) {
        let mut column = 0;
        let mut rest = *bits;
        while rest != 0 {
            let gap = rest.trailing_zeros();
            let run = (rest >> gap).trailing_ones();
            column += gap;
            // Runs have at most eight pixels, so the casts are lossless.
            let (left, length) = (column.cast_signed(), run.cast_signed());
            canvas.fill(
                x + left * scale,
                y + row * scale,
                length * scale,
                scale,
                color,
            );
            column += run;
            rest = rest.checked_shr(gap + run).unwrap_or(0);
        }
    }
}

/// Draws a replacement for a missing glyph: a box with the digits of the code point in two rows.
fn write_code_point(canvas: &mut Canvas, x: i32, y: i32, scale: i32, color: Color, letter: char) {
    let dot = (scale / 2).max(1);
    let side = CELL * scale - dot;
    canvas.fill(x, y, side, dot, color);
    canvas.fill(x, y + side - dot, side, dot, color);
    canvas.fill(x, y, dot, side, color);
    canvas.fill(x + side - dot, y, dot, side, color);
    if scale < 2 {
        return;
    }
    let code = u32::from(letter);
    let per_row = if code > 0xffff { 3_u32 } else { 2 };
    for place in 0..2 * per_row {
        let digit = code >> (4 * (2 * per_row - 1 - place)) & 0xf;
        let (column, row) = (
            (place % per_row).cast_signed(),
            (place / per_row).cast_signed(),
        );
        let left = x + (2 + 4 * column + i32::from(per_row == 2) * 2) * dot;
        let top = y + (2 + 6 * row) * dot;
        let bits = DIGITS.get(digit as usize).copied().unwrap_or(0);
        for bit in 0..15 {
            if bits >> (14 - bit) & 1 == 1 {
                canvas.fill(left + bit % 3 * dot, top + bit / 3 * dot, dot, dot, color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(
            wrap("a red fox in the snow", 9, 9),
            ["a red fox", "in the", "snow"]
        );
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(wrap("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
    }

    #[test]
    fn truncated_text_ends_in_dots() {
        assert_eq!(wrap("one two three four", 6, 2), ["one", "two..."]);
    }

    #[test]
    fn letters_beyond_ascii_have_glyphs_or_boxes() {
        assert!(glyph('é').is_some() && glyph('Ω').is_some() && glyph('の').is_some());
        assert!(glyph('猫').is_none() && glyph('\u{1f98a}').is_none());
    }

    proptest! {
        #[test]
        fn lines_are_within_both_limits(text in "\\PC{0,200}", columns in 4_usize..40, max_lines in 1_usize..6) {
            let lines = wrap(&text, columns, max_lines);
            prop_assert!(lines.len() <= max_lines);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= columns));
        }

        #[test]
        fn wrapping_keeps_every_letter(text in "\\PC{0,200}", columns in 4_usize..40) {
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&wrap(&text, columns, usize::MAX).concat()), solid(&text));
        }
    }
}
