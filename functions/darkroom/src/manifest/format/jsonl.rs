//! JSON Lines: an item on each line.

use std::io::{self, BufRead};

use super::input::Input;
use crate::manifest::{
    Stop,
    diagnostics::Problem,
    reader::{Intake, Spot},
    strict_json::NOT_UTF_8,
};

/// Reads a file of JSON lines. Blank lines are skipped; a line that is too long or not UTF-8 is a
/// problem of its own.
pub(crate) fn read(input: &mut Input<'_>, intake: &mut Intake<'_>) -> Result<(), Stop> {
    let place = input.place();
    let mut buffer = Vec::new();
    loop {
        intake.check_full()?;
        let line = place.line();
        let limit = intake.context.limits.item_bytes;
        match next(input, &mut buffer, limit).map_err(|error| place.stop(error))? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let message = format!(
                    "the line is longer than {limit} bytes: put pictures into refs, not into the line"
                );
                intake
                    .problems
                    .push(Problem::error(line, "item_too_large", message));
            }
            Line::Whole => match std::str::from_utf8(&buffer).map(str::trim) {
                Ok("") => {}
                Ok(text) => intake.take_json(
                    Spot {
                        line,
                        nameless: ("line", line),
                        is_row: false,
                    },
                    text,
                )?,
                Err(_) => intake.problems.push(not_utf8(line)),
            },
        }
    }
}

/// What to say about text that isn't UTF-8.
pub(crate) fn not_utf8(line: u64) -> Problem {
    Problem::error(line, "not_utf8", NOT_UTF_8)
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads the next line into `buffer`, without its end, or skips it when it is longer than `limit`.
fn next(input: &mut Input<'_>, buffer: &mut Vec<u8>, limit: u64) -> io::Result<Line> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        // The limit of an item is kept here: a long line is skipped, and the next one read.
        input.place().begin_item();
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
                (false, _) => Line::End,
                (true, true) => Line::TooLong,
                (true, false) => Line::Whole,
            });
        }
    }
}
