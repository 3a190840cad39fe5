//! What users want to know about a job at a glance, derived from its `job.json`.
//!
//! `status`, `watch` and `review` show the same. No text in it can control a terminal.

use darkroom::{
    money::Usd,
    names::JobId,
    status::{JobPhase, JobStatus, LaneProgress},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    check::count,
    phase_reporter::{blocker, describe},
    plain_text::plain,
};

/// The most reasons for waiting that are listed.
const MAX_WAITS: usize = 5;

/// What users want to know about a job at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct JobView {
    pub(super) job: JobId,
    /// The address of the manifest.
    pub(super) manifest: String,
    pub(super) phase: JobPhase,
    /// Whether the job has ended.
    pub(super) ended: bool,
    /// The phase in words.
    pub(super) words: String,
    /// The images of the plan.
    pub(super) images: u64,
    /// The images that are finished.
    pub(super) finished: u64,
    /// The progress of each lane, if there are not only batches.
    pub(super) lanes: Vec<LaneProgress>,
    /// The estimated cost, if the manifest was accepted.
    pub(super) estimate_usd: Option<Usd>,
    /// What the job cost, once it has ended.
    pub(super) cost_usd: Option<Usd>,
    /// The decision that the job needs from its user.
    pub(super) decision: Option<Decision>,
    /// What it waits for, in a few words. Empty for a job that has ended.
    pub(super) waits_for: String,
    /// Why parts of the job wait, in full sentences: each reason once, and at most five.
    pub(super) waits: Vec<String>,
    pub(super) planned_at: Option<Timestamp>,
    pub(super) updated_at: Timestamp,
}

/// The decision that a job needs: whether the images that are held are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Decision {
    /// Whether the images wait only for the approval of the job's proof. Otherwise, a part of the
    /// job is held because continuing could cost twice.
    pub(super) is_proof: bool,
    /// The number of images that are held.
    pub(super) images: u64,
}

impl JobView {
    /// Derives the view from a job's status.
    pub(super) fn new(status: &JobStatus) -> Self {
        let ended = status.phase.is_terminal();
        let decision = (!ended).then(|| Decision::of(status)).flatten();
        let plan = status.plan.as_ref();
        let (waits_for, waits) = match ended {
            true => (String::new(), Vec::new()),
            false => (waits_for(status, decision.as_ref()), waits(status)),
        };
        Self {
            job: status.job.clone(),
            manifest: plain(&status.manifest.to_string()).into_owned(),
            phase: status.phase,
            ended,
            words: match decision {
                Some(_) => format!("waits for {waits_for}"),
                None => plain(&describe(status)).into_owned(),
            },
            images: plan.map_or(0, |plan| plan.images),
            finished: status.finished,
            lanes: status.lanes.clone(),
            estimate_usd: plan.map(|plan| plan.estimate.usd()),
            cost_usd: status.cost_usd,
            decision,
            waits_for,
            waits,
            planned_at: plan.map(|plan| plan.planned_at),
            updated_at: status.updated_at,
        }
    }

    /// Returns when the job began, or when its manifest was rejected.
    pub(super) fn began_at(&self) -> Timestamp {
        self.planned_at.unwrap_or(self.updated_at)
    }

    /// Whether the job never changes again. A rejected manifest can be dropped again.
    pub(super) fn is_final(&self) -> bool {
        self.ended && self.phase != JobPhase::Rejected
    }

    /// Returns the cost, or the estimate as `~$0.63`. Empty if neither is known.
    pub(super) fn price(&self) -> String {
        match (self.cost_usd, self.estimate_usd) {
            (Some(cost), _) => cost.to_string(),
            (None, Some(estimate)) => format!("~{estimate}"),
            (None, None) => String::new(),
        }
    }
}

impl Decision {
    /// Returns the decision that a job needs now, if any.
    fn of(status: &JobStatus) -> Option<Self> {
        let is_proof = status.undecided().all(|shard| shard.awaits_proof);
        let images = status.undecided().map(|shard| u64::from(shard.requests));
        let images: u64 = images.sum();
        (images > 0).then_some(Self { is_proof, images })
    }
}

/// Returns what a job waits for, in a few words.
fn waits_for(status: &JobStatus, decision: Option<&Decision>) -> String {
    let open = || {
        status
            .shards
            .iter()
            .filter(|shard| !shard.phase.is_terminal())
    };
    if status.blocker.is_some() {
        return "repair of a document".to_owned();
    }
    if let Some(decision) = decision {
        return match decision.is_proof {
            true => "your approval of the proof".to_owned(),
            false => "your decision".to_owned(),
        };
    }
    if open().any(|shard| shard.refused_key) {
        return "an API key that Gemini accepts".to_owned();
    }
    if open().any(|shard| shard.awaits_proof) {
        return "its proof".to_owned();
    }
    match status.phase {
        JobPhase::Submitting => "submission".to_owned(),
        JobPhase::Collecting => "its images to be stored".to_owned(),
        _ => "Gemini".to_owned(),
    }
}

/// Returns the reasons why parts of a job wait.
fn waits(status: &JobStatus) -> Vec<String> {
    if status.blocker.is_some() {
        return vec![plain(&blocker(status)).into_owned()];
    }
    let mut reasons: Vec<(String, u64)> = Vec::new();
    for shard in &status.shards {
        let Some(note) = shard.note.as_ref().filter(|_| !shard.phase.is_terminal()) else {
            continue;
        };
        let note = plain(note).into_owned();
        match reasons.iter_mut().find(|(reason, _)| *reason == note) {
            Some((_, images)) => *images += u64::from(shard.requests),
            None => reasons.push((note, u64::from(shard.requests))),
        }
    }
    let more = reasons.len().saturating_sub(MAX_WAITS);
    let text = |(reason, images)| format!("{}: {reason}", count(images, "image"));
    let mut lines: Vec<String> = reasons.into_iter().take(MAX_WAITS).map(text).collect();
    if more > 0 {
        lines.push(format!("and {}", count(more as u64, "other reason")));
    }
    lines
}

/// Returns a length of time in its largest unit: `now`, `5 min`, `3 h`, `2 d`.
pub(super) fn age(length: SignedDuration) -> String {
    match length.as_mins() {
        ..1 => "now".to_owned(),
        minutes @ 1..60 => format!("{minutes} min"),
        minutes @ 60..2_880 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use darkroom::{
        names::{ObjectUri, ShardId},
        status::{ShardPhase, ShardStatus},
    };

    use super::*;

    fn shard(number: u32, phase: ShardPhase, proof: bool, note: Option<&str>) -> ShardStatus {
        let mut entry: ShardStatus = serde_json::from_value(serde_json::json!({
            "shard": ShardId::first(number), "phase": "planned", "requests": 10, "finished": 0
        }))
        .unwrap();
        (entry.phase, entry.proof) = (phase, proof);
        entry.note = note.map(str::to_owned);
        entry
    }

    fn view(shards: Vec<ShardStatus>) -> JobView {
        let uri = ObjectUri {
            bucket: "darkroom".to_owned(),
            key: "inbox/a\u{1b}[2J.csv".to_owned(),
        };
        let phase = JobPhase::Waiting;
        let mut status = JobStatus::new(&JobId::new("a-1"), &uri, phase, Timestamp::UNIX_EPOCH);
        status.shards = shards;
        JobView::new(&status)
    }

    #[test]
    fn a_proof_is_decided_once_it_has_ended() {
        let note = "held until the proof is approved";
        let rest = || ShardStatus {
            awaits_proof: true,
            ..shard(1, ShardPhase::Held, false, Some(note))
        };
        let making = view(vec![shard(0, ShardPhase::Generating, true, None), rest()]);
        assert_eq!((making.decision, &*making.waits_for), (None, "its proof"));
        let made = view(vec![shard(0, ShardPhase::Done, true, None), rest()]);
        let decision = Decision {
            is_proof: true,
            images: 10,
        };
        assert_eq!(made.decision, Some(decision));
        assert_eq!(made.waits_for, "your approval of the proof");
        assert_eq!(made.waits, ["10 images: held until the proof is approved"]);
    }

    #[test]
    fn a_shard_that_is_held_for_another_reason_is_not_decided_as_a_proof() {
        let proof = || shard(0, ShardPhase::Done, true, None);
        let lost = || shard(1, ShardPhase::Held, false, Some("the answer was lost"));
        let one = view(vec![proof(), lost()]);
        let decision = |is_proof, images| Some(Decision { is_proof, images });
        assert_eq!(one.decision, decision(false, 10));
        assert_eq!(one.waits_for, "your decision");
        let rest = ShardStatus {
            awaits_proof: true,
            ..shard(2, ShardPhase::Held, false, None)
        };
        assert_eq!(
            view(vec![proof(), lost(), rest]).decision,
            decision(false, 20)
        );
        // The proof itself: without a decision, it would never be made.
        let stuck = view(vec![shard(0, ShardPhase::Held, true, None)]);
        assert_eq!(stuck.decision, decision(false, 10));
    }

    #[test]
    fn equal_reasons_are_listed_once_and_without_control_characters() {
        let view = view(vec![
            shard(0, ShardPhase::Submitted, false, Some("quota\u{1b}[31m")),
            shard(1, ShardPhase::Planned, false, Some("quota\u{1b}[31m")),
            shard(2, ShardPhase::Failed, false, Some("ended")),
        ]);
        assert_eq!(view.waits, ["20 images: quota\u{fffd}[31m"]);
        assert_eq!(view.manifest, "s3://darkroom/inbox/a\u{fffd}[2J.csv");
        assert_eq!((view.waits_for.as_str(), view.decision), ("Gemini", None));
    }

    #[test]
    fn ages_have_one_unit() {
        let of = |seconds| age(SignedDuration::from_secs(seconds));
        for (seconds, text) in [
            (-5, "now"),
            (59, "now"),
            (60, "1 min"),
            (3_600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(of(seconds), text);
        }
    }
}
