//! `job.json` while the job runs.

use clients::{bucket::Conditional, deliveries::Disposition, states::Rounds};
use darkroom::{
    layout,
    state::{Collecting, Owner, Phase, Shard},
    status::{JobPhase, JobStatus, ShardStatus},
};
use jiff::SignedDuration;

use crate::handler::{Deps, ReportError, malformed};

/// How often `job.json` is rewritten at the most, unless the job's phase changes.
const REFRESH: SignedDuration = SignedDuration::from_secs(5);

/// Rewrites `job.json` if it says something new; at once if it is `due`, else no sooner than [`REFRESH`] after the last
/// time, for which the message comes back. `etag` is the version that `status` was read from.
pub(crate) async fn refresh(
    deps: &Deps,
    status: JobStatus,
    etag: &str,
    chains: &[Rounds],
    due: bool,
) -> Result<Disposition, ReportError> {
    let next = JobStatus { updated_at: deps.clock.now(), ..running(&status, chains) };
    let says_more = JobStatus { updated_at: status.updated_at, ..next.clone() } != status;
    if !says_more {
        return Ok(Disposition::Done);
    }
    let wait = (status.updated_at + REFRESH).duration_since(next.updated_at);
    if !due && wait > SignedDuration::ZERO && next.phase == status.phase {
        return Ok(Disposition::Later(wait));
    }
    let key = layout::status(&next.job);
    let bytes = serde_json::to_vec_pretty(&next).map_err(malformed(&key))?;
    match deps.bucket.replace(&key, etag, "application/json", bytes).await? {
        // Somebody wrote a newer one.
        Conditional::Written(_) | Conditional::Refused => Ok(Disposition::Done),
    }
}

fn running(status: &JobStatus, chains: &[Rounds]) -> JobStatus {
    let shards: Vec<&Shard> = chains.iter().flat_map(Rounds::shards).collect();
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
    if any(|phase| phase.owner() == Owner::Submit && !matches!(phase, Phase::Held { .. })) {
        JobPhase::Submitting
    } else if any(|phase| matches!(phase, Phase::Submitted(_) | Phase::Held { .. })) {
        JobPhase::Waiting
    } else {
        JobPhase::Collecting
    }
}

/// Requests of a shard that need no more waiting: those not asked again, and those that Gemini has finished.
fn finished(chain: &Rounds) -> u64 {
    let first = chain.shards().next().map_or(0, |shard| shard.demand.requests);
    let last = chain.shards().next_back();
    let open = last.map_or(0, |shard| shard.demand.requests - finished_in_round(shard));
    u64::from(first.saturating_sub(open))
}

fn finished_in_round(shard: &Shard) -> u32 {
    match &shard.phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Held { .. } => 0,
        Phase::Submitted(submitted) => submitted.finished.min(shard.demand.requests),
        Phase::Ready { .. } | Phase::Collecting(_) | Phase::Done { .. } | Phase::Failed(_) | Phase::Cancelled => {
            shard.demand.requests
        }
    }
}

/// A shard as people see it.
pub(crate) fn for_people(shard: &Shard) -> ShardStatus {
    let note = match &shard.phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Submitted(_) => None,
        Phase::Ready { ended } | Phase::Collecting(Collecting { ended, .. }) | Phase::Done { ended, .. } => {
            ended.error.as_ref().map(|error| error.message.clone())
        }
        Phase::Held { reason, .. } => Some(reason.clone()),
        Phase::Failed(failed) => Some(format!("{}: {}", failed.code, failed.message)),
        Phase::Cancelled => Some("the job was cancelled before this was asked for".to_owned()),
    };
    ShardStatus {
        shard: shard.shard,
        phase: shard.phase.name().to_owned(),
        requests: shard.demand.requests,
        finished: finished_in_round(shard),
        batch: shard.phase.batch().cloned(),
        // A held shard keeps the reason that a person is to act upon, whatever was tried since.
        note: if shard.phase.is_held() { note } else { shard.waiting.clone().or(note) },
        refused_key: shard.refused_key,
    }
}
