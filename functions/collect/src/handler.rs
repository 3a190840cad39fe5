//! One message of (results): read the output on from the last checkpoint, to its end or until time runs out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    bucket::{Bucket, BucketError},
    catalogue::{CatalogueFault, Catalogues},
    clock::Clock,
    deliveries::{Disposition, Message, deliver},
    gemini::{ApiError, Gemini},
    ledger::{Books, LedgerError},
    lines::LineError,
    metrics::Metrics,
    queue::{Queue, QueueError},
    states::{StateError, States, StoredShard, Swap},
};
use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::{JobId, ShardId},
    results::Limits,
    state::{Arrival, CollectStep, Phase, Shard, collect_step},
};
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use crate::{
    expected::Expected,
    finish::{Ended, finish},
    read::{Reached, read},
    work::{CONTENDED, Work},
};

/// The wait after the first failure at one place, and the longest.
const WAITS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));

/// What `collect` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Plans, parts and images.
    pub bucket: Bucket,
    /// Shard states.
    pub states: States,
    /// What may be spent today, where each shard's cost is put down.
    pub books: Books,
    /// The Gemini API.
    pub gemini: Gemini,
    /// The queue that triggers it.
    pub results: Queue,
    /// Where rounds go.
    pub shards: Queue,
    /// Where changes are told.
    pub reports: Queue,
    /// The time.
    pub clock: Clock,
    /// The models and prices that each job was planned with.
    pub catalogues: Catalogues,
    /// What one line may hold.
    pub limits: Limits,
    /// How fast, and how often progress is written down.
    pub pace: Pace,
    /// What an operator watches.
    pub metrics: Metrics,
}

/// How fast to read, and how often to write progress down.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Images on their way to S3 at once.
    pub puts: usize,
    /// Bytes of images on their way to S3 at once; one larger image goes alone.
    pub put_bytes: usize,
    /// Bytes of the responses file between two checkpoints: what a killed invocation reads again.
    pub checkpoint_bytes: u64,
    /// Results between two checkpoints.
    pub checkpoint_results: usize,
    /// Time kept at the end of an invocation to write progress down.
    pub reserve: SignedDuration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            puts: 8,
            put_bytes: 48 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_results: 200,
            reserve: SignedDuration::from_secs(30),
        }
    }
}

/// Why a shard could not be collected further now; its message comes back.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The body, or a stored document, is not what it should be.
    #[error("{what} can't be read: {source}")]
    Malformed {
        /// The message or the document.
        what: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A document is missing.
    #[error("{0} is missing; restore it from an earlier version")]
    Missing(String),
    /// The shard's state was removed by hand.
    #[error("job {0} has no state for shard {1}")]
    NoState(JobId, ShardId),
    /// The job's catalogue can't be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueFault),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An object can't be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An object broke off.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// The output can't be downloaded.
    #[error(transparent)]
    Gemini(#[from] ApiError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The output ends before the place up to which it was read.
    #[error("the output has become shorter than what was already read of it")]
    Shrunk,
    /// Time ran out while something was waited for.
    #[error("nothing came of the output, or went to the bucket, until time ran out")]
    OutOfTime,
    /// The round has other keys than it should, and has begun.
    #[error("round {0} has begun already, with other keys than are worth another try")]
    RoundBegun(ShardId),
    /// Somebody else is collecting the same shard.
    #[error("another invocation is collecting this shard")]
    Contended,
}

/// Handles one event of (results). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.results, event, async |message| process(deps, message, deadline).await).await
}

async fn process(deps: &Deps, received: &Message, deadline: Timestamp) -> Result<Disposition, CollectError> {
    let about: ShardMessage = serde_json::from_str(&received.body).map_err(malformed("the message"))?;
    let Some(stored) = deps.states.read(&about.job, about.shard).await? else {
        return Err(CollectError::NoState(about.job, about.shard));
    };
    let stopped = !stored.shard.is_terminal() && deps.states.is_stopped(&about.job).await?;
    let step = collect_step(&stored.shard, &Arrival { message: &received.id, at: deps.clock.now(), stopped });
    let work = Work { deps, about, message: &received.id, stopped, deadline };
    match step {
        CollectStep::Read { ended, offset, parts, tries, strikes } => {
            let (tries, lease_until) = (tries + 1, Some(deadline));
            let collecting = Phase::Collecting { ended, offset, parts, tries, strikes, lease_until };
            let next = Shard {
                waiting: stored.shard.waiting.clone(),
                ..stored.shard.enter(collecting, stored.shard.deadline).driven_by(&received.id, deadline)
            };
            match deps.states.swap(&stored, next).await? {
                Swap::Mine(stored) => collect(&work, stored).await,
                Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
            }
        }
        CollectStep::Hold => {
            let why = stored.shard.waiting.as_deref().unwrap_or("the function was ended each time");
            work.hold(&stored, &format!("the output could not be read on, again and again: {why}")).await
        }
        CollectStep::Wake(round) => {
            work.settle(&stored.shard).await?;
            work.wake(Some(round)).await
        }
        CollectStep::StandBack => Ok(Disposition::Done),
        CollectStep::Wait(until) => work.wait_on(&stored, until).await,
        CollectStep::GiveUp => work.give_up(&stored).await,
        CollectStep::Report => {
            work.settle(&stored.shard).await?;
            work.tell_report(Disposition::Done).await
        }
    }
}

/// Reads on under the lease that `stored` has, and gives it back whatever happens. Only a reader that dies keeps it, and
/// that is how the next one knows.
async fn collect(work: &Work<'_>, mut stored: StoredShard) -> Result<Disposition, CollectError> {
    match read_on(work, &mut stored).await {
        Ok(Some(Ended { round, shard })) => {
            work.settle(&shard).await?;
            work.wake(round).await
        }
        Ok(None) => work.release(&stored, None, SignedDuration::ZERO).await,
        Err(CollectError::Contended) => Ok(Disposition::Later(CONTENDED)),
        Err(problem) => {
            warn!("not collected to the end: {problem}");
            let wait = wait_after(&problem, &stored.shard.phase);
            work.release(&stored, Some(problem.to_string()), wait).await
        }
    }
}

/// Reads to the end and ends the shard, or until time runs out. `stored` follows what is written.
async fn read_on(work: &Work<'_>, stored: &mut StoredShard) -> Result<Option<Ended>, CollectError> {
    work.deps.reports.send(&JobMessage::of_shard(&work.about.job, work.about.shard)).await?;
    let mut expected = Expected::load(work.deps, &stored.shard).await?;
    match read(work, stored, &mut expected).await? {
        Reached::End(unwritten) => finish(work, stored, expected, unwritten).await.map(Some),
        Reached::Deadline => Ok(None),
    }
}

/// Four times as long after each failure at the same place, and no shorter than Gemini asks for.
fn wait_after(problem: &CollectError, phase: &Phase) -> SignedDuration {
    let tries = if let Phase::Collecting { tries, .. } = phase { *tries } else { 1 };
    let asked = match problem {
        CollectError::Gemini(ApiError::RateLimited { retry_after, .. }) => retry_after.unwrap_or(WAITS.0),
        _ => SignedDuration::ZERO,
    };
    (WAITS.0 * 4_i32.saturating_pow(tries.saturating_sub(1).min(4))).min(WAITS.1).max(asked)
}

/// Names what could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> CollectError {
    let what = what.to_owned();
    move |source| CollectError::Malformed { what, source }
}
