//! The rows of a table, each with the line on which it begins, and the detection of the delimiter.

use std::{
    io::{self, BufRead, Read},
    rc::Rc,
};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::{MAX_COLUMNS, cell};
use crate::manifest::{
    Stop,
    diagnostics::Diagnostic,
    format::input::{Input, Position},
};

const BUFFER_BYTES: usize = 64 << 10;

/// The most bytes of one row: 4 MiB, ten times the longest prompt. Every empty cell takes many
/// times the memory of its comma.
const MAX_ROW_BYTES: u64 = 4 << 20;

/// The possible delimiters, the most likely first.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// The start of a first line that Excel writes for its own use: `sep=;`.
const SEPARATOR_LINE: &[u8] = b"sep=";

/// The header, which was read ahead to find the delimiter, and then the rest.
type FromTheStart<'a, 'b> = io::Chain<io::Cursor<Vec<u8>>, &'a mut Input<'b>>;

/// The rows, with the physical line on which each begins.
pub(crate) struct Rows<'a, 'b> {
    reader: Reader<PlainNewlines<FromTheStart<'a, 'b>>>,
    position: Rc<Position>,
    delimiter: u8,
    /// The number of lines before the one where the parser began to count.
    lines_before: u64,
    /// The line after the last row.
    next_line: u64,
}

impl<'a, 'b> Rows<'a, 'b> {
    /// Detects the delimiter and returns the rows. A first line `sep=;` names the delimiter.
    /// Otherwise it is the one that makes the most columns with `known` names, and among several
    /// such delimiters the one that makes the most columns.
    pub(crate) fn new(
        input: &'a mut Input<'b>,
        known: impl Fn(&str) -> bool,
    ) -> Result<Self, Stop> {
        // Rows have a tighter limit than other items.
        let position = input.position();
        let mut line = position.line();
        position.limit_items(MAX_ROW_BYTES);
        let mut header = header(input).map_err(|error| position.stop(error))?;

        // The header must be known before the parser is built, so it is read ahead and chained.
        let mut delimiter = separator_line(&header);
        if delimiter.is_some() {
            consume_newline(input).map_err(|error| position.stop(error))?;
            line += 1;
            header.clear();
        }
        let delimiter = *delimiter.get_or_insert_with(|| most_likely_delimiter(&header, known));

        // Rows may have any number of cells here. The table checks them.
        let input = io::Cursor::new(header).chain(input);
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(PlainNewlines {
                input,
                after_return: false,
                last: b'\n',
            });
        Ok(Self {
            reader,
            position,
            delimiter,
            lines_before: line - 1,
            next_line: line,
        })
    }

    /// Whether a comma may be a decimal comma, because it does not separate cells.
    pub(crate) fn has_decimal_commas(&self) -> bool {
        self.delimiter != b','
    }

    /// Reads the next row and returns its line.
    pub(crate) fn next(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, Stop> {
        self.position.begin_item();
        if !self
            .reader
            .read_byte_record(record)
            .map_err(|error| self.stop(error))?
        {
            return Ok(None);
        }
        // The parser counts lines at the end of a row, so the row's own line breaks are subtracted.
        // Blank lines before the row must not count as part of it.
        let within: usize = record
            .iter()
            .map(|cell| memchr::memchr_iter(b'\n', cell).count())
            .sum();
        let after = self.lines_before + self.reader.position().line();
        let line = after.saturating_sub(1 + within as u64);
        // A row can't begin before the previous one ended, unless a missing quote has joined them.
        if line < self.next_line {
            let message = "a quote that opens in this row is never closed: close it, or double it \
                           if it is part of the text";
            return Err(Stop::Diagnostic(Diagnostic::error(
                self.next_line,
                "open_quote",
                message,
            )));
        }
        self.next_line = after;
        Ok(Some(line))
    }

    /// Corrects the line of an error. The parser reads ahead, so the position is far behind the
    /// first line of a row that is too long.
    fn stop(&self, error: csv::Error) -> Stop {
        match self.position.stop(io_error(error)) {
            Stop::Diagnostic(diagnostic) if diagnostic.code == "item_too_large" => {
                Stop::Diagnostic(Diagnostic {
                    line: self.next_line,
                    ..diagnostic
                })
            }
            stop => stop,
        }
    }
}

/// Returns the reader's own error, which `csv` wraps in another.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Reads the header up to its line break, which stays in the input. A line break within a quoted
/// name does not end it.
fn header(input: &mut Input<'_>) -> io::Result<Vec<u8>> {
    let mut header: Vec<u8> = Vec::new();
    let mut is_quoted = false;
    loop {
        let found = input.fill_buf()?;
        let mut end = None;
        for (position, byte) in found.iter().enumerate() {
            match byte {
                b'"' if is_quoted => is_quoted = false,
                b'"' => {
                    // A quote opens a name at its beginning, or continues it if it doubles the
                    // quote before it.
                    let before = if position > 0 {
                        found.get(position - 1)
                    } else {
                        header.last()
                    };
                    is_quoted =
                        before.is_none_or(|byte| *byte == b'"' || DELIMITERS.contains(byte));
                }
                b'\n' | b'\r' if !is_quoted => {
                    end = Some(position);
                    break;
                }
                _ => {}
            }
        }
        let count = end.unwrap_or(found.len());
        header.extend_from_slice(&found[..count]);
        let last = end.is_some() || found.is_empty();
        input.consume(count);
        if last {
            return Ok(header);
        }
    }
}

/// Returns the delimiter that a first line such as `sep=;` names.
fn separator_line(line: &[u8]) -> Option<u8> {
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    let (name, separator) = line.split_at_checked(SEPARATOR_LINE.len())?;
    match separator {
        [separator] if name.eq_ignore_ascii_case(SEPARATOR_LINE) => Some(*separator),
        _ => None,
    }
}

fn consume_newline(input: &mut Input<'_>) -> io::Result<()> {
    for newline in [b'\r', b'\n'] {
        if input.fill_buf()?.first() == Some(&newline) {
            input.consume(1);
        }
    }
    Ok(())
}

/// Returns the most likely delimiter of a header.
fn most_likely_delimiter(header: &[u8], known: impl Fn(&str) -> bool) -> u8 {
    let score = |delimiter: &u8| {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .delimiter(*delimiter)
            .from_reader(header);
        let mut names = ByteRecord::new();
        // A header that can't be parsed has no columns.
        if !reader.read_byte_record(&mut names).unwrap_or_default() {
            return (0, 0);
        }
        let is_known =
            |name: &&[u8]| std::str::from_utf8(name).is_ok_and(|name| known(&cell::text(name)));
        // A header with too many columns is refused anyway, so the rest of it is not looked at.
        let first = names.iter().take(MAX_COLUMNS);
        (first.filter(is_known).count(), names.len())
    };
    // Of equal scores, `max_by_key` returns the last, so the order is reversed.
    DELIMITERS
        .iter()
        .rev()
        .max_by_key(|delimiter| score(delimiter))
        .copied()
        .unwrap_or(b',')
}

/// A reader that ends every line in a single `\n`, the last one too, whatever system wrote the
/// file.
struct PlainNewlines<R> {
    input: R,
    after_return: bool,
    last: u8,
}

impl<R: BufRead> Read for PlainNewlines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written == 0 && !buffer.is_empty() {
            let found = self.input.fill_buf()?;

            // The last line gets its line break, so that the parser counts it.
            if found.is_empty() {
                if self.last == b'\n' {
                    return Ok(0);
                }
                self.last = b'\n';
                buffer[0] = b'\n';
                return Ok(1);
            }

            // `\r\n` and a lone `\r` become `\n`.
            let count = found.len().min(buffer.len());
            for byte in &found[..count] {
                let second_half = self.after_return && *byte == b'\n';
                self.after_return = *byte == b'\r';
                if !second_half {
                    self.last = if self.after_return { b'\n' } else { *byte };
                    buffer[written] = self.last;
                    written += 1;
                }
            }
            self.input.consume(count);
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Limits;

    /// Returns the rows of a table with their lines. `key` and `prompt` are known names.
    fn rows(text: &str) -> Vec<(u64, Vec<String>)> {
        let mut input = Input::open(text.as_bytes(), &Limits::default())
            .ok()
            .unwrap();
        let mut rows = Rows::new(&mut input, |name| ["key", "prompt"].contains(&name))
            .ok()
            .unwrap();
        let (mut record, mut found) = (ByteRecord::new(), Vec::new());
        while let Some(line) = rows.next(&mut record).ok().unwrap() {
            let cells = record
                .iter()
                .map(|cell| String::from_utf8_lossy(cell).into_owned());
            found.push((line, cells.collect()));
        }
        found
    }

    fn header_of(text: &str) -> Vec<String> {
        rows(text).remove(0).1
    }

    #[test]
    fn the_delimiter_that_makes_known_columns_is_detected() {
        for (text, columns) in [
            ("key,prompt", 2),
            ("key;prompt;\"Preis, netto, brutto, neu\"", 3),
            ("\"a;b;c;d\",key,prompt", 3),
            ("key\tprompt\ta,b,c,d", 3),
            ("key|prompt", 2),
            ("a,b;c", 2),
            ("prompt", 1),
            ("\"pro\nmpt\";key", 2),
        ] {
            assert_eq!(header_of(text).len(), columns, "{text}");
        }
    }

    #[test]
    fn the_separator_line_of_excel_names_the_delimiter_and_is_counted() {
        for text in [
            "sep=;\r\nkey;prompt\r\na;b,c",
            "\"sep=;\"\nkey;prompt\na;b,c",
            "SEP=;\rkey;prompt\ra;b,c",
        ] {
            let rows = rows(text);
            assert_eq!(
                (rows[0].0, rows[0].1.len(), rows[1].0),
                (2, 2, 3),
                "{text:?}"
            );
        }
        assert_eq!(header_of("sep=;x,key"), ["sep=;x", "key"]);
        assert_eq!(header_of("sep=\t\nkey\tprompt"), ["key", "prompt"]);
    }

    #[test]
    fn a_column_name_may_contain_a_line_break() {
        let rows = rows("key,\"pro\nmpt\"\na,b\n");
        assert_eq!((rows[0].0, rows[0].1.len(), rows[1].0), (1, 2, 3));
    }
}
