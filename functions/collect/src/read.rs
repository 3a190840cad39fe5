//! The hot path: the responses file as a stream, images on their way to S3 while it is read on, and checkpoints.

use std::collections::VecDeque;

use clients::states::{StoredShard, Swap};
use darkroom::{
    layout,
    parts::PartLine,
    results::{Line, Pool, Scanner},
    state::Phase,
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use jiff::Timestamp;

use crate::{
    expected::Expected,
    handler::{CollectError, Deps},
    store::{self, Stored},
};

/// How far reading came.
#[derive(Debug)]
pub(crate) enum Reached {
    /// The end. The results since the last checkpoint are not written yet.
    End(Vec<PartLine>),
    /// The end of the invocation's time; all is written down.
    Deadline,
}

/// Reads the output on from where `stored` says, until its end or until `deadline` is near.
///
/// `stored` follows the checkpoints. After an error all that was finished before it is written down.
pub(crate) async fn read(
    deps: &Deps,
    stored: &mut StoredShard,
    expected: &mut Expected,
    deadline: Timestamp,
) -> Result<Reached, CollectError> {
    let Phase::Collecting { ended, offset, .. } = &stored.shard.phase else { return Err(CollectError::Contended) };
    let (offset, ended) = (*offset, ended.clone());
    let Some(output) = &ended.output else { return Ok(Reached::End(Vec::new())) };

    let download = deps.gemini.download(output, offset).await?;
    let mut skip = offset.saturating_sub(download.starts_at);
    let mut body = download.body;
    let pool = Pool::new(deps.pace.put_bytes);
    let mut scanner = Some(Scanner::new(deps.limits, pool, offset));
    let mut waiting: VecDeque<Line> = VecDeque::new();
    let mut in_flight = FuturesOrdered::new();
    let mut in_flight_bytes = 0;
    let mut results = Results::default();
    let mut broken = None;

    loop {
        while in_flight.len() < deps.pace.puts && (in_flight.is_empty() || in_flight_bytes < deps.pace.put_bytes) {
            let Some(line) = waiting.pop_front() else { break };
            let put = store::place(&stored.shard, expected, line);
            in_flight_bytes += put.bytes;
            in_flight.push_back(put.run(deps));
        }
        let hungry = scanner.is_some() && waiting.is_empty();
        tokio::select! {
            biased;
            Some(put) = in_flight.next(), if !in_flight.is_empty() => match put {
                Ok(Stored { end, bytes, line }) => {
                    in_flight_bytes -= bytes;
                    results.add(end, line);
                    if results.due(deps, stored, deadline) {
                        results.checkpoint(deps, stored).await?;
                        if time_is_up(deps, deadline) {
                            return Ok(Reached::Deadline);
                        }
                    }
                }
                Err(problem) => {
                    // What is behind it stays unfinished: a checkpoint has no holes.
                    results.checkpoint(deps, stored).await?;
                    return Err(problem.into());
                }
            },
            chunk = body.next(), if hungry => match chunk {
                Some(Ok(chunk)) => {
                    let seen = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                    skip -= seen as u64;
                    if let Some(scanner) = &mut scanner {
                        scanner.feed(&chunk[seen..], |line| waiting.push_back(line));
                    }
                }
                Some(Err(problem)) => (scanner, broken) = (None, Some(problem)),
                None => {
                    if let Some(scanner) = scanner.take() {
                        scanner.finish(|line| waiting.push_back(line));
                    }
                }
            },
            else => break,
        }
    }
    match broken {
        Some(problem) => {
            results.checkpoint(deps, stored).await?;
            Err(problem.into())
        }
        None => Ok(Reached::End(results.lines)),
    }
}

/// Results whose images are stored, not yet written down.
#[derive(Debug, Default)]
struct Results {
    lines: Vec<PartLine>,
    end: Option<u64>,
}

impl Results {
    fn add(&mut self, end: u64, line: PartLine) {
        self.lines.push(line);
        self.end = Some(end);
    }

    fn due(&self, deps: &Deps, stored: &StoredShard, deadline: Timestamp) -> bool {
        let Phase::Collecting { offset, .. } = stored.shard.phase else { return false };
        self.end.is_some_and(|end| end - offset >= deps.pace.checkpoint_bytes)
            || self.lines.len() >= deps.pace.checkpoint_results
            || time_is_up(deps, deadline)
    }

    /// First the part, then the state that names it.
    async fn checkpoint(&mut self, deps: &Deps, stored: &mut StoredShard) -> Result<(), CollectError> {
        let Some(end) = self.end.take() else { return Ok(()) };
        let shard = &stored.shard;
        store::write_part(deps, &layout::part(&shard.job, shard.shard, end), &self.lines).await?;
        self.lines.clear();
        let mut next = shard.clone();
        next.waiting = None;
        if let Phase::Collecting { offset, parts, tries, .. } = &mut next.phase {
            (*offset, *tries) = (end, 1);
            parts.push(end);
        }
        match deps.states.swap(stored, next).await? {
            Swap::Mine(written) => {
                *stored = written;
                Ok(())
            }
            Swap::Theirs => Err(CollectError::Contended),
        }
    }
}

fn time_is_up(deps: &Deps, deadline: Timestamp) -> bool {
    deps.clock.now() + deps.pace.reserve >= deadline
}
