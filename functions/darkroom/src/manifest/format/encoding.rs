//! The encoding of a file: UTF-8, UTF-16, or bytes that can't be a manifest.

use std::io::{self, Read};

/// Other files that users drop by mistake, by their first bytes, and what to do instead.
const OTHER_FILES: [(&[u8], &str); 16] = [
    (
        b"PK\x05\x06",
        "an empty zip archive: unpack it and drop the file that was in it",
    ),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Excel workbook (.xls): save it as CSV UTF-8 and drop that",
    ),
    (
        b"BZh",
        "compressed with bzip2: decompress it, or compress it with gzip",
    ),
    (
        b"\xfd7zXZ\0",
        "compressed with xz: decompress it, or compress it with gzip",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd: decompress it, or compress it with gzip",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7z archive: unpack it and drop the file that was in it",
    ),
    (
        b"Rar!\x1a\x07",
        "a RAR archive: unpack it and drop the file that was in it",
    ),
    (
        b"%PDF-",
        "a PDF document: export its table as CSV and drop that",
    ),
    (
        b"{\\rtf",
        "a document of formatted text (RTF): save it as plain text",
    ),
    (
        b"\x89PNG\r\n",
        "a PNG picture: put pictures below refs/ and name them in a manifest",
    ),
    (
        b"\xff\xd8\xff",
        "a JPEG picture: put pictures below refs/ and name them in a manifest",
    ),
    (
        b"GIF8",
        "a GIF picture: put pictures below refs/ and name them in a manifest",
    ),
    (
        b"PAR1",
        "a Parquet file: write it as CSV or JSON Lines and drop that",
    ),
    (
        b"SQLite format 3\0",
        "a SQLite database: export its table as CSV and drop that",
    ),
    (
        b"Obj\x01",
        "an Avro file: write it as CSV or JSON Lines and drop that",
    ),
    (
        b"ORC\x00",
        "an ORC file: write it as CSV or JSON Lines and drop that",
    ),
];

/// The signature of a zip archive. Workbooks are zip archives too.
const ZIP: &[u8] = b"PK\x03\x04";

/// Names of the first entries of Excel and OpenDocument workbooks.
const WORKBOOK_ENTRIES: [&[u8]; 4] = [
    b"[Content_Types].xml",
    b"xl/",
    b"_rels/",
    b"mimetypeapplication/vnd.oasis",
];

/// Names of the first entries of Apple's Numbers documents.
const NUMBERS_ENTRIES: [&[u8]; 2] = [b"Index/", b".iwa"];

/// How many bytes at the start of a file are examined.
pub(crate) const EXAMINED_BYTES: usize = 256;

/// Recognizes a file that can't be a manifest by its first bytes. Returns what it is and what to do
/// instead.
pub(crate) fn other_file(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(ZIP) {
        let holds = |name: &&[u8]| memchr::memmem::find(start, name).is_some();
        return Some(if WORKBOOK_ENTRIES.iter().any(holds) {
            "a workbook (.xlsx or .ods): save its sheet as CSV UTF-8 and drop that"
        } else if NUMBERS_ENTRIES.iter().any(holds) {
            "a Numbers document: export it as CSV and drop that"
        } else {
            "a zip archive: unpack it and drop the file that was in it"
        });
    }
    if let Some((_, what)) = OTHER_FILES
        .iter()
        .find(|(magic, _)| start.starts_with(magic))
    {
        return Some(what);
    }

    // Web pages and XML have no signature, so their first tag is examined.
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let is_page = [
        &b"<!doctype html"[..],
        b"<html",
        b"<table",
        b"<meta",
        b"<head",
    ]
    .iter()
    .any(|tag| text.starts_with(tag));
    if is_page {
        return Some(
            "a web page, even if its name ends in .xls or .csv: save the table as CSV UTF-8 and \
             drop that",
        );
    }
    (text.starts_with(b"<?xml") || text.starts_with(b"<rss"))
        .then_some("XML: export it as CSV and drop that")
}

/// The byte order of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Utf16 {
    /// The low byte comes first.
    LittleEndian,
    /// The high byte comes first.
    BigEndian,
}

impl Utf16 {
    /// The length of a byte order mark, in bytes.
    pub(crate) const MARK_BYTES: usize = 2;

    /// Reads the byte order from a byte order mark.
    pub(crate) fn of_mark(start: &[u8]) -> Option<Self> {
        match start {
            [0xff, 0xfe, ..] => Some(Self::LittleEndian),
            [0xfe, 0xff, ..] => Some(Self::BigEndian),
            _ => None,
        }
    }

    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::LittleEndian => u16::from_le_bytes(bytes),
            Self::BigEndian => u16::from_be_bytes(bytes),
        }
    }
}

/// A byte that valid UTF-8 never contains. Invalid UTF-16 becomes this byte, so that the line with
/// it is reported as damaged.
const DAMAGED: u8 = 0xff;

/// A reader that converts UTF-16 to UTF-8.
pub(crate) struct AsUtf8<R> {
    source: R,
    order: Utf16,
    /// Converted text. The part from `handed` on was not returned yet.
    text: Vec<u8>,
    handed: usize,
    /// The first unit of a surrogate pair.
    high: Option<u16>,
    ended: bool,
}

impl<R: Read> AsUtf8<R> {
    /// Converts `source`, whose byte order mark has already been read.
    pub(crate) fn new(source: R, order: Utf16) -> Self {
        Self {
            source,
            order,
            text: Vec::new(),
            handed: 0,
            high: None,
            ended: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        const UNITS: u64 = 8 << 10;
        let mut bytes = Vec::new();
        self.source
            .by_ref()
            .take(2 * UNITS)
            .read_to_end(&mut bytes)?;
        self.ended = bytes.is_empty();
        self.text.clear();
        self.handed = 0;
        let (units, odd) = bytes.as_chunks::<2>();
        for unit in units {
            self.push(self.order.unit(*unit));
        }
        if !odd.is_empty() || (self.ended && self.high.take().is_some()) {
            self.text.push(DAMAGED);
        }
        Ok(())
    }

    fn push(&mut self, unit: u16) {
        let units = [self.high.take(), Some(unit)];
        if units[0].is_none() && (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
            return;
        }
        for letter in char::decode_utf16(units.into_iter().flatten()) {
            match letter {
                Ok(letter) => self
                    .text
                    .extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => self.text.push(DAMAGED),
            }
        }
    }
}

impl<R: Read> Read for AsUtf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.handed == self.text.len() && !self.ended {
            self.refill()?;
        }
        let found = &self.text[self.handed..];
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        self.handed += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str, order: Utf16) -> Vec<u8> {
        let bytes = |unit: u16| match order {
            Utf16::LittleEndian => unit.to_le_bytes(),
            Utf16::BigEndian => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn decoded(bytes: &[u8], order: Utf16) -> Vec<u8> {
        let mut text = Vec::new();
        AsUtf8::new(bytes, order).read_to_end(&mut text).unwrap();
        text
    }

    proptest! {
        #[test]
        fn utf_16_is_the_same_text_as_utf_8(text in any::<String>(), big in any::<bool>()) {
            let order = if big { Utf16::BigEndian } else { Utf16::LittleEndian };
            prop_assert_eq!(decoded(&encoded(&text, order), order), text.as_bytes());
        }
    }

    #[test]
    fn a_character_may_span_two_reads() {
        let text = format!("{}😀", "x".repeat((8 << 10) - 1));
        assert_eq!(
            decoded(&encoded(&text, Utf16::BigEndian), Utf16::BigEndian),
            text.as_bytes()
        );
    }

    #[test]
    fn invalid_utf_16_becomes_invalid_utf_8() {
        for bytes in [&b"\x3d\xd8"[..], b"\x00\xdea\0", b"a\0b"] {
            assert!(
                String::from_utf8(decoded(bytes, Utf16::LittleEndian)).is_err(),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_recognized() {
        let workbook = b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0xxxx\x13\0\x08\x02[Content_Types].xml";
        for (start, name) in [
            (&workbook[..], "workbook"),
            (b"PK\x03\x04\x14\0\0\0\0\0xxxxskus.csv", "zip archive"),
            (b"BZh91AY&SY", "bzip2"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"<?xml version=\"1.0\"?>", "XML"),
        ] {
            assert!(
                other_file(start).is_some_and(|what| what.contains(name)),
                "{name}"
            );
        }
        for start in [
            &b"key,prompt\n"[..],
            b"{\"key\":1}",
            b"[",
            b"",
            b"BZ,prompt",
            b"<key>,prompt",
        ] {
            assert_eq!(other_file(start), None);
        }
    }
}
