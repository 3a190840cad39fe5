//! Where lines begin and end.

/// What a byte means for the line that the scan is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// Nothing: it is a part of the line.
    None,
    /// It is a newline within a pretty-printed object.
    Blank,
    /// The line ends before it.
    Before,
    /// The line ends with it.
    After,
}

/// Whether a byte has no meaning between lines: a blank, the punctuation of an array, or a byte of
/// a byte order mark, which some programs put before a text. The line behind it was paid for like
/// any other.
pub(super) fn lies_between_lines(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'[' | b']' | b',' | 0xef | 0xbb | 0xbf
    )
}
