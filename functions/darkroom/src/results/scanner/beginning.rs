//! The beginning of a text that is too long to be kept.

/// The number of bytes that are kept of a `text` that is too long: enough to detect an image that is
/// written as text, and to show the beginning.
pub(super) const BEGINNING_BYTES: usize = 1024;

/// Returns the number of bytes at the start of a JSON text, without its quotes, that are complete
/// characters and complete escapes. The text stays valid if it is cut there.
pub(super) fn whole_characters(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let size = match byte {
            0..0x20 => return at,
            b'\\' => match text.get(at + 1) {
                Some(b'u')
                    if text
                        .get(at + 2..at + 6)
                        .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) =>
                {
                    6
                }
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(_) | None => return at,
            },
            _ => 1,
        };
        at += size;
    }
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_only_between_characters() {
        for (text, whole) in [
            (&b""[..], 0),
            (b"abc", 3),
            (br"a\n", 3),
            (br"a\", 1),
            (br"a\u00e", 1),
            (br"a\u00e9", 7),
            (br"a\x", 1),
            (br"a\uzzzz", 1),
            (b"a\tb", 1),
            (b"a\xc3\xa9", 3),
            (b"a\xc3", 1),
            (b"a\xf0\x9f\x98", 1),
            (b"a\xff", 2),
        ] {
            assert_eq!(whole_characters(text), whole, "{text:?}");
        }
    }
}
