//! What became of a create call that went unanswered.
//!
//! The call may still take effect, and lists may be behind. So nobody asks again before three things have happened: its
//! input file is deleted, which makes a late call fail; as long has passed as a call can be on its way and a list
//! behind; and two whole lists, some time apart, were without the batch. Either of the first two alone keeps a second
//! create from being a second bill, where the other one fails.

use clients::{
    deliveries::Disposition,
    gemini::{ApiError, Batch},
    metrics::Metric,
    states::{StoredShard, Swap},
};
use darkroom::{
    display_name::DisplayName,
    messages::JobMessage,
    names::FileName,
    state::{BATCH_DEADLINE, BETWEEN_LISTS, Phase, RECOVER_DEADLINE, SUBMIT_DEADLINE, Shard},
};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::{
    attempt::planned,
    handler::SubmitError,
    work::{CONTENDED, Work},
};

/// How long a quota on looking is waited for, where Gemini doesn't say.
const QUOTA_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// Writes down that nobody will send this attempt's call any more, then takes its file away.
pub(crate) async fn begin(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    file: FileName,
    why: &str,
) -> Result<Disposition, SubmitError> {
    warn!(attempt, "finding out whether there is a batch: {why}");
    let now = work.deps.clock.now();
    let quiet_until = now + work.deps.quiet;
    let recovering = Phase::Recovering { attempt, file: file.clone(), quiet_until, missed_at: None };
    let next = Shard {
        unknown_creates: stored.shard.unknown_creates + 1,
        ..stored.shard.enter(recovering, now + RECOVER_DEADLINE)
    };
    let next = next.waiting(format!("{why}; Gemini is asked for its batches after {quiet_until}"));
    let Swap::Mine(stored) = work.deps.states.swap(stored, next.driven_by(work.message, quiet_until)).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    work.deps.reports.send(&JobMessage::of_shard(&work.about.job, work.about.shard)).await?;
    fence(work, &stored, &file, quiet_until).await
}

/// Deletes the attempt's file, and waits on. It is tried at each message, and once more before the lists are read.
pub(crate) async fn fence(
    work: &Work<'_>,
    stored: &StoredShard,
    file: &FileName,
    until: Timestamp,
) -> Result<Disposition, SubmitError> {
    if let Err(error) = delete(work, file).await {
        info!("the input file is not deleted yet: {error}");
    }
    work.wait_on(stored, until).await
}

/// Looks for the shard's batch in a whole list.
pub(crate) async fn look(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    file: &FileName,
    last: bool,
    hold: bool,
) -> Result<Disposition, SubmitError> {
    let found = match find(work, file).await {
        Ok(found) => found,
        Err(ApiError::RateLimited { retry_after, .. }) => {
            let wait = retry_after.unwrap_or(QUOTA_WAIT);
            return work.wait(stored, stored.shard.clone(), wait).await;
        }
        // Not knowing is not the same as nothing being there.
        Err(error) => return work.retry(stored, stored.shard.clone(), &error.to_string()).await,
    };
    let now = work.deps.clock.now();
    match found.split_first() {
        Some(((name, oldest), others)) => adopt(work, stored, name.attempt, oldest, others).await,
        None if !last => {
            let Phase::Recovering { quiet_until, .. } = stored.shard.phase else {
                return Ok(Disposition::Later(CONTENDED));
            };
            let phase = Phase::Recovering { attempt, file: file.clone(), quiet_until, missed_at: Some(now) };
            let why = stored.shard.waiting.clone().unwrap_or_default();
            let next = stored.shard.enter(phase, stored.shard.deadline).waiting(why);
            work.wait(stored, next, BETWEEN_LISTS).await
        }
        None if hold => {
            let reason = format!(
                "{} times Gemini did not answer when asked for the batch, and did not have it afterwards",
                stored.shard.unknown_creates
            );
            work.hold(stored, &reason).await
        }
        None => {
            info!(attempt, "there is no batch: asking anew");
            let next = Shard { deadline: now + SUBMIT_DEADLINE, ..planned(&stored.shard, attempt) };
            work.wait(stored, next, SignedDuration::ZERO).await
        }
    }
}

/// All batches of this shard, whichever attempt's, oldest first. The attempt's file is surely gone then.
async fn find(work: &Work<'_>, file: &FileName) -> Result<Vec<(DisplayName, Batch)>, ApiError> {
    delete(work, file).await?;
    let (stack, about) = (&work.deps.stack, &work.about);
    let ours = |batch: Batch| {
        let name: DisplayName = batch.display_name.parse().ok()?;
        name.is_of(stack, &about.job, about.shard).then_some((name, batch))
    };
    let mut found: Vec<_> = work.deps.gemini.batches().await?.into_iter().filter_map(ours).collect();
    found.sort_by(|(_, one), (_, other)| (one.create_time, &one.name).cmp(&(other.create_time, &other.name)));
    Ok(found)
}

/// The shard's batch is the oldest; the sweep sees to others that can't be cancelled now.
async fn adopt(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    oldest: &Batch,
    others: &[(DisplayName, Batch)],
) -> Result<Disposition, SubmitError> {
    let deps = work.deps;
    info!(batch = %oldest.name, attempt, "the batch was found");
    let submitted_at = oldest.create_time.unwrap_or_else(|| deps.clock.now());
    let batch = oldest.name.clone();
    let submitted = Phase::Submitted { attempt, batch, submitted_at, finished: 0, cancelled_at: None };
    let next = Shard { unknown_creates: 0, ..stored.shard.enter(submitted, submitted_at + BATCH_DEADLINE) };
    let Swap::Mine(_) = deps.states.swap(stored, next).await? else {
        return Ok(Disposition::Later(CONTENDED));
    };
    deps.metrics.count(Metric::Adoptions);
    for (_, extra) in others.iter().filter(|(_, batch)| !batch.is_terminal()) {
        warn!(batch = %extra.name, "a second batch of this shard: cancelled");
        deps.metrics.count(Metric::ExtraBatches);
        if let Err(error) = deps.gemini.cancel(&extra.name).await {
            warn!(batch = %extra.name, "it could not be cancelled: {error}");
        }
    }
    deps.polls.send(&work.about).await?;
    work.tell_report().await
}

/// Deletes the input file; one that isn't there is as good as deleted.
async fn delete(work: &Work<'_>, file: &FileName) -> Result<(), ApiError> {
    match work.deps.gemini.delete_file(file).await {
        Ok(()) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
