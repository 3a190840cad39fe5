//! Decodes the base64 text of one image while it arrives.
//!
//! Base64 in a single alphabet, standard or URL-safe, is decoded with SIMD. An image that was paid
//! for should not be lost because of its spelling. So a slow path also accepts a mix of both
//! alphabets, white space and JSON escapes, and padding may be missing. A `data:` URL is read as the
//! base64 that it contains.

use base64_simd::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::{image::ImageFlaw, pool::PooledBuffer};

/// The value of a character that is in no alphabet.
const INVALID: u8 = 0xff;

/// The value of each character in the standard and the URL-safe alphabet (RFC 4648 §4, §5).
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [INVALID; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

/// The beginning of a URL. Base64 never contains a colon.
const SCHEME: &[u8; 5] = b"data:";

/// An image that is being decoded.
#[derive(Debug)]
pub(super) struct Blob {
    bytes: PooledBuffer,
    limit: usize,
    beginning: Beginning,
    /// The characters of an incomplete group of four, six bits each, and their number.
    group: u32,
    grouped: u8,
    padded: bool,
    escape: Escape,
    flaw: Option<ImageFlaw>,
}

/// What is known about the form of the text so far.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// The text matches the first `matched` characters of [`SCHEME`]. Their spelling is kept.
    Scheme {
        matched: usize,
        spelling: [u8; SCHEME.len()],
    },
    /// The text is a URL whose comma has not arrived yet.
    MediaType,
    /// The rest of the text is base64.
    Over,
}

/// The position within a JSON escape.
#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Begun,
    Unicode { digits: u8, value: u32 },
}

impl Blob {
    /// Begins an image of at most `limit` bytes, which is decoded into the empty buffer `bytes`.
    pub(super) fn new(bytes: PooledBuffer, limit: usize) -> Self {
        Self {
            bytes,
            limit,
            beginning: Beginning::Scheme {
                matched: 0,
                spelling: [0; SCHEME.len()],
            },
            group: 0,
            grouped: 0,
            padded: false,
            escape: Escape::No,
            flaw: None,
        }
    }

    /// Begins an image that is discarded for this reason.
    pub(super) fn unwanted(bytes: PooledBuffer, flaw: ImageFlaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..Self::new(bytes, 0)
        }
    }

    /// Decodes the next part of the text, which contains no quote, backslash or newline.
    pub(super) fn push(&mut self, mut text: &[u8]) {
        if self.flaw.is_some() {
            return;
        }
        while (self.grouped > 0 || !matches!(self.beginning, Beginning::Over))
            && let Some((&first, rest)) = text.split_first()
        {
            self.push_char(first);
            text = rest;
        }
        self.push_whole_groups(&mut text);
        for &char in text {
            self.push_char(char);
        }
    }

    /// Begins a JSON escape, after its backslash.
    pub(super) fn begin_escape(&mut self) {
        self.escape = Escape::Begun;
    }

    /// Decodes one byte if it belongs to the current escape. Returns whether it does.
    pub(super) fn push_escaped(&mut self, byte: u8) -> bool {
        match self.escape {
            Escape::No => return false,
            Escape::Begun if byte == b'u' => {
                self.escape = Escape::Unicode {
                    digits: 0,
                    value: 0,
                }
            }
            Escape::Begun => {
                self.escape = Escape::No;
                self.push_char(match byte {
                    b'n' | b'r' | b't' | b'b' | b'f' => b' ',
                    other => other,
                });
            }
            Escape::Unicode { digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    self.escape = Escape::No;
                    self.fail(ImageFlaw::InvalidBase64);
                    return false;
                };
                let value = value << 4 | digit;
                if digits < 3 {
                    self.escape = Escape::Unicode {
                        digits: digits + 1,
                        value,
                    };
                } else {
                    self.escape = Escape::No;
                    self.push_char(u8::try_from(value).unwrap_or(INVALID));
                }
            }
        }
        true
    }

    /// Returns the image, after the closing quote.
    ///
    /// # Errors
    /// The first flaw of the text.
    pub(super) fn finish(mut self) -> Result<PooledBuffer, ImageFlaw> {
        match self.beginning {
            Beginning::Scheme { matched, spelling } => self.push_all(&spelling[..matched]),
            Beginning::MediaType => self.fail(ImageFlaw::InvalidBase64),
            Beginning::Over => {}
        }
        match self.grouped {
            0 => {}
            2 => self.append(&[(self.group >> 4) as u8]),
            3 => self.append(&[(self.group >> 10) as u8, (self.group >> 2) as u8]),
            _ => self.fail(ImageFlaw::InvalidBase64),
        }
        match self.flaw {
            None => Ok(self.bytes),
            Some(flaw) => Err(flaw),
        }
    }

    /// The fast path: decodes all complete groups of four at the start of `text`, or none of them.
    fn push_whole_groups(&mut self, text: &mut &[u8]) {
        let unpadded = text.len() - text.iter().rev().take_while(|char| **char == b'=').count();
        let (groups, rest) = text.split_at(unpadded & !3);
        let size = groups.len() / 4 * 3;
        if self.padded || size > self.limit - self.bytes.as_ref().len() {
            return;
        }
        self.bytes.make_room(size, self.limit);
        let bytes = self.bytes.bytes_mut();
        let decoded = STANDARD_NO_PAD.decode_append(groups, bytes);
        if decoded
            .or_else(|_| URL_SAFE_NO_PAD.decode_append(groups, bytes))
            .is_ok()
        {
            *text = rest;
        }
    }

    /// The slow path, which also handles the incomplete groups at the edges of the fast path.
    fn push_char(&mut self, char: u8) {
        match &mut self.beginning {
            Beginning::Over => self.push_base64(char),
            Beginning::MediaType if char == b',' => self.beginning = Beginning::Over,
            Beginning::MediaType => {}
            Beginning::Scheme { matched: 0, .. } if is_blank(char) => {}
            Beginning::Scheme { matched, spelling }
                if char.eq_ignore_ascii_case(&SCHEME[*matched]) =>
            {
                spelling[*matched] = char;
                *matched += 1;
                if *matched == SCHEME.len() {
                    self.beginning = Beginning::MediaType;
                }
            }
            Beginning::Scheme { matched, spelling } => {
                let (matched, spelling) = (*matched, *spelling);
                self.push_all(&spelling[..matched]);
                self.push_base64(char);
            }
        }
    }

    /// Decodes characters that looked like the beginning of a URL but are base64.
    fn push_all(&mut self, characters: &[u8]) {
        self.beginning = Beginning::Over;
        for &char in characters {
            self.push_base64(char);
        }
    }

    fn push_base64(&mut self, char: u8) {
        match char {
            blank if is_blank(blank) => {}
            b'=' => self.padded = true,
            _ => match SEXTETS[usize::from(char)] {
                INVALID => self.fail(ImageFlaw::InvalidBase64),
                _ if self.padded => self.fail(ImageFlaw::InvalidBase64),
                sextet => self.push_sextet(sextet),
            },
        }
    }

    fn push_sextet(&mut self, sextet: u8) {
        self.group = self.group << 6 | u32::from(sextet);
        self.grouped += 1;
        if self.grouped == 4 {
            let [_, decoded @ ..] = self.group.to_be_bytes();
            self.append(&decoded);
            (self.group, self.grouped) = (0, 0);
        }
    }

    fn append(&mut self, decoded: &[u8]) {
        if self.flaw.is_some() {
            return;
        }
        if decoded.len() > self.limit - self.bytes.as_ref().len() {
            return self.fail(ImageFlaw::TooLarge);
        }
        self.bytes.make_room(decoded.len(), self.limit);
        self.bytes.bytes_mut().extend_from_slice(decoded);
    }

    fn fail(&mut self, flaw: ImageFlaw) {
        self.flaw.get_or_insert(flaw);
    }
}

/// Whether a character is blank, or has a short escape in JSON.
fn is_blank(char: u8) -> bool {
    matches!(char, b' ' | 0x08..=0x0d)
}

#[cfg(test)]
mod tests {
    use super::{super::pool::Pool, *};

    /// Decodes a text that is pushed in pieces of at most `run` bytes.
    fn decode_in_runs(text: &str, limit: usize, run: usize) -> Result<Vec<u8>, ImageFlaw> {
        let mut blob = Blob::new(Pool::new(0).take(), limit);
        let mut rest = text.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            if blob.push_escaped(first) {
                rest = tail;
            } else if first == b'\\' {
                blob.begin_escape();
                rest = tail;
            } else {
                let plain = rest
                    .iter()
                    .take(run)
                    .take_while(|byte| **byte != b'\\')
                    .count();
                blob.push(&rest[..plain]);
                rest = &rest[plain..];
            }
        }
        blob.finish().map(|bytes| bytes.as_ref().to_vec())
    }

    fn decode(text: &str, limit: usize) -> Result<Vec<u8>, ImageFlaw> {
        let decoded = decode_in_runs(text, limit, usize::MAX);
        for run in 1..text.len() {
            assert_eq!(
                decode_in_runs(text, limit, run),
                decoded,
                "{text} in runs of {run}"
            );
        }
        decoded
    }

    #[test]
    fn accepts_every_spelling_of_the_same_bytes() {
        let bytes = [0xfb, 0xef, 0xff, 0x01];
        for text in [
            "++//AQ==",
            "--__AQ==",
            "++//AQ",
            "++//AQ=",
            "+-/_AQ",
            " ++//\tAQ = =",
            r"++\/\/AQ==",
            r"++//\r\nAQ==\n",
            r"\u002b+\u002F/AQ\u003d\u003D",
        ] {
            assert_eq!(decode(text, 100), Ok(bytes.to_vec()), "{text}");
        }
    }

    #[test]
    fn a_data_url_is_read_as_its_base64() {
        let bytes = [0xfb, 0xef, 0xff, 0x01];
        for text in [
            "data:image/png;base64,++//AQ==",
            "data:image/jpeg;charset=utf-8;base64,--__AQ",
            "data:;base64,++//AQ==",
            "data:,++//AQ==",
            " \tDATA:IMAGE/WEBP;name=a.webp;BASE64, ++//AQ==",
            r"data:image\/png;base64,++\/\/AQ==",
            r"\n\u0064ata\u003aimage\/png;base64\u002c\u002b+//AQ==",
        ] {
            assert_eq!(decode(text, 100), Ok(bytes.to_vec()), "{text}");
        }
    }

    #[test]
    fn base64_that_begins_like_a_data_url_is_base64() {
        for (text, bytes) in [
            ("d", None),
            ("da", Some(vec![0x75])),
            ("dat", Some(vec![0x75, 0xab])),
            ("data", Some(vec![0x75, 0xab, 0x5a])),
            ("DATA", Some(vec![0x0c, 0x04, 0xc0])),
            ("d ata", Some(vec![0x75, 0xab, 0x5a])),
            ("daTaAAAA", Some(vec![0x75, 0xa4, 0xda, 0, 0, 0])),
            ("dAAA", Some(vec![0x74, 0, 0])),
            ("dadata==", Some(vec![0x75, 0xa7, 0x5a, 0xb5])),
        ] {
            assert_eq!(decode(text, 100).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn a_url_without_base64_is_a_flaw() {
        for text in [
            "data:",
            "data:image/png;base64",
            "data :image/png;base64,AAAA",
            "http://host/AAAA",
            "dat:AAAA",
        ] {
            assert_eq!(decode(text, 100), Err(ImageFlaw::InvalidBase64), "{text}");
        }
        assert_eq!(
            decode("data:image/png;base64,", 100),
            Ok(vec![]),
            "an empty image"
        );
    }

    #[test]
    fn the_limit_counts_decoded_bytes_and_not_the_beginning_of_a_url() {
        let beginning = format!("data:image/png;name={};base64,", "x".repeat(500));
        assert_eq!(decode(&format!("{beginning}AAAAAAAA"), 6), Ok(vec![0; 6]));
        assert_eq!(
            decode(&format!("{beginning}AAAAAAAA"), 5),
            Err(ImageFlaw::TooLarge)
        );
    }

    #[test]
    fn a_discarded_image_has_the_given_flaw() {
        let mut blob = Blob::unwanted(Pool::new(0).take(), ImageFlaw::TooMany);
        blob.push(b"AAAA");
        assert_eq!(blob.finish().map(|_| ()), Err(ImageFlaw::TooMany));
    }

    #[test]
    fn rejects_a_text_that_is_not_base64() {
        for text in [
            "A",
            "AAAAA",
            "AA==AA==",
            "AAAA=AAAA",
            "AA*A",
            "AAAA,AAAA",
            r"AA\u0100A",
            r"AA\uzzzzAA",
            r"AA\\AA",
            "AA\u{e9}A",
        ] {
            assert_eq!(decode(text, 100), Err(ImageFlaw::InvalidBase64), "{text}");
        }
    }

    #[test]
    fn rejects_an_image_above_the_limit() {
        for (text, size) in [
            ("AAAAAAAA", 6),
            ("AAAAAAA=", 5),
            ("AAAAAA==", 4),
            ("AA AA AA AA", 6),
        ] {
            assert_eq!(decode(text, size), Ok(vec![0; size]), "{text}");
            assert_eq!(decode(text, size - 1), Err(ImageFlaw::TooLarge), "{text}");
        }
    }

    #[test]
    fn an_empty_text_is_an_empty_image() {
        assert_eq!(decode("", 0), Ok(vec![]));
    }
}
