//! The shards' entries in `job.json`, and what follows from them for the job.
//!
//! `report` keeps the entries up to date one at a time: it reads only the states that have changed,
//! and reads all of them once, when the entries say that every shard is over.

use serde::{Deserialize, Serialize};

use super::{JobPhase, JobStatus};
use crate::{
    names::{BatchName, ShardId},
    state::{Collecting, Phase, Shard},
};

/// One shard, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// Its phase.
    pub phase: ShardPhase,
    /// Its requests.
    pub requests: u32,
    /// Requests that Gemini has finished.
    pub finished: u32,
    /// The round that asks again for what failed in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ShardId>,
    /// Its batch, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchName>,
    /// Why it waits, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it waits because Gemini refuses the API key or its project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused_key: bool,
}

/// A shard's phase, without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardPhase {
    /// See [`Phase::Planned`].
    Planned,
    /// See [`Phase::Uploading`].
    Uploading,
    /// See [`Phase::Creating`].
    Creating,
    /// See [`Phase::Recovering`].
    Recovering,
    /// See [`Phase::Submitted`].
    Submitted,
    /// See [`Phase::Ready`].
    Ready,
    /// See [`Phase::Collecting`].
    Collecting,
    /// See [`Phase::Done`].
    Done,
    /// See [`Phase::Held`].
    Held,
    /// See [`Phase::Failed`].
    Failed,
    /// See [`Phase::Cancelled`].
    Cancelled,
}

impl From<&Phase> for ShardPhase {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Planned { .. } => Self::Planned,
            Phase::Uploading { .. } => Self::Uploading,
            Phase::Creating { .. } => Self::Creating,
            Phase::Recovering(_) => Self::Recovering,
            Phase::Submitted(_) => Self::Submitted,
            Phase::Ready { .. } => Self::Ready,
            Phase::Collecting(_) => Self::Collecting,
            Phase::Done { .. } => Self::Done,
            Phase::Held { .. } => Self::Held,
            Phase::Failed(_) => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

impl ShardPhase {
    /// Where the job stands as long as no shard is less advanced than this one.
    fn of_job(self) -> JobPhase {
        match self {
            Self::Planned | Self::Uploading | Self::Creating | Self::Recovering => {
                JobPhase::Submitting
            }
            Self::Submitted | Self::Held => JobPhase::Waiting,
            Self::Ready | Self::Collecting | Self::Done | Self::Failed | Self::Cancelled => {
                JobPhase::Collecting
            }
        }
    }

    /// Whether nothing more happens to the shard. A round of it may follow.
    pub fn is_over(self) -> bool {
        match self {
            Self::Done | Self::Failed | Self::Cancelled => true,
            Self::Planned
            | Self::Uploading
            | Self::Creating
            | Self::Recovering
            | Self::Submitted
            | Self::Ready
            | Self::Collecting
            | Self::Held => false,
        }
    }
}

impl From<&Shard> for ShardStatus {
    fn from(shard: &Shard) -> Self {
        Self {
            shard: shard.shard,
            phase: ShardPhase::from(&shard.phase),
            requests: shard.demand.requests,
            finished: finished(shard),
            next: if let Phase::Done { next, .. } = &shard.phase {
                *next
            } else {
                None
            },
            batch: shard.phase.batch().cloned(),
            // A held shard keeps the reason that a person is to act upon, whatever was tried since.
            note: if shard.phase.is_held() {
                note(&shard.phase)
            } else {
                shard.waiting.clone().or_else(|| note(&shard.phase))
            },
            refused_key: shard.refused_key,
        }
    }
}

/// Requests of a shard that need no more waiting.
fn finished(shard: &Shard) -> u32 {
    match &shard.phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Held { .. } => 0,
        Phase::Submitted(submitted) => submitted.finished.min(shard.demand.requests),
        Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => shard.demand.requests,
    }
}

/// What people are told of a phase where the shard itself gives no reason for waiting.
fn note(phase: &Phase) -> Option<String> {
    match phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Submitted(_) => None,
        Phase::Ready { ended }
        | Phase::Collecting(Collecting { ended, .. })
        | Phase::Done { ended, .. } => ended.error.as_ref().map(|error| error.message.clone()),
        Phase::Held { reason, .. } => Some(reason.clone()),
        Phase::Failed(failed) => Some(format!("{}: {}", failed.code, failed.message)),
        Phase::Cancelled => Some("the job was cancelled before this was asked for".to_owned()),
    }
}

impl JobStatus {
    /// The entry of a shard, if there is one.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardStatus> {
        let place = self
            .shards
            .binary_search_by_key(&shard, |entry| entry.shard)
            .ok()?;
        self.shards.get(place)
    }

    /// Puts in a shard's entry, in place of the one that the shard has. The entries stay in order.
    pub fn put_shard(&mut self, entry: ShardStatus) {
        match self
            .shards
            .binary_search_by_key(&entry.shard, |entry| entry.shard)
        {
            Ok(place) => self.shards[place] = entry,
            Err(place) => self.shards.insert(place, entry),
        }
    }

    /// Brings the job's phase and the number of finished images up to date with the entries.
    ///
    /// The least advanced shard decides the phase. A shard without an entry is one that nothing was
    /// heard of yet.
    pub fn follow_shards(&mut self) {
        let planned = self.plan.as_ref().map_or(0, |plan| plan.shards);
        let chains = chains(&self.shards);
        let is_unheard_of =
            |chain: &&[ShardStatus]| chain.last().is_some_and(|last| last.next.is_some());
        let phases = || self.shards.iter().map(|entry| entry.phase.of_job());
        self.phase = if self.blocker.is_some() {
            JobPhase::Blocked
        } else if chains.clone().count() < planned as usize
            || chains.clone().any(|chain| is_unheard_of(&chain))
            || phases().any(|phase| phase == JobPhase::Submitting)
        {
            JobPhase::Submitting
        } else if phases().any(|phase| phase == JobPhase::Waiting) {
            JobPhase::Waiting
        } else {
            JobPhase::Collecting
        };
        self.finished = chains.map(finished_of_chain).sum();
    }

    /// Whether, by the entries, nothing more happens to any shard: its last round is over, and
    /// names no other.
    pub fn shards_are_over(&self) -> bool {
        let planned = self.plan.as_ref().map_or(0, |plan| plan.shards);
        let over = chains(&self.shards)
            .filter(|chain| {
                chain
                    .last()
                    .is_some_and(|last| last.phase.is_over() && last.next.is_none())
            })
            .count();
        over >= planned as usize
    }
}

/// The entries of each shard and its rounds, of entries that are in order. A chain without its
/// first round is none.
fn chains(shards: &[ShardStatus]) -> impl Iterator<Item = &[ShardStatus]> + Clone {
    shards
        .chunk_by(|one, other| one.shard.number == other.shard.number)
        .filter(|chain| chain.first().is_some_and(|first| first.shard.round == 1))
}

/// Images of a shard that need no more waiting: those that are not asked for again, and those that
/// Gemini has finished.
fn finished_of_chain(chain: &[ShardStatus]) -> u64 {
    let all = chain.first().map_or(0, |first| first.requests);
    let open = chain
        .last()
        .map_or(0, |last| last.requests.saturating_sub(last.finished));
    u64::from(all.saturating_sub(open))
}

#[cfg(test)]
mod tests;
