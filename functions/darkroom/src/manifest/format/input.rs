//! The bytes of a manifest: decompressed, converted to UTF-8, bounded, and counted in lines.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;

use super::encoding::{self, AsUtf8, Utf16};
use crate::manifest::{Limits, Stop, diagnostics::Diagnostic};

const BUFFER_BYTES: usize = 64 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A manifest's text, without its byte order mark.
pub(crate) struct Input<'a> {
    text: BufReader<Box<dyn Read + 'a>>,
    position: Rc<Position>,
}

/// The position in an [`Input`], for a caller that has passed the input on to a parser.
#[derive(Debug)]
pub(crate) struct Position {
    line: Cell<u64>,
    bytes: Cell<u64>,
    item_start: Cell<u64>,
    item_line: Cell<u64>,
    item_limit: Cell<u64>,
    limits: Limits,
}

impl Position {
    /// The line of the next byte, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line.get()
    }

    /// Starts an item: the limit of its length counts from here.
    pub(crate) fn begin_item(&self) {
        self.item_start.set(self.bytes.get());
        self.item_line.set(self.line.get());
    }

    /// Limits the length of items to `bytes`, or to the general limit if that is lower.
    pub(crate) fn limit_items(&self, bytes: u64) {
        self.item_limit.set(bytes.min(self.limits.item_bytes));
    }

    fn check(&self) -> io::Result<()> {
        let bytes = self.bytes.get();
        if bytes > self.limits.manifest_bytes {
            return Err(io::Error::other(Refused::Manifest));
        }
        if bytes - self.item_start.get() > self.item_limit.get() {
            return Err(io::Error::other(Refused::Item));
        }
        Ok(())
    }

    /// Turns a failed read into its meaning: a failed source, or an error in the manifest.
    pub(crate) fn stop(&self, error: io::Error) -> Stop {
        let error = match error.downcast::<SourceFailed>() {
            Ok(SourceFailed(error)) => return Stop::Source(error),
            Err(error) => error,
        };

        // Own refusals travel through the parsers as I/O errors. All other errors come from gzip.
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Refused>());
        let mut line = self.line();
        let (code, message) = match inner {
            Some(Refused::Manifest) => (
                "manifest_too_large",
                format!(
                    "the manifest is larger than {} bytes: split it",
                    self.limits.manifest_bytes
                ),
            ),
            Some(Refused::Item) => {
                line = self.item_line.get();
                let most = self.item_limit.get();
                let message = format!(
                    "the item that begins here is larger than {most} bytes: check for a missing \
                     quote or bracket"
                );
                ("item_too_large", message)
            }
            Some(Refused::Nested) => (
                "bad_gzip",
                "the manifest is compressed twice: compress it once, or not at all".to_owned(),
            ),
            Some(Refused::OtherFile(what)) => ("unsupported_file", format!("the file is {what}")),
            None => (
                "bad_gzip",
                format!("the compressed manifest is damaged ({error}): compress it again"),
            ),
        };
        Stop::Diagnostic(Diagnostic::error(line, code, message))
    }
}

impl<'a> Input<'a> {
    pub(crate) fn open(source: impl Read + 'a, limits: &Limits) -> Result<Self, Stop> {
        let position = Rc::new(Position {
            line: Cell::new(1),
            bytes: Cell::new(0),
            item_start: Cell::new(0),
            item_line: Cell::new(1),
            item_limit: Cell::new(limits.item_bytes),
            limits: *limits,
        });
        let text = plain_text(Tagged(source)).map_err(|error| position.stop(error))?;
        Ok(Self {
            text: BufReader::with_capacity(BUFFER_BYTES, text),
            position,
        })
    }

    pub(crate) fn position(&self) -> Rc<Position> {
        Rc::clone(&self.position)
    }

    /// Reads to the end and returns the number of lines in the whole input.
    pub(crate) fn count_lines(&mut self) -> Result<u64, Stop> {
        let position = self.position();
        let mut ends_in_line = false;
        loop {
            // Skipped text has no items, so the limit of an item must not stop it.
            position.begin_item();
            let found = self.fill_buf().map_err(|error| position.stop(error))?;
            let Some(last) = found.last().copied() else {
                break;
            };
            ends_in_line = last != b'\n';
            let count = found.len();
            self.consume(count);
        }
        Ok(position.line() - 1 + u64::from(ends_in_line))
    }

    /// Returns the first byte that is not blank, without consuming it. Blank lines before it are
    /// counted.
    pub(crate) fn first_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let found = self.fill_buf()?;
            let blank = found
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let first = found.get(blank).copied();
            let end = found.is_empty();
            self.consume(blank);
            self.position.begin_item();
            if first.is_some() || end {
                return Ok(first);
            }
        }
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.position.check()?;
        self.text.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        let consumed = &self.text.buffer()[..count];
        let lines = match consumed {
            [byte] => u64::from(*byte == b'\n'),
            bytes => memchr::memchr_iter(b'\n', bytes).count() as u64,
        };
        self.position.line.set(self.position.line.get() + lines);
        self.position
            .bytes
            .set(self.position.bytes.get() + count as u64);
        self.text.consume(count);
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let found = self.fill_buf()?;
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Decompresses the source if it is compressed, converts it to UTF-8, and removes its byte order
/// mark.
fn plain_text<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (start, source) = look_ahead(source);
    if !start.starts_with(&GZIP_MAGIC) {
        return utf_8(&start, source);
    }
    let decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, source));
    let (start, text) = look_ahead(decoder);
    if start.starts_with(&GZIP_MAGIC) {
        return Err(io::Error::other(Refused::Nested));
    }
    utf_8(&start, text)
}

/// Converts a text that begins with `start` to UTF-8 without a byte order mark.
fn utf_8<'a>(start: &[u8], text: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    if let Some(what) = encoding::other_file(start) {
        return Err(io::Error::other(Refused::OtherFile(what)));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        return Ok(Box::new(without(BYTE_ORDER_MARK.len(), text)?));
    }
    match Utf16::of_mark(start) {
        Some(order) => Ok(Box::new(AsUtf8::new(
            without(Utf16::MARK_BYTES, text)?,
            order,
        ))),
        None => Ok(Box::new(text)),
    }
}

/// Skips the first bytes of a text.
fn without<R: Read>(bytes: usize, mut text: R) -> io::Result<R> {
    io::copy(&mut text.by_ref().take(bytes as u64), &mut io::sink())?;
    Ok(text)
}

/// A source whose first bytes have been examined.
type Examined<R> = io::Chain<io::Cursor<Vec<u8>>, FailedAhead<R>>;

/// Returns the first bytes of a source, and the source as if they had not been read.
fn look_ahead<R: Read>(mut source: R) -> (Vec<u8>, Examined<R>) {
    let mut start = Vec::with_capacity(encoding::EXAMINED_BYTES);
    let error = source
        .by_ref()
        .take(encoding::EXAMINED_BYTES as u64)
        .read_to_end(&mut start)
        .err();
    (
        start.clone(),
        io::Cursor::new(start).chain(FailedAhead { error, source }),
    )
}

/// A source that failed while its first bytes were examined. It reports the failure where it
/// occurred, after those bytes.
struct FailedAhead<R> {
    error: Option<io::Error>,
    source: R,
}

impl<R: Read> Read for FailedAhead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.source.read(buffer),
        }
    }
}

/// Marks failures of the source itself, to distinguish them from damaged gzip data.
struct Tagged<R>(R);

impl<R: Read> Read for Tagged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(SourceFailed(error)),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the source failed: {0}")]
struct SourceFailed(io::Error);

/// Why the content of a source is refused.
#[derive(Debug, thiserror::Error)]
#[error("too large")]
enum Refused {
    Manifest,
    Item,
    /// The decompressed content is compressed again.
    Nested,
    /// The file is not text. Holds what it is, and what to do instead.
    OtherFile(&'static str),
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn all(source: impl Read, limits: &Limits) -> Result<String, Stop> {
        let mut input = Input::open(source, limits)?;
        let mut text = String::new();
        input
            .read_to_string(&mut text)
            .map(|_| text)
            .map_err(|error| input.position.stop(error))
    }

    fn code(stop: Stop) -> String {
        match stop {
            Stop::Diagnostic(diagnostic) => diagnostic.code,
            Stop::Source(error) | Stop::Sink(error) => panic!("{error}"),
            Stop::Full => panic!("full"),
        }
    }

    #[test]
    fn gzip_and_byte_order_marks_are_recognized_by_content() {
        let limits = Limits::default();
        let marked = [BYTE_ORDER_MARK, b"a,b\n"].concat();
        let members = [gzip(b"a,"), gzip(b"b\n")].concat();
        let utf_16 = b"\xff\xfea\0,\0b\0\n\0".to_vec();
        for source in [
            b"a,b\n".to_vec(),
            marked.clone(),
            gzip(b"a,b\n"),
            gzip(&marked),
            members,
            gzip(&utf_16),
            utf_16,
        ] {
            assert_eq!(all(&*source, &limits).ok().as_deref(), Some("a,b\n"));
        }
        for short in ["", "\u{1f}", "x"] {
            assert_eq!(all(short.as_bytes(), &limits).ok().as_deref(), Some(short));
        }
    }

    #[test]
    fn a_file_that_is_compressed_twice_is_refused() {
        let twice = gzip(&gzip(b"a,b\n"));
        assert_eq!(
            all(&*twice, &Limits::default()).err().map(code).as_deref(),
            Some("bad_gzip")
        );
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_its_type() {
        for source in [b"PK\x03\x04xl/workbook".to_vec(), gzip(b"BZh91AY")] {
            assert_eq!(
                all(&*source, &Limits::default()).err().map(code).as_deref(),
                Some("unsupported_file")
            );
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 4 << 10);
        let limits = Limits {
            manifest_bytes: 100_000,
            ..Limits::default()
        };
        assert_eq!(
            all(&*bomb, &limits).err().map(code).as_deref(),
            Some("manifest_too_large")
        );
    }

    #[test]
    fn an_endless_item_stops_at_the_limit() {
        let limits = Limits {
            item_bytes: 1_000,
            ..Limits::default()
        };
        let stop = all(io::repeat(b'x'), &limits).err();
        assert_eq!(stop.map(code).as_deref(), Some("item_too_large"));
    }

    #[test]
    fn damaged_gzip_is_an_error_of_the_manifest_and_a_failed_source_is_not() {
        let limits = Limits::default();
        let whole = gzip(&[b'x'; 5_000]);
        assert_eq!(
            all(&whole[..whole.len() - 9], &limits)
                .err()
                .map(code)
                .as_deref(),
            Some("bad_gzip")
        );

        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let stop = all(whole[..20].chain(Broken), &limits).err();
        assert!(
            matches!(stop, Some(Stop::Source(error)) if error.kind() == io::ErrorKind::ConnectionReset)
        );
    }

    #[test]
    fn the_rest_of_the_input_is_counted_in_lines() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("a\r\n\n\n", 3)] {
            let mut input = Input::open(text.as_bytes(), &Limits::default())
                .ok()
                .unwrap();
            assert_eq!(input.count_lines().ok(), Some(lines), "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_as_they_are_consumed() {
        let mut input = Input::open(&b"\n\r\n  x\ny"[..], &Limits::default())
            .ok()
            .unwrap();
        assert_eq!(input.first_byte().unwrap(), Some(b'x'));
        assert_eq!(input.position().line(), 3);
        let mut byte = [0; 2];
        input.read_exact(&mut byte).unwrap();
        assert_eq!(input.position().line(), 4);
    }
}
