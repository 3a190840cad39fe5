//! The hot path: reads the responses file as a stream, with images in flight to S3 meanwhile, and
//! writes checkpoints.

use std::{collections::VecDeque, pin::pin};

use darkroom::{
    chunks::{ChunkLine, UnmatchedReason, UnmatchedResult},
    results::{Line, Pool, Scanner},
    state::{BatchOutput, CRASHES_BEFORE_SKIPPED},
};
use exchange::{
    expectations::ShardExpectations,
    images::{self, Stored},
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use gemini::Download;
use jiff::{SignedDuration, Timestamp};
use runtime::metrics::Metric;
use seam::clock::Clock;
use tracing::warn;

use crate::{checkpoint::Results, chunks::OutputChunks, error::CollectError, reading::Reading};

/// How often the clock is checked for the end of the invocation's time.
const CLOCK_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// How far a reading came.
#[derive(Debug)]
pub(crate) enum Reached {
    /// The end of the output. The results since the last checkpoint are not recorded yet.
    End(Results),
    /// The end of the invocation's time. All results are recorded.
    Deadline,
}

/// Reads the output from the last checkpoint, to its end or until the invocation's time is up.
///
/// `reading` follows the checkpoints. After an error, everything that was finished before it is
/// recorded. After a crash, the lines that may have caused it are read one by one, and the first of
/// them is skipped if that does not help.
///
/// # Errors
/// [`CollectError`]; reading may continue from the last checkpoint.
pub(crate) async fn read(
    reading: &mut Reading<'_, '_>,
    expectations: &mut ShardExpectations,
) -> Result<Reached, CollectError> {
    let deps = reading.deps;
    let Some(download) = open(reading).await? else {
        return Ok(Reached::End(Results::default()));
    };
    let mut output = OutputChunks::new(download, reading.collecting.offset);

    // As many lines are read one by one as lie between two checkpoints. The line that crashed the
    // reader is among them, or so few lines behind them that the next crash is closer to it.
    let crashes = reading.collecting.crashes;
    let mut line_by_line = if crashes > 0 {
        deps.pace.checkpoint_results
    } else {
        0
    };
    if crashes >= CRASHES_BEFORE_SKIPPED
        && let Some(length) = output.skip_line().await?
    {
        record_skipped_line(reading, expectations, length).await?;
    }

    // Lines go from the scanner to `waiting`, from there to `in_flight` while their images are
    // stored, and in the order of the output to `results`. The scanner is taken at the end of the
    // output.
    let mut scanner = Some(Scanner::new(
        deps.limits,
        Pool::new(deps.pace.put_bytes),
        reading.collecting.offset,
    ));
    let mut waiting: VecDeque<Line> = VecDeque::new();
    let mut in_flight = FuturesOrdered::new();
    let mut in_flight_bytes = 0;
    let mut results = Results::default();
    let mut broken = None;

    // A request that hangs must not keep this reader from giving its lease back, because a lease
    // that is left over counts as a crash.
    let give_up_at = reading.turn.deadline() - deps.pace.reserve / 2;
    let mut out_of_time = pin!(until(&deps.clock, give_up_at));

    loop {
        // Start as many uploads as the limits allow. An image larger than the limit goes alone.
        let puts = if line_by_line > 0 { 1 } else { deps.pace.puts };
        while in_flight.len() < puts
            && (in_flight.is_empty() || in_flight_bytes < deps.pace.put_bytes)
        {
            let Some(line) = waiting.pop_front() else {
                break;
            };
            let shard = reading.turn.shard();
            let put = images::place(shard, shard.lane, expectations, line);
            in_flight_bytes += put.bytes;
            in_flight.push_back(put.run(&deps.bucket, 1));
        }

        // Read on only once every line read so far is in flight, which bounds memory. Line by line,
        // also wait for its upload, so that a crash can be blamed on one line.
        let wants_more =
            scanner.is_some() && waiting.is_empty() && (line_by_line == 0 || in_flight.is_empty());
        if in_flight.is_empty() && !wants_more {
            break;
        }

        tokio::select! {
            // In this order, so that what is finished is recorded before more is begun.
            biased;

            // The oldest upload has ended. Uploads end in the order of the output, so that a
            // checkpoint has no holes.
            Some(put) = in_flight.next(), if !in_flight.is_empty() => match put {
                Ok(Stored { end, bytes, line }) => {
                    in_flight_bytes -= bytes;
                    results.add(end, line);
                    if line_by_line > 0 || results.is_checkpoint_due(reading) {
                        results.checkpoint(reading).await?;
                        if reading.is_time_up() {
                            return Ok(Reached::Deadline);
                        }
                    }
                    line_by_line = line_by_line.saturating_sub(1);
                }
                // Later uploads are abandoned, since recording them would leave a hole. The lines
                // before this one are recorded.
                Err(problem) => {
                    results.checkpoint(reading).await?;
                    return Err(problem.into());
                }
            },

            // More of the output has arrived. Its end and a lost connection both end the scan, but
            // the lines scanned so far are still stored and recorded.
            chunk = output.next(line_by_line > 0), if wants_more => match chunk {
                Some(Ok(chunk)) => {
                    if let Some(scanner) = &mut scanner {
                        scanner.feed(&chunk, |line| waiting.push_back(line));
                    }
                }
                Some(Err(problem)) => (scanner, broken) = (None, Some(problem)),
                None => {
                    if let Some(scanner) = scanner.take() {
                        scanner.finish(|line| waiting.push_back(line));
                    }
                }
            },

            // Neither has happened until there is just enough time left to record what is finished.
            () = &mut out_of_time => {
                results.checkpoint(reading).await?;
                return Err(CollectError::OutOfTime);
            }
        }
    }

    match broken {
        Some(problem) => {
            results.checkpoint(reading).await?;
            Err(problem)
        }
        None => Ok(Reached::End(results)),
    }
}

/// Opens the output at the last checkpoint. None if the batch has no output.
async fn open(reading: &Reading<'_, '_>) -> Result<Option<Download>, CollectError> {
    let (gemini, ended) = (&reading.deps.gemini, &reading.collecting.ended);
    let offset = reading.collecting.offset;
    Ok(match &ended.output {
        Some(BatchOutput::File(file)) => Some(gemini.download(file, offset).await?),
        Some(BatchOutput::Inline) => Some(gemini.inline_results(&ended.batch).await?),
        None => None,
    })
}

/// Completes once `clock` shows `moment`. The clock alone decides, as for every other deadline of
/// the invocation. It can't be awaited, so a timer only sets when to check it.
async fn until(clock: &Clock, moment: Timestamp) {
    loop {
        let left = moment.duration_since(clock.now());
        if left <= SignedDuration::ZERO {
            return;
        }
        let pause = left.min(CLOCK_INTERVAL);
        tokio::time::sleep(pause.unsigned_abs()).await;
    }
}

/// Records that the line of `length` bytes at the last checkpoint was skipped, because every reader
/// crashed at it.
async fn record_skipped_line(
    reading: &mut Reading<'_, '_>,
    expectations: &mut ShardExpectations,
    length: u64,
) -> Result<(), CollectError> {
    let start = reading.collecting.offset;
    warn!(
        offset = start,
        size_bytes = length,
        "line of the output skipped: every reader crashed at it"
    );
    let line = ChunkLine::Unmatched(Box::new(UnmatchedResult::new(
        UnmatchedReason::SkippedLine,
        start,
    )));
    expectations.see_output(&line, false);
    let mut results = Results::default();
    results.add(start + length, line);
    results.checkpoint(reading).await?;
    reading.deps.metrics.count(Metric::PoisonLines);
    Ok(())
}
