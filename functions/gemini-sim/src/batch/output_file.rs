//! A batch's output file. Its lines are drawn while it is downloaded, in full or from an offset.
//! Also defines which lines an output has.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use seam::transport::{Body, BoxError};

use crate::{
    batch::{
        Batch,
        input::Row,
        results::{OutputLine, Results},
    },
    generation::outcome::RequestOutcome,
    scenario::{batch_outcome::BatchOutcome, output_rules::ArrayStyle},
    wire::reply::typed_response,
};

const CONTENT_TYPE: &str = "application/jsonl";

/// The number of lines that are drawn at the same time, ahead of the download.
const DRAWING_CONCURRENCY: usize = 3;

/// The output file of a batch.
pub(crate) struct OutputFile {
    results: Results,
    lines: Vec<OutputLine>,
    /// Whether the last line is cut in half.
    truncated: bool,
}

impl OutputFile {
    /// Creates the file of a batch with these rows.
    pub(crate) fn new(results: Results, rows: &[Row]) -> Self {
        let truncated = is_truncated(&results.batch);
        Self {
            lines: lines(rows, truncated),
            truncated,
            results,
        }
    }

    /// Returns the whole file: 200.
    pub(crate) fn whole(self) -> Response<Body> {
        typed_response(CONTENT_TYPE, body(Arc::new(self).drawn()))
    }

    /// Returns the range that the headers request: 206, or 416 when it starts at or after the end.
    /// Without a range, returns the whole file. The file is drawn once to measure its length and
    /// again to serve the range.
    ///
    /// # Errors
    /// When a line can't be drawn.
    pub(crate) async fn part(self, headers: &HeaderMap) -> Result<Response<Body>, BoxError> {
        let Some(range) = Range::of(headers) else {
            return Ok(self.whole());
        };

        // The length of the file is known only once all lines are drawn.
        let file = Arc::new(self);
        let length = Arc::clone(&file)
            .drawn()
            .try_fold(0, |length, line| future::ok(length + line.len() as u64));
        let length: u64 = length.await?;

        // The second pass draws the lines again and cuts out the range.
        let (status, part, content_range) = match range.within(length) {
            Some((first, last)) => {
                let part = body(cut_out(file.drawn(), first, last - first + 1));
                (
                    StatusCode::PARTIAL_CONTENT,
                    part,
                    format!("bytes {first}-{last}/{length}"),
                )
            }
            None => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                seam::transport::empty(),
                format!("bytes */{length}"),
            ),
        };
        let mut response = typed_response(CONTENT_TYPE, part);
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_RANGE, HeaderValue::try_from(content_range)?);
        Ok(response)
    }

    fn drawn(
        self: Arc<Self>,
    ) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static {
        // An array has its brackets even if it has no elements.
        let pieces = if self.results.batch.delivery.array.is_some() {
            self.lines.len().max(1)
        } else {
            self.lines.len()
        };
        let lines = stream::iter(0..pieces).map(move |place| {
            let file = Arc::clone(&self);
            async move { tokio::task::spawn_blocking(move || file.piece(place)).await? }
        });
        lines.buffered(DRAWING_CONCURRENCY)
    }

    /// Returns a line with its separators.
    fn piece(&self, place: usize) -> Result<Bytes, BoxError> {
        let output_line = self.lines.get(place);
        let mut line = output_line.map_or(Ok(String::new()), |output_line| {
            self.results.file_line(output_line)
        })?;
        let is_last = place + 1 >= self.lines.len();
        let is_cut = is_last && self.truncated;
        if is_cut {
            // Base64 and escapes are ASCII, but a key may contain any character.
            line.truncate(line.floor_char_boundary(line.len() / 2));
        }
        let (first, next, last) = match self.results.batch.delivery.array {
            None => ("", "\n", "\n"),
            Some(ArrayStyle::Compact) => ("[", ",", "]"),
            Some(ArrayStyle::Lines) => ("[\n", ",\n", "\n]\n"),
        };
        let before = if place == 0 { first } else { "" };
        let after = match (is_cut, is_last) {
            (true, _) => "",
            (false, true) => last,
            (false, false) => next,
        };
        Ok(format!("{before}{line}{after}").into())
    }
}

/// Returns the complete lines of a batch's output, inline or in a file.
pub(crate) fn whole_lines(batch: &Batch, rows: &[Row]) -> Vec<OutputLine> {
    let truncated = is_truncated(batch);
    let mut lines = lines(rows, truncated);
    if truncated {
        lines.pop();
    }
    lines
}

/// Inline results are never truncated.
fn is_truncated(batch: &Batch) -> bool {
    batch.outcome == Some(BatchOutcome::Truncated) && !batch.is_inline()
}

/// Returns one line for each row that is not missing, then the repeated lines, then the second
/// answers, then the stray lines. A truncated file has the first half of them, and its last line is
/// cut.
fn lines(rows: &[Row], truncated: bool) -> Vec<OutputLine> {
    let of = |wanted: fn(&Row) -> bool, write: fn(Row) -> OutputLine| {
        rows.iter()
            .copied()
            .filter(wanted)
            .map(write)
            .collect::<Vec<_>>()
    };
    let mut lines = of(
        |row| row.outcome != RequestOutcome::Missing,
        OutputLine::Requested,
    );
    lines.extend(of(
        |row| row.outcome != RequestOutcome::Missing && row.repeated,
        OutputLine::Repeated,
    ));
    lines.extend(of(|row| row.again.is_some(), OutputLine::SecondAnswer));
    lines.extend(of(|row| row.stray.is_some(), OutputLine::Stray));
    if truncated {
        lines.truncate(lines.len().div_ceil(2));
    }
    lines
}

/// `bytes=5-` or `bytes=5-9`. Other forms are ignored, as HTTP allows: the answer is the whole
/// file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: Option<u64>,
}

impl Range {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let (first, last) = headers
            .get(RANGE)?
            .to_str()
            .ok()?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        let first = first.parse().ok()?;
        let last = if last.is_empty() {
            None
        } else {
            Some(last.parse().ok().filter(|last| *last >= first)?)
        };
        Some(Self { first, last })
    }

    /// Returns the first and the last byte of the range in a file of this length; `None` when it
    /// starts at or after the end.
    fn within(self, length: u64) -> Option<(u64, u64)> {
        let end = length.checked_sub(1).filter(|end| self.first <= *end)?;
        Some((self.first, self.last.unwrap_or(end).min(end)))
    }
}

/// Returns `length` bytes of the concatenated pieces, from byte `first`.
fn cut_out(
    pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static,
    first: u64,
    length: u64,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static {
    pieces.scan((first, length), |(skip, take), piece| {
        let wanted = (*take > 0).then(|| {
            piece.map(|mut bytes| {
                let skipped = bytes.split_to(within(*skip, &bytes));
                *skip -= skipped.len() as u64;
                let taken = bytes.split_to(within(*take, &bytes));
                *take -= taken.len() as u64;
                taken
            })
        });
        future::ready(wanted)
    })
}

fn within(count: u64, bytes: &Bytes) -> usize {
    usize::try_from(count).map_or(bytes.len(), |count| count.min(bytes.len()))
}

fn body(pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(Box::pin(pieces.map_ok(Frame::data))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<Range> {
        Range::of(&HeaderMap::from_iter([(
            RANGE,
            HeaderValue::from_str(text).expect("a header"),
        )]))
    }

    #[test]
    fn ranges_end_at_the_end_of_the_file() {
        assert_eq!(
            range("bytes=5-").and_then(|range| range.within(10)),
            Some((5, 9))
        );
        assert_eq!(
            range("bytes=5-6").and_then(|range| range.within(10)),
            Some((5, 6))
        );
        assert_eq!(
            range("bytes=5-90").and_then(|range| range.within(10)),
            Some((5, 9))
        );
        assert_eq!(range("bytes=10-").and_then(|range| range.within(10)), None);
        assert_eq!(range("bytes=0-").and_then(|range| range.within(0)), None);
    }

    #[test]
    fn other_forms_of_ranges_are_ignored() {
        for other in [
            "bytes=-5",
            "bytes=1-2,4-5",
            "bytes=6-5",
            "lines=1-",
            "bytes=",
            "x",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn any_range_can_be_cut_out() {
        let text = "one two three";
        for first in 0..=text.len() {
            for length in 0..=text.len() - first {
                let pieces = stream::iter(["one ", "", "two ", "three"])
                    .map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
                let part: Vec<Bytes> = cut_out(pieces, first as u64, length as u64)
                    .try_collect()
                    .await
                    .expect("no error");
                assert_eq!(part.concat(), text.as_bytes()[first..first + length]);
            }
        }
    }
}
