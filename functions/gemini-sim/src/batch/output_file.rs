//! A batch's output file: its lines, drawn while they are downloaded, as a whole or from a byte on;
//! and which lines the output of a batch has at all.

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
        results::{Results, Written},
    },
    generation::outcome::Outcome,
    scenario::{batch_outcome::BatchFate, output_rules::ArrayStyle},
    wire::reply::typed_response,
};

const CONTENT_TYPE: &str = "application/jsonl";

/// How many lines are drawn at the same time, ahead of who downloads them.
const LINES_AHEAD: usize = 3;

/// The output file of a batch.
pub(crate) struct OutputFile {
    results: Results,
    lines: Vec<Written>,
    /// Whether only half of the last line is there.
    truncated: bool,
}

impl OutputFile {
    /// The file of a batch whose rows these are.
    pub(crate) fn new(results: Results, rows: &[Row]) -> Self {
        let truncated = is_truncated(&results.batch);
        Self {
            lines: lines(rows, truncated),
            truncated,
            results,
        }
    }

    /// All of it: 200.
    pub(crate) fn whole(self) -> Response<Body> {
        typed_response(CONTENT_TYPE, body(Arc::new(self).drawn()))
    }

    /// The part that the headers ask for: 206, or 416 when it begins behind the end; all of it when
    /// they ask for none. All is drawn to know its length, and the part once more.
    ///
    /// # Errors
    /// When a line can't be drawn.
    pub(crate) async fn part(self, headers: &HeaderMap) -> Result<Response<Body>, BoxError> {
        let Some(range) = Range::of(headers) else {
            return Ok(self.whole());
        };
        let file = Arc::new(self);
        let length = Arc::clone(&file)
            .drawn()
            .try_fold(0, |length, line| future::ok(length + line.len() as u64));
        let length: u64 = length.await?;
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
        // An array has its brackets even where it has no element.
        let pieces = if self.results.batch.delivery.array.is_some() {
            self.lines.len().max(1)
        } else {
            self.lines.len()
        };
        let lines = stream::iter(0..pieces).map(move |place| {
            let file = Arc::clone(&self);
            async move { tokio::task::spawn_blocking(move || file.piece(place)).await? }
        });
        lines.buffered(LINES_AHEAD)
    }

    /// A line with what stands before and after it.
    fn piece(&self, place: usize) -> Result<Bytes, BoxError> {
        let written = self.lines.get(place);
        let mut line = written.map_or(Ok(String::new()), |written| {
            self.results.output_line(written)
        })?;
        let is_last = place + 1 >= self.lines.len();
        let is_cut = is_last && self.truncated;
        if is_cut {
            // Base64 and escapes are ASCII, but a key may be anything.
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

/// The lines that the output of a batch has whole, inline or in a file.
pub(crate) fn whole_lines(batch: &Batch, rows: &[Row]) -> Vec<Written> {
    let truncated = is_truncated(batch);
    let mut lines = lines(rows, truncated);
    if truncated {
        lines.pop();
    }
    lines
}

/// Inline results are never cut off.
fn is_truncated(batch: &Batch) -> bool {
    batch.fate == Some(BatchFate::Truncated) && !batch.is_inline()
}

/// A line for each row but the missing, then the repeated ones once more, then other answers to
/// those that were served twice, then those that no request asked for. Of a truncated file, the
/// first half; the last of them is cut.
fn lines(rows: &[Row], truncated: bool) -> Vec<Written> {
    let of = |wanted: fn(&Row) -> bool, write: fn(Row) -> Written| {
        rows.iter()
            .copied()
            .filter(wanted)
            .map(write)
            .collect::<Vec<_>>()
    };
    let mut lines = of(|row| row.outcome != Outcome::Missing, Written::AsAsked);
    lines.extend(of(
        |row| row.outcome != Outcome::Missing && row.repeated,
        Written::Repeated,
    ));
    lines.extend(of(|row| row.again.is_some(), Written::Again));
    lines.extend(of(|row| row.stray.is_some(), Written::Stray));
    if truncated {
        lines.truncate(lines.len().div_ceil(2));
    }
    lines
}

/// `bytes=5-` or `bytes=5-9`. Other forms are not served, which is allowed: they get all of it.
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

    /// The first and the last byte of it in a file of this length; nothing when it begins behind
    /// the end.
    fn within(self, length: u64) -> Option<(u64, u64)> {
        let end = length.checked_sub(1).filter(|end| self.first <= *end)?;
        Some((self.first, self.last.unwrap_or(end).min(end)))
    }
}

/// `length` bytes of what the pieces hold, from byte `first` on.
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
    fn ranges_end_with_the_file() {
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
    fn other_forms_ask_for_nothing_in_particular() {
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
    async fn any_part_can_be_cut_out() {
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
