//! One message of (results): read the output on from the last checkpoint, to its end or until time runs out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use clients::{
    bucket::{Bucket, BucketError},
    clock::Clock,
    deliveries::{Disposition, Message, deliver},
    gemini::{ApiError, Gemini},
    lines::LineError,
    queue::{Queue, QueueError},
    states::{StateError, States, StoredShard, Swap},
};
use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::{JobId, ShardId},
    results::Limits,
    state::{Arrival, CollectStep, HELD_DEADLINE, Phase, Shard, collect_step},
};
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use crate::{
    expected::Expected,
    finish::finish,
    read::{Reached, read},
};

/// How long to leave a shard alone that somebody else has just changed.
const CONTENDED: SignedDuration = SignedDuration::from_secs(30);

/// The wait after the first failure at one place, and the longest.
const WAITS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));

/// What `collect` works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Plans, parts and images.
    pub bucket: Bucket,
    /// Shard states.
    pub states: States,
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
    /// What one line may hold.
    pub limits: Limits,
    /// How fast, and how often progress is written down.
    pub pace: Pace,
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
    /// The next queue can't be reached.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Somebody else is collecting the same shard.
    #[error("another invocation is collecting this shard")]
    Contended,
}

/// Handles one event of (results). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.results, event, async |message| process(deps, message, deadline).await).await
}

async fn process(deps: &Deps, received: &Message, deadline: Timestamp) -> Result<Disposition, CollectError> {
    let message: ShardMessage = serde_json::from_str(&received.body).map_err(malformed("the message"))?;
    let Some(stored) = deps.states.read(&message.job, message.shard).await? else {
        return Err(CollectError::NoState(message.job, message.shard));
    };
    let now = deps.clock.now();
    let stopped = !stored.shard.is_terminal() && deps.states.is_stopped(&message.job).await?;
    match collect_step(&stored.shard, &Arrival { message: &received.id, at: now, stopped }) {
        CollectStep::Read { ended, offset, parts, tries, strikes } => {
            let (tries, lease_until) = (tries + 1, Some(deadline));
            let collecting = Phase::Collecting { ended, offset, parts, tries, strikes, lease_until };
            let next = Shard {
                waiting: stored.shard.waiting.clone(),
                ..stored.shard.enter(collecting, stored.shard.deadline).driven_by(&received.id, deadline)
            };
            match deps.states.swap(&stored, next).await? {
                Swap::Mine(stored) => collect(deps, &message, stored, deadline).await,
                Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
            }
        }
        CollectStep::Hold => {
            let why = stored.shard.waiting.as_deref().unwrap_or("the function was ended each time");
            let reason = format!("the output could not be read on, again and again: {why}");
            hold(deps, &message, &stored, &reason).await
        }
        CollectStep::Wake(round) => {
            deps.shards.send(&ShardMessage::new(&message.job, round)).await?;
            tell_report(deps, &message).await
        }
        CollectStep::StandBack => Ok(Disposition::Done),
        CollectStep::Wait(until) => Ok(Disposition::Later(until.duration_since(now))),
        CollectStep::GiveUp => match deps.states.swap(&stored, stored.shard.given_up()).await? {
            Swap::Mine(_) => tell_report(deps, &message).await,
            Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
        },
        CollectStep::Report => tell_report(deps, &message).await,
    }
}

async fn collect(
    deps: &Deps,
    message: &ShardMessage,
    mut stored: StoredShard,
    deadline: Timestamp,
) -> Result<Disposition, CollectError> {
    deps.reports.send(&JobMessage::new(&message.job)).await?;
    let mut expected = Expected::load(deps, &stored.shard).await?;
    let ended = match read(deps, &mut stored, &mut expected, deadline).await {
        Ok(Reached::End(unwritten)) => finish(deps, &stored, expected, unwritten).await.map(|()| true),
        Ok(Reached::Deadline) => Ok(false),
        Err(problem) => Err(problem),
    };
    let (note, wait) = match ended {
        Ok(true) => return tell_report(deps, message).await,
        Ok(false) => (None, SignedDuration::ZERO),
        Err(CollectError::Contended) => return Ok(Disposition::Later(CONTENDED)),
        Err(problem) => {
            warn!("not collected to the end: {problem}");
            (Some(problem.to_string()), wait_after(&problem, &stored.shard.phase))
        }
    };
    release(deps, &stored, note).await?;
    deps.reports.send(&JobMessage::new(&message.job)).await?;
    Ok(Disposition::Later(wait))
}

/// Lets the next invocation read on at once.
async fn release(deps: &Deps, stored: &StoredShard, note: Option<String>) -> Result<(), CollectError> {
    let mut next = Shard { waiting: note, ..stored.shard.clone() };
    if let Phase::Collecting { lease_until, .. } = &mut next.phase {
        *lease_until = None;
    }
    match deps.states.swap(stored, next).await? {
        Swap::Mine(_) => Ok(()),
        Swap::Theirs => Err(CollectError::Contended),
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

async fn hold(
    deps: &Deps,
    message: &ShardMessage,
    stored: &StoredShard,
    reason: &str,
) -> Result<Disposition, CollectError> {
    warn!("held: {reason}");
    match deps.states.swap(stored, stored.shard.held(reason, deps.clock.now())).await? {
        Swap::Mine(_) => {
            deps.reports.send(&JobMessage::new(&message.job)).await?;
            Ok(Disposition::Later(HELD_DEADLINE))
        }
        Swap::Theirs => Ok(Disposition::Later(CONTENDED)),
    }
}

async fn tell_report(deps: &Deps, message: &ShardMessage) -> Result<Disposition, CollectError> {
    deps.reports.send(&JobMessage::new(&message.job)).await?;
    Ok(Disposition::Done)
}

/// Names what could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> CollectError {
    let what = what.to_owned();
    move |source| CollectError::Malformed { what, source }
}
