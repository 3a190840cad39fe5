//! What the entries of shards say about a job: its phase, its progress, and whether it has ended.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    manifest::Reading,
    names::{JobId, ObjectUri},
    plan::PlanSummary,
    state::{Demand, EndedBatch, Submitted},
    status::Blocker,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn status(shards: u32) -> JobStatus {
    let manifest = ObjectUri {
        bucket: "studio".to_owned(),
        key: "inbox/a.csv".to_owned(),
    };
    let reading = Reading {
        images: u64::from(shards) * 10,
        ..Reading::default()
    };
    let plan = PlanSummary::of(&reading, shards, NOW);
    JobStatus {
        plan: Some(plan),
        ..JobStatus::new(&JobId::new("a-1"), &manifest, JobPhase::Submitting, NOW)
    }
}

fn shard(id: ShardId, requests: u32, phase: Phase) -> Shard {
    let demand = Demand {
        requests,
        ..Demand::default()
    };
    Shard {
        phase,
        ..Shard::planned(&JobId::new("a-1"), id, "m", demand, (0, 0), NOW)
    }
}

fn submitted(finished: u32) -> Phase {
    Phase::Submitted(Submitted {
        attempt: 1,
        batch: BatchName::new("batches/b"),
        submitted_at: NOW,
        finished,
        cancelled_at: None,
        output_missing_since: None,
    })
}

fn done(next: Option<ShardId>) -> Phase {
    let ended = EndedBatch {
        batch: BatchName::new("batches/b"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: None,
        error: None,
        submitted_at: NOW,
        ended_at: NOW,
    };
    Phase::Done {
        ended: Some(ended),
        chunks: Vec::new(),
        next,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: None,
    }
}

/// Returns the job's phase, its number of finished images, and whether all shards have ended, after
/// these states were merged.
fn after(shards: u32, seen: &[(ShardId, u32, Phase)]) -> (JobPhase, u64, bool) {
    let mut status = status(shards);
    for (id, requests, phase) in seen {
        status.put_shard(ShardStatus::from(&shard(*id, *requests, phase.clone())));
    }
    status.follow_shards();
    (status.phase, status.finished, status.all_shards_ended())
}

#[test]
fn the_least_advanced_shard_decides_the_phase() {
    let (one, two) = (ShardId::first(0), ShardId::first(1));
    let planned = Phase::Planned { attempts: 0 };
    let held = Phase::Held {
        reason: "why".to_owned(),
        before: Box::new(planned.clone()),
    };
    assert_eq!(after(2, &[]), (JobPhase::Submitting, 0, false));
    assert_eq!(
        after(2, &[(one, 10, done(None))]),
        (JobPhase::Submitting, 10, false)
    );
    assert_eq!(
        after(2, &[(one, 10, done(None)), (two, 10, planned)]),
        (JobPhase::Submitting, 10, false)
    );
    assert_eq!(
        after(2, &[(one, 10, done(None)), (two, 10, submitted(3))]),
        (JobPhase::Waiting, 13, false)
    );
    assert_eq!(
        after(2, &[(one, 10, done(None)), (two, 10, held)]),
        (JobPhase::Waiting, 10, false)
    );
    assert_eq!(
        after(2, &[(one, 10, done(None)), (two, 10, Phase::Cancelled)]),
        (JobPhase::Collecting, 20, true)
    );
}

#[test]
fn a_shard_has_ended_when_its_last_round_has() {
    let (first, round) = (ShardId::first(0), ShardId::first(0).next_round());
    let parent = (first, 10, done(Some(round)));
    // The round that the parent names has no entry yet.
    assert_eq!(
        after(1, std::slice::from_ref(&parent)),
        (JobPhase::Submitting, 10, false)
    );
    assert_eq!(
        after(1, &[parent.clone(), (round, 4, submitted(1))]),
        (JobPhase::Waiting, 7, false)
    );
    assert_eq!(
        after(1, &[parent, (round, 4, done(None))]),
        (JobPhase::Collecting, 10, true)
    );
    // A round without an entry of its first round does not count as a shard of the plan.
    assert!(!after(1, &[(round, 4, done(None))]).2);
}

#[test]
fn a_blocked_job_stays_blocked_whatever_its_shards_do() {
    let mut status = status(1);
    status.blocker = Some(Blocker::missing("jobs/a-1/plan.jsonl", NOW));
    status.put_shard(ShardStatus::from(&shard(ShardId::first(0), 10, done(None))));
    status.follow_shards();
    assert_eq!(
        (status.phase, status.finished, status.all_shards_ended()),
        (JobPhase::Blocked, 10, true)
    );
}

#[test]
fn progress_is_listed_by_lane_unless_there_are_only_batches() {
    let entry = |id: ShardId, lane: Lane, phase: Phase| ShardStatus {
        lane,
        ..ShardStatus::from(&shard(id, 10, phase))
    };
    let (first, second) = (ShardId::first(0), ShardId::first(1));
    let mut status = status(3);
    status.put_shard(entry(first, Lane::Batch, submitted(3)));
    status.follow_shards();
    assert_eq!(status.lanes, []);
    let text = serde_json::to_string(&status).unwrap();
    assert!(!text.contains("lane"), "{text}");

    // What failed in the flex tier is retried in the interactive lane.
    let round = second.next_round();
    status.put_shard(entry(second, Lane::Flex, done(Some(round))));
    status.put_shard(entry(round, Lane::Interactive, submitted(6)));
    status.put_shard(entry(ShardId::first(2), Lane::Flex, submitted(1)));
    status.follow_shards();
    let lanes = serde_json::to_value(&status.lanes).unwrap();
    let expected = json!([
        { "lane": "batch", "images": 10, "finished": 3 },
        { "lane": "flex", "images": 20, "finished": 7 },
    ]);
    assert_eq!((lanes, status.finished), (expected, 10));
}

#[test]
fn the_entry_of_a_synchronous_shard_names_its_lane() {
    let entry = ShardStatus {
        lane: Lane::Flex,
        ..ShardStatus::from(&shard(ShardId::first(3), 10, Phase::Cancelled))
    };
    let value = serde_json::to_value(&entry).unwrap();
    assert_eq!(value["lane"], "flex");
    assert_eq!(serde_json::from_value::<ShardStatus>(value).unwrap(), entry);
}

#[test]
fn the_stored_form_of_an_entry_is_stable() {
    let entry = ShardStatus::from(&shard(ShardId::first(3), 10, submitted(4)));
    let text = serde_json::to_string(&entry).unwrap();
    assert_eq!(
        text,
        r#"{"shard":"0003","phase":"submitted","requests":10,"finished":4,"batch":"batches/b"}"#
    );
    assert_eq!(serde_json::from_str::<ShardStatus>(&text).unwrap(), entry);
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        (0..3_u32).prop_map(|attempts| Phase::Planned { attempts }),
        (0..=10_u32).prop_map(submitted),
        Just(done(None)),
        Just(Phase::Cancelled),
    ]
}

proptest! {
    /// The last entry of each shard counts, whatever the order and the number of its entries.
    #[test]
    fn the_order_of_the_entries_does_not_matter(
        heard in proptest::collection::vec((0..5_u32, any_phase()), 1..40),
        seed in any::<u64>(),
    ) {
        let mut last = std::collections::BTreeMap::new();
        for (number, phase) in &heard {
            last.insert(*number, phase.clone());
        }
        let listed = |(number, phase): (&u32, &Phase)| (ShardId::first(*number), 10, phase.clone());
        let in_turn: Vec<_> = heard.iter().map(|(number, phase)| listed((number, phase))).collect();
        let mut shuffled: Vec<_> = last.iter().map(listed).collect();
        let turn = seed as usize % shuffled.len();
        shuffled.rotate_left(turn);
        prop_assert_eq!(after(5, &in_turn), after(5, &shuffled));
    }
}
