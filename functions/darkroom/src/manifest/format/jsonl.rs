//! JSON Lines: one item per line.

use std::io::{self, BufRead};

use super::input::Input;
use crate::manifest::{
    Stop,
    diagnostics::Diagnostic,
    reader::{ItemReader, SourceLocation},
    strict_json::NOT_UTF_8,
};

/// Reads a file of JSON lines. Blank lines are skipped. A line that is too long or not UTF-8 is
/// reported, and reading continues with the next.
pub(crate) fn read(input: &mut Input<'_>, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
    let position = input.position();
    let mut buffer = Vec::new();
    loop {
        reader.check_full()?;

        // A line that can't be read is reported, and the next one is read.
        let line = position.line();
        let limit = reader.context.limits.item_bytes;
        match next(input, &mut buffer, limit).map_err(|error| position.stop(error))? {
            NextLine::End => return Ok(()),
            NextLine::TooLong => {
                let message = format!(
                    "the line is longer than {limit} bytes: put pictures into the bucket and name \
                     them in refs"
                );
                reader
                    .diagnostics
                    .push(Diagnostic::error(line, "item_too_large", message));
            }
            NextLine::Whole => match std::str::from_utf8(&buffer).map(str::trim) {
                Ok("") => {}
                Ok(text) => reader.read_json(
                    SourceLocation {
                        line,
                        fallback_key: ("line", line),
                        is_row: false,
                    },
                    text,
                )?,
                Err(_) => reader.diagnostics.push(not_utf8(line)),
            },
        }
    }
}

/// The error for a line that is not UTF-8.
pub(crate) fn not_utf8(line: u64) -> Diagnostic {
    Diagnostic::error(line, "not_utf8", NOT_UTF_8)
}

enum NextLine {
    Whole,
    TooLong,
    End,
}

/// Reads the next line into `buffer`, without its line break. A line longer than `limit` is
/// skipped.
fn next(input: &mut Input<'_>, buffer: &mut Vec<u8>, limit: u64) -> io::Result<NextLine> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        // This function enforces the limit, because the input would stop at a long line instead of
        // skipping it.
        input.position().begin_item();
        let found = input.fill_buf()?;
        let end = memchr::memchr(b'\n', found);
        let text = &found[..end.unwrap_or(found.len())];
        any |= !found.is_empty();
        too_long |= (buffer.len() + text.len()) as u64 > limit;
        if !too_long {
            buffer.extend_from_slice(text);
        }
        let (consumed, last) = (
            text.len() + usize::from(end.is_some()),
            end.is_some() || found.is_empty(),
        );
        input.consume(consumed);
        if last {
            return Ok(match (any, too_long) {
                (false, _) => NextLine::End,
                (true, true) => NextLine::TooLong,
                (true, false) => NextLine::Whole,
            });
        }
    }
}
