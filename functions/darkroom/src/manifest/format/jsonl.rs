//! JSON Lines: an item on each line.

use std::io::{self, BufRead};

use super::input::Input;
use crate::manifest::{
    Stop,
    diagnostics::Diagnostic,
    reader::{ItemReader, SourceLocation},
    strict_json::NOT_UTF_8,
};

/// Reads a file of JSON lines. Blank lines are skipped; a line that is too long or not UTF-8 is a
/// problem of its own.
pub(crate) fn read(input: &mut Input<'_>, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
    let position = input.position();
    let mut buffer = Vec::new();
    loop {
        reader.check_full()?;
        let line = position.line();
        let limit = reader.context.limits.item_bytes;
        match next(input, &mut buffer, limit).map_err(|error| position.stop(error))? {
            NextLine::End => return Ok(()),
            NextLine::TooLong => {
                let message = format!(
                    "the line is longer than {limit} bytes: put pictures into refs, not into the line"
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

/// What to say about text that isn't UTF-8.
pub(crate) fn not_utf8(line: u64) -> Diagnostic {
    Diagnostic::error(line, "not_utf8", NOT_UTF_8)
}

enum NextLine {
    Whole,
    TooLong,
    End,
}

/// Reads the next line into `buffer`, without its end, or skips it when it is longer than `limit`.
fn next(input: &mut Input<'_>, buffer: &mut Vec<u8>, limit: u64) -> io::Result<NextLine> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        // The limit of an item is kept here: a long line is skipped, and the next one read.
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
