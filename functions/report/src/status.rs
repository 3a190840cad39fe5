//! `job.json` while the job runs.

use clients::bucket::Conditional;
use darkroom::{
    layout,
    state::{Phase, Shard},
    status::{JobPhase, JobStatus, ShardStatus},
};
use jiff::SignedDuration;

use crate::{
    handler::{Deps, ReportError, malformed},
    shards::Chain,
};

/// How often `job.json` is rewritten at the most, unless the job's phase changes.
const REFRESH: SignedDuration = SignedDuration::from_secs(5);

/// Rewrites `job.json` if it says something new. `etag` is the version that `status` was read from.
pub(crate) async fn refresh(deps: &Deps, status: JobStatus, etag: &str, chains: &[Chain]) -> Result<(), ReportError> {
    let next = JobStatus { updated_at: deps.clock.now(), ..running(&status, chains) };
    let says_more = JobStatus { updated_at: status.updated_at, ..next.clone() } != status;
    let soon = next.updated_at < status.updated_at + REFRESH;
    if !says_more || (soon && next.phase == status.phase) {
        return Ok(());
    }
    let key = layout::status(&next.job);
    let bytes = serde_json::to_vec_pretty(&next).map_err(malformed(&key))?;
    match deps.bucket.replace(&key, etag, "application/json", bytes).await? {
        // Somebody wrote a newer one.
        Conditional::Written(_) | Conditional::Refused => Ok(()),
    }
}

fn running(status: &JobStatus, chains: &[Chain]) -> JobStatus {
    let shards: Vec<&Shard> = chains.iter().flat_map(|chain| &chain.0).collect();
    JobStatus {
        phase: phase(&shards),
        finished: chains.iter().map(finished).sum(),
        shards: shards.into_iter().map(for_people).collect(),
        ..status.clone()
    }
}

/// The least advanced shard decides.
fn phase(shards: &[&Shard]) -> JobPhase {
    let any = |which: fn(&Phase) -> bool| shards.iter().any(|shard| which(&shard.phase));
    if any(|phase| matches!(phase, Phase::Planned { .. } | Phase::Uploading { .. } | Phase::Creating { .. })) {
        JobPhase::Submitting
    } else if any(|phase| matches!(phase, Phase::Submitted { .. } | Phase::Held { .. })) {
        JobPhase::Waiting
    } else {
        JobPhase::Collecting
    }
}

/// Requests of a shard that need no more waiting: those not asked again, and those that Gemini has finished.
fn finished(chain: &Chain) -> u64 {
    let first = chain.0.first().map_or(0, |shard| shard.requests);
    let last = chain.0.last();
    let open = last.map_or(0, |shard| shard.requests - finished_in_round(shard));
    u64::from(first.saturating_sub(open))
}

fn finished_in_round(shard: &Shard) -> u32 {
    match &shard.phase {
        Phase::Planned { .. } | Phase::Uploading { .. } | Phase::Creating { .. } | Phase::Held { .. } => 0,
        Phase::Submitted { finished, .. } => (*finished).min(shard.requests),
        Phase::Ready { .. } | Phase::Collecting { .. } | Phase::Done { .. } | Phase::Failed { .. } => shard.requests,
    }
}

/// A shard as people see it.
pub(crate) fn for_people(shard: &Shard) -> ShardStatus {
    let (batch, note) = match &shard.phase {
        Phase::Planned { .. } | Phase::Uploading { .. } | Phase::Creating { .. } => (None, None),
        Phase::Submitted { batch, .. } => (Some(batch), None),
        Phase::Ready { ended } | Phase::Collecting { ended, .. } | Phase::Done { ended, .. } => {
            (Some(&ended.batch), ended.error.as_ref().map(|error| error.message.clone()))
        }
        Phase::Held { reason, before } => match &**before {
            Phase::Submitted { batch, .. } => (Some(batch), Some(reason.clone())),
            _ => (None, Some(reason.clone())),
        },
        Phase::Failed { code, message, .. } => (None, Some(format!("{code}: {message}"))),
    };
    ShardStatus {
        shard: shard.shard,
        phase: shard.phase.name().to_owned(),
        requests: shard.requests,
        finished: finished_in_round(shard),
        batch: batch.cloned(),
        note: shard.waiting.clone().or(note),
    }
}
