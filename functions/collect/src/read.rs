//! The hot path: the responses file as a stream, images on their way to S3 while it is read on, and
//! checkpoints.

use std::{collections::VecDeque, pin::pin};

use darkroom::{
    chunks::{Chunk, ChunkLine, UnmatchedReason, UnmatchedResult},
    results::{Line, Pool, Scanner},
    state::{BatchOutput, Collecting, Phase, STRIKES_BEFORE_SKIPPED, Shard},
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use runtime::{
    metrics::Metric,
    shard_store::{Cas, StoredShard},
};
use tracing::warn;

use crate::{
    expected::Expected,
    handler::CollectError,
    pieces::Pieces,
    store::{self, Stored},
    work::Work,
};

/// How far reading came.
#[derive(Debug)]
pub(crate) enum Reached {
    /// The end. The results since the last checkpoint are not written yet.
    End(Results),
    /// The end of the invocation's time; all is written down.
    Deadline,
}

/// Reads the output on from where `stored` says, until its end or until the deadline is near.
///
/// `stored` follows the checkpoints. After an error all that was finished before it is written
/// down. Where a reader has died, the lines that it may have died at are read one by one, and the
/// first is passed over if that doesn't help.
pub(crate) async fn read(
    work: &Work<'_>,
    stored: &mut StoredShard,
    expected: &mut Expected,
) -> Result<Reached, CollectError> {
    let deps = work.deps;
    let Phase::Collecting(Collecting {
        ended,
        offset,
        strikes,
        ..
    }) = &stored.shard.phase
    else {
        return Err(CollectError::Contended);
    };
    let (mut offset, strikes) = (*offset, *strikes);
    let download = match &ended.output {
        Some(BatchOutput::File(file)) => deps.gemini.download(file, offset).await?,
        Some(BatchOutput::Inline) => deps.gemini.inline_results(&ended.batch).await?,
        None => return Ok(Reached::End(Results::default())),
    };

    let mut pieces = Pieces::new(download, offset);
    if strikes >= STRIKES_BEFORE_SKIPPED
        && let Some(passed) = pieces.pass_line().await?
    {
        skip_line(work, stored, expected, offset, offset + passed).await?;
        offset += passed;
    }
    let mut scanner = Some(Scanner::new(
        deps.limits,
        Pool::new(deps.pace.put_bytes),
        offset,
    ));
    let mut waiting: VecDeque<Line> = VecDeque::new();
    let mut in_flight = FuturesOrdered::new();
    let mut in_flight_bytes = 0;
    let mut results = Results::default();
    let mut broken = None;
    // Lines to be read one by one: as many as lie between two checkpoints. The one that killed is
    // among them, or is so few lines behind them that the next death is nearer to it.
    let mut careful = if strikes > 0 {
        deps.pace.checkpoint_results
    } else {
        0
    };
    // What hangs must not keep us from giving the lease back: that would look like a death.
    let rest = work.deadline.duration_since(deps.clock.now()) - deps.pace.reserve / 2;
    let mut time_out = pin!(tokio::time::sleep(rest.try_into().unwrap_or_default()));

    loop {
        let puts = if careful > 0 { 1 } else { deps.pace.puts };
        while in_flight.len() < puts
            && (in_flight.is_empty() || in_flight_bytes < deps.pace.put_bytes)
        {
            let Some(line) = waiting.pop_front() else {
                break;
            };
            let put = store::place(&stored.shard, expected, line);
            in_flight_bytes += put.bytes;
            in_flight.push_back(put.run(deps));
        }
        let hungry =
            scanner.is_some() && waiting.is_empty() && (careful == 0 || in_flight.is_empty());
        if in_flight.is_empty() && !hungry {
            break;
        }
        tokio::select! {
            biased;
            Some(put) = in_flight.next(), if !in_flight.is_empty() => match put {
                Ok(Stored { end, bytes, line }) => {
                    in_flight_bytes -= bytes;
                    results.add(end, line);
                    if careful > 0 || results.due(work, stored) {
                        results.checkpoint(work, stored).await?;
                        if is_time_up(work) {
                            return Ok(Reached::Deadline);
                        }
                    }
                    careful = careful.saturating_sub(1);
                }
                Err(problem) => {
                    // What is behind it stays unfinished: a checkpoint has no holes.
                    results.checkpoint(work, stored).await?;
                    return Err(problem.into());
                }
            },
            piece = pieces.next(careful > 0), if hungry => match piece {
                Some(Ok(piece)) => {
                    if let Some(scanner) = &mut scanner {
                        scanner.feed(&piece, |line| waiting.push_back(line));
                    }
                }
                Some(Err(problem)) => (scanner, broken) = (None, Some(problem)),
                None => {
                    if let Some(scanner) = scanner.take() {
                        scanner.finish(|line| waiting.push_back(line));
                    }
                }
            },
            () = &mut time_out => {
                results.checkpoint(work, stored).await?;
                return Err(CollectError::OutOfTime);
            }
        }
    }
    match broken {
        Some(problem) => {
            results.checkpoint(work, stored).await?;
            Err(problem)
        }
        None => Ok(Reached::End(results)),
    }
}

/// Writes down that the line from `start` up to `end` was passed over: each reader has ended at it.
async fn skip_line(
    work: &Work<'_>,
    stored: &mut StoredShard,
    expected: &mut Expected,
    start: u64,
    end: u64,
) -> Result<(), CollectError> {
    warn!(
        offset = start,
        size_bytes = end - start,
        "a line of the output is skipped: each reader has ended at it"
    );
    let mut results = Results::default();
    let line = ChunkLine::Unmatched(Box::new(UnmatchedResult::new(
        UnmatchedReason::SkippedLine,
        start,
    )));
    expected.see_output(&line, false);
    results.add(end, line);
    results.checkpoint(work, stored).await?;
    work.deps.metrics.count(Metric::PoisonLines);
    Ok(())
}

/// Results whose images are stored, not yet written down.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The lines of the next part.
    pub(crate) lines: Vec<ChunkLine>,
    /// Up to where in the output they go.
    end: Option<u64>,
    /// Whether any of them belongs to a request of the shard.
    matched: bool,
}

impl Results {
    fn add(&mut self, end: u64, line: ChunkLine) {
        self.matched |= match &line {
            ChunkLine::Result(_) => true,
            ChunkLine::Unmatched(unmatched) => matches!(
                unmatched.unmatched,
                UnmatchedReason::RepeatedKey | UnmatchedReason::SkippedLine
            ),
        };
        self.lines.push(line);
        self.end = Some(end);
    }

    fn due(&self, work: &Work<'_>, stored: &StoredShard) -> bool {
        let Phase::Collecting(Collecting { offset, .. }) = stored.shard.phase else {
            return false;
        };
        self.end
            .is_some_and(|end| end.saturating_sub(offset) >= work.deps.pace.checkpoint_bytes)
            || self.lines.len() >= work.deps.pace.checkpoint_results
            || is_time_up(work)
    }

    /// Writes first the part, then the state that names it. From then on, no reader has failed or
    /// ended here yet, unless what was read is of no use.
    pub(crate) async fn checkpoint(
        &mut self,
        work: &Work<'_>,
        stored: &mut StoredShard,
    ) -> Result<(), CollectError> {
        let Some(end) = self.end.take() else {
            return Ok(());
        };
        let Phase::Collecting(collecting) = &stored.shard.phase else {
            return Err(CollectError::Contended);
        };
        let chunk = Chunk::up_to(end, self.lines.len());
        store::write_chunk(work, &chunk, &self.lines).await?;
        self.lines.clear();
        let mut collecting = Collecting {
            offset: end,
            strikes: 0,
            ..collecting.clone()
        };
        collecting.chunks.push(chunk);
        let mut errors = stored.shard.errors;
        if std::mem::take(&mut self.matched) {
            (collecting.tries, errors) = (1, 0);
        }
        let phase = Phase::Collecting(collecting);
        let next = Shard {
            phase,
            errors,
            waiting: None,
            ..stored.shard.clone()
        };
        match work.deps.states.swap(stored, next).await? {
            Cas::Written(written) => {
                *stored = written;
                Ok(())
            }
            Cas::Conflict => Err(CollectError::Contended),
        }
    }
}

fn is_time_up(work: &Work<'_>) -> bool {
    work.deps.clock.now() + work.deps.pace.reserve >= work.deadline
}
