//! The entries of shards in `job.json`, and the phase of the job that they imply.
//!
//! `report` updates the entries one at a time. It reads only the states that have changed, and
//! reads all states once, when the entries show that every shard has ended.

use serde::{Deserialize, Serialize};

use super::{JobPhase, JobStatus, LaneProgress};
use crate::{
    lane::Lane,
    names::{BatchName, ShardId},
    state::{Collecting, Phase, Shard},
};

/// The entry of one shard in `job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// The lane in which its requests are made. It is omitted for a batch.
    #[serde(default, skip_serializing_if = "Lane::is_batch")]
    pub lane: Lane,
    /// Whether its images are the job's proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proof: bool,
    /// Whether it waits for the approval or the success of the proof, and for nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_proof: bool,
    /// Whether it is released as soon as the proof has succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_proof: bool,
    /// Its phase.
    pub phase: ShardPhase,
    /// The number of its requests.
    pub requests: u32,
    /// The number of requests that Gemini has finished.
    pub finished: u32,
    /// The next round, which retries what failed in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ShardId>,
    /// Its batch, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchName>,
    /// Why the shard waits, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the shard waits because Gemini rejects the API key or its project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused_key: bool,
}

/// The phase of a shard, without its data.
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
    /// See [`Phase::Generating`].
    Generating,
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
            Phase::Generating(_) => Self::Generating,
            Phase::Done { .. } => Self::Done,
            Phase::Held { .. } => Self::Held,
            Phase::Failed(_) => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

impl ShardPhase {
    /// Returns the phase of a job whose least advanced shard is in this phase.
    fn of_job(self) -> JobPhase {
        match self {
            Self::Planned | Self::Uploading | Self::Creating | Self::Recovering => {
                JobPhase::Submitting
            }
            Self::Submitted | Self::Generating | Self::Held => JobPhase::Waiting,
            Self::Ready | Self::Collecting | Self::Done | Self::Failed | Self::Cancelled => {
                JobPhase::Collecting
            }
        }
    }

    /// Whether the shard never leaves this phase. A next round may follow.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Done | Self::Failed | Self::Cancelled => true,
            Self::Planned
            | Self::Uploading
            | Self::Creating
            | Self::Recovering
            | Self::Submitted
            | Self::Ready
            | Self::Collecting
            | Self::Generating
            | Self::Held => false,
        }
    }
}

impl From<&Shard> for ShardStatus {
    fn from(shard: &Shard) -> Self {
        Self {
            shard: shard.shard,
            lane: shard.lane,
            proof: shard.is_proof,
            awaits_proof: shard.awaits_proof(),
            follows_proof: shard.is_released_by_proof(),
            phase: ShardPhase::from(&shard.phase),
            requests: shard.demand.requests,
            finished: finished(shard),
            next: if let Phase::Done { next, .. } = &shard.phase {
                *next
            } else {
                None
            },
            batch: shard.phase.batch().cloned(),
            // A held shard keeps the reason that requires a user's action, whatever was tried since.
            note: if shard.phase.is_held() {
                note(&shard.phase)
            } else {
                shard.waiting.clone().or_else(|| note(&shard.phase))
            },
            refused_key: shard.refused_key,
        }
    }
}

/// Returns the number of requests of a shard that are finished.
fn finished(shard: &Shard) -> u32 {
    match &shard.phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Held { .. } => 0,
        Phase::Submitted(submitted) => submitted.finished.min(shard.demand.requests),
        Phase::Generating(generating) => u32::try_from(generating.chunks.len()).unwrap_or(u32::MAX),
        Phase::Ready { .. }
        | Phase::Collecting(_)
        | Phase::Done { .. }
        | Phase::Failed(_)
        | Phase::Cancelled => shard.demand.requests,
    }
}

/// Returns the note for a phase if the shard itself gives no reason for waiting.
fn note(phase: &Phase) -> Option<String> {
    match phase {
        Phase::Planned { .. }
        | Phase::Uploading { .. }
        | Phase::Creating { .. }
        | Phase::Recovering(_)
        | Phase::Submitted(_)
        | Phase::Generating(_)
        | Phase::Done { ended: None, .. } => None,
        Phase::Ready { ended }
        | Phase::Collecting(Collecting { ended, .. })
        | Phase::Done {
            ended: Some(ended), ..
        } => ended.error.as_ref().map(|error| error.message.clone()),
        Phase::Held { reason, .. } => Some(reason.clone()),
        Phase::Failed(failed) => Some(format!("{}: {}", failed.code, failed.message)),
        Phase::Cancelled => {
            Some("the job was cancelled before these images were requested".to_owned())
        }
    }
}

impl JobStatus {
    /// Whether all shards of the proof have ended. A round that an entry names has not begun yet if
    /// it has no entry.
    pub fn proof_has_ended(&self) -> bool {
        let mut proof = self.shards.iter().filter(|entry| entry.proof);
        proof.all(|entry| {
            entry.phase.is_terminal() && entry.next.is_none_or(|next| self.shard(next).is_some())
        })
    }

    /// Returns the held shards about which a user can decide now. While a proof is being made, its
    /// images can't be judged, so what waits for it needs no decision yet.
    pub fn undecided(&self) -> impl Iterator<Item = &ShardStatus> {
        let proof_is_being_made = !self.proof_has_ended();
        let held = self
            .shards
            .iter()
            .filter(|entry| entry.phase == ShardPhase::Held);
        held.filter(move |entry| entry.proof || !proof_is_being_made)
    }

    /// Whether the proof has ended, and shards wait for its success.
    pub fn may_follow_proof(&self) -> bool {
        let held = |entry: &ShardStatus| entry.phase == ShardPhase::Held && entry.follows_proof;
        self.shards.iter().any(held) && self.proof_has_ended()
    }

    /// Returns the entry of a shard, if there is one.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardStatus> {
        let index = self
            .shards
            .binary_search_by_key(&shard, |entry| entry.shard)
            .ok()?;
        self.shards.get(index)
    }

    /// Inserts or replaces the entry of a shard. The entries stay in order.
    pub fn put_shard(&mut self, entry: ShardStatus) {
        match self
            .shards
            .binary_search_by_key(&entry.shard, |entry| entry.shard)
        {
            Ok(index) => self.shards[index] = entry,
            Err(index) => self.shards.insert(index, entry),
        }
    }

    /// Whether the gallery shows anything else than it did at `earlier`: another phase of the job, or
    /// rows of shards that have ended, are held, or have images so far.
    pub fn changes_gallery(&self, earlier: &Self) -> bool {
        let is_first = earlier.shards.is_empty() && !self.shards.is_empty();
        is_first || self.phase != earlier.phase || !self.shown().eq(earlier.shown())
    }

    /// Returns what the rows of each shard depend on. The rows of any other shard are waiting.
    fn shown(&self) -> impl Iterator<Item = (ShardId, ShardPhase, u32, Option<&str>)> {
        self.shards.iter().filter_map(|entry| {
            let (finished, note) = match entry.phase {
                ShardPhase::Planned
                | ShardPhase::Uploading
                | ShardPhase::Creating
                | ShardPhase::Recovering
                | ShardPhase::Submitted
                | ShardPhase::Ready => return None,
                // The note changes when reading is interrupted, which leaves chunks behind.
                ShardPhase::Collecting => (0, entry.note.as_deref()),
                ShardPhase::Generating => (entry.finished, None),
                ShardPhase::Done
                | ShardPhase::Held
                | ShardPhase::Failed
                | ShardPhase::Cancelled => (0, None),
            };
            Some((entry.shard, entry.phase, finished, note))
        })
    }

    /// Derives the job's phase and its number of finished images, in total and by lane, from the
    /// entries.
    ///
    /// The least advanced shard decides the phase. A shard without an entry has not reported yet.
    pub fn follow_shards(&mut self) {
        let planned = self.plan.as_ref().map_or(0, |plan| plan.shards);
        let chains = chains(&self.shards);
        let lacks_last_round =
            |chain: &&[ShardStatus]| chain.last().is_some_and(|last| last.next.is_some());
        let phases = || self.shards.iter().map(|entry| entry.phase.of_job());
        self.phase = if self.blocker.is_some() {
            JobPhase::Blocked
        } else if chains.clone().count() < planned as usize
            || chains.clone().any(|chain| lacks_last_round(&chain))
            || phases().any(|phase| phase == JobPhase::Submitting)
        {
            JobPhase::Submitting
        } else if phases().any(|phase| phase == JobPhase::Waiting) {
            JobPhase::Waiting
        } else {
            JobPhase::Collecting
        };
        self.lanes = LaneProgress::by_lane(chains.clone().filter_map(progress_of_chain));
        self.finished = chains.map(finished_of_chain).sum();
    }

    /// Whether, by the entries, every shard has ended: its last round is terminal and has no next
    /// round.
    pub fn all_shards_ended(&self) -> bool {
        let planned = self.plan.as_ref().map_or(0, |plan| plan.shards);
        let ended = chains(&self.shards)
            .filter(|chain| {
                chain
                    .last()
                    .is_some_and(|last| last.phase.is_terminal() && last.next.is_none())
            })
            .count();
        ended >= planned as usize
    }
}

/// Groups ordered entries into chains: one chain for each shard, with its rounds. Entries of a
/// shard without its first round are skipped.
fn chains(shards: &[ShardStatus]) -> impl Iterator<Item = &[ShardStatus]> + Clone {
    shards
        .chunk_by(|one, other| one.shard.number == other.shard.number)
        .filter(|chain| chain.first().is_some_and(|first| first.shard.round == 1))
}

/// Returns the lane of a shard, and its images and finished images. An image that is retried in
/// another lane counts for the lane in which it is planned.
fn progress_of_chain(chain: &[ShardStatus]) -> Option<(Lane, u64, u64)> {
    let first = chain.first()?;
    let images = u64::from(first.requests);
    Some((first.lane, images, finished_of_chain(chain)))
}

/// Returns the number of finished images of a shard: the images that are not retried, and the
/// images that Gemini has finished.
fn finished_of_chain(chain: &[ShardStatus]) -> u64 {
    let all = chain.first().map_or(0, |first| first.requests);
    let open = chain
        .last()
        .map_or(0, |last| last.requests.saturating_sub(last.finished));
    u64::from(all.saturating_sub(open))
}

#[cfg(test)]
mod tests;
