//! The boundaries of lines.

/// The meaning of a byte for the current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// The byte is a part of the line.
    None,
    /// The byte is a newline within a pretty-printed object.
    Blank,
    /// The line ends before the byte.
    Before,
    /// The line ends with the byte.
    After,
}

/// Whether a byte has no meaning between lines: a blank, the punctuation of an array, or a byte of a
/// byte order mark, which some programs write before a text.
pub(super) fn lies_between_lines(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'[' | b']' | b',' | 0xef | 0xbb | 0xbf
    )
}
