//! One message of (results): read the output on from the last checkpoint, to its end or until time
//! runs out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::{JobId, ShardId},
    state::{Arrival, CollectStep, Collecting, Phase, Shard, Unmatched, collect_step},
};
use gemini::ApiError;
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::BucketError,
    catalog_store::CatalogFault,
    chunks::ChunkError,
    deliveries::{Disposition, Message, deliver},
    ledger_store::LedgerError,
    lines::LineError,
    queue::QueueError,
    shard_store::{Cas, StateError, StoredShard},
};

use crate::{
    deps::Deps,
    expected::Expected,
    finish::{Ended, finish},
    read::{Reached, read},
    setback,
    unmatched::{self, Verdict},
    work::{CONTENDED, Work},
};

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
    /// The job's catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
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
    /// A part of the results can't be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The output was read to its end, and none of its lines belongs to a request, nor has an
    /// image.
    #[error("the output has no line for any request of its batch, in {lines} lines")]
    NothingUsable {
        /// Its lines.
        lines: u64,
    },
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
    deliver(&deps.results, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    received: &Message,
    deadline: Timestamp,
) -> Result<Disposition, CollectError> {
    let about: ShardMessage =
        serde_json::from_str(&received.body).map_err(malformed("the message"))?;
    let Some(stored) = deps.states.read(&about.job, about.shard).await? else {
        return Err(CollectError::NoState(about.job, about.shard));
    };
    let stopped = !stored.shard.is_terminal() && deps.states.is_stopped(&about.job).await?;
    let step = collect_step(
        &stored.shard,
        &Arrival {
            message: &received.id,
            at: deps.clock.now(),
            stopped,
        },
    );
    let work = Work {
        deps,
        about,
        message: &received.id,
        stopped,
        deadline,
    };
    match step {
        CollectStep::Read(collecting) => match begin(&work, &stored, collecting).await? {
            Cas::Written(stored) => collect(&work, stored, read_on).await,
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        },
        CollectStep::Finish(collecting) => match begin(&work, &stored, collecting).await? {
            Cas::Written(stored) => collect(&work, stored, finish_as_it_is).await,
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        },
        CollectStep::Wake(round) => {
            work.settle(&stored.shard).await?;
            work.wake(Some(round)).await
        }
        CollectStep::NotOwner => Ok(Disposition::Done),
        CollectStep::Wait(until) => work.wait_on(&stored, until).await,
        CollectStep::GiveUp => work.give_up(&stored).await,
        CollectStep::Report => {
            work.settle(&stored.shard).await?;
            work.tell_report(Disposition::Done).await
        }
    }
}

/// Takes the lease.
async fn begin(
    work: &Work<'_>,
    stored: &StoredShard,
    collecting: Collecting,
) -> Result<Cas, CollectError> {
    let deadline = collecting.ended.kept_until();
    let collecting = Collecting {
        tries: collecting.tries + 1,
        lease_until: Some(work.deadline),
        ..collecting
    };
    let next = Shard {
        waiting: stored.shard.waiting.clone(),
        stopped: stored.shard.stopped || (work.stopped && stored.shard.phase.is_held()),
        ..stored
            .shard
            .enter(Phase::Collecting(collecting), deadline)
            .driven_by(work.message, work.deadline)
    };
    Ok(work.deps.states.swap(stored, next).await?)
}

/// Works under the lease that `stored` has, and gives it back whatever happens. Only a reader that
/// dies keeps it, and that is how the next one knows.
async fn collect(
    work: &Work<'_>,
    mut stored: StoredShard,
    read: impl AsyncFnOnce(&Work<'_>, &mut StoredShard) -> Result<Read, CollectError>,
) -> Result<Disposition, CollectError> {
    match read(work, &mut stored).await {
        Ok(Read::Ended(ended)) => {
            let Ended { round, shard } = *ended;
            work.settle(&shard).await?;
            work.wake(round).await
        }
        Ok(Read::Partly) => work.release(&stored, None, SignedDuration::ZERO).await,
        Ok(Read::Unmatched(unmatched)) => unmatched::hold(work, &stored, unmatched).await,
        Err(CollectError::Contended) => Ok(Disposition::Later(CONTENDED)),
        Err(problem) => setback::after(work, &stored, problem).await,
    }
}

/// What came of reading.
enum Read {
    /// The shard has ended.
    Ended(Box<Ended>),
    /// The invocation's time is over; the next one reads on.
    Partly,
    /// Nothing in the output belongs to a request. All of it is written down.
    Unmatched(Unmatched),
}

/// Reads to the end and ends the shard, or until time runs out. `stored` follows what is written.
async fn read_on(work: &Work<'_>, stored: &mut StoredShard) -> Result<Read, CollectError> {
    work.deps
        .reports
        .send(&JobMessage::of_shard(&work.about.job, work.about.shard))
        .await?;
    let mut expected = Expected::load(work.deps, &stored.shard).await?;
    let mut results = match read(work, stored, &mut expected).await? {
        Reached::End(results) => results,
        Reached::Deadline => return Ok(Read::Partly),
    };
    match unmatched::verdict(&stored.shard, &expected.found) {
        // A cancelled job ends with what there is.
        Verdict::Nothing if !work.stopped => Err(CollectError::NothingUsable {
            lines: expected.found.lines,
        }),
        Verdict::Unmatched(unmatched) if !work.stopped => {
            results.checkpoint(work, stored).await?;
            Ok(Read::Unmatched(unmatched))
        }
        Verdict::Usable | Verdict::Nothing | Verdict::Unmatched(_) => Ok(Read::Ended(Box::new(
            finish(work, stored, expected, results.lines).await?,
        ))),
    }
}

/// Ends a shard whose output was read to its end before, without reading it again.
async fn finish_as_it_is(work: &Work<'_>, stored: &mut StoredShard) -> Result<Read, CollectError> {
    let expected = Expected::load(work.deps, &stored.shard).await?;
    Ok(Read::Ended(Box::new(
        finish(work, stored, expected, Vec::new()).await?,
    )))
}

/// Names what could not be read.
pub(crate) fn malformed(what: &str) -> impl FnOnce(serde_json::Error) -> CollectError {
    let what = what.to_owned();
    move |source| CollectError::Malformed { what, source }
}
