use std::fmt::Debug;

use super::*;

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);
const LATER: Timestamp = Timestamp::constant(2_000_000, 0);
const EARLIER: Timestamp = Timestamp::constant(500_000, 0);

fn shard(phase: Phase, deadline: Timestamp) -> Shard {
    Shard { phase, deadline, ..Shard::planned(&JobId::new("job"), ShardId::first(0), "model", 3, (0, 9), NOW) }
}

fn ended() -> EndedBatch {
    EndedBatch {
        batch: BatchName::new("batches/b"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: None,
        error: None,
        submitted_at: EARLIER,
        ended_at: NOW,
    }
}

/// The name of a step, without what it carries.
fn name(step: impl Debug) -> String {
    format!("{step:?}").split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[test]
fn every_message_means_something_in_every_phase() {
    let (file, display_name) = (FileName::new("files/f"), "s/j/0000/1".to_owned());
    let creating = |lease_until| Phase::Creating {
        attempt: 1,
        file: file.clone(),
        display_name: display_name.clone(),
        lease_until,
    };
    let submitted = |cancelled_at| Phase::Submitted {
        attempt: 1,
        batch: BatchName::new("batches/b"),
        submitted_at: EARLIER,
        finished: 0,
        cancelled_at,
    };
    let held = |before| Phase::Held { reason: "why".to_owned(), before: Box::new(before) };
    let collecting =
        |tries, lease_until| Phase::Collecting { ended: ended(), offset: 7, parts: vec![7], tries, lease_until };
    let done = Phase::Done { ended: ended(), parts: vec![7], next: None };
    let failed = Phase::Failed { code: "HELD".to_owned(), message: "why".to_owned(), parts: Vec::new() };
    // Phase, deadline, and what a message on (shards), (polls) and (results) means.
    for (phase, deadline, submit, poll, collect) in [
        (Phase::Planned { attempts: 0 }, LATER, "Submit", "Report", "Report"),
        (Phase::Planned { attempts: 0 }, EARLIER, "GiveUp", "Report", "Report"),
        (Phase::Uploading { attempt: 1, lease_until: LATER }, LATER, "Wait", "Report", "Report"),
        (Phase::Uploading { attempt: 1, lease_until: EARLIER }, LATER, "Submit", "Report", "Report"),
        (creating(LATER), LATER, "Wait", "Report", "Report"),
        (creating(EARLIER), LATER, "Hold", "Report", "Report"),
        (submitted(None), LATER, "Poll", "Ask", "Report"),
        (submitted(Some(NOW)), EARLIER, "Poll", "Ask", "Report"),
        (Phase::Ready { ended: ended() }, LATER, "Report", "Collect", "Read"),
        (Phase::Ready { ended: ended() }, EARLIER, "Report", "Collect", "Hold"),
        (collecting(1, EARLIER), LATER, "Report", "Report", "Read"),
        (collecting(1, LATER), LATER, "Report", "Report", "Wait"),
        (collecting(READS_BEFORE_HELD, EARLIER), LATER, "Report", "Report", "Hold"),
        (collecting(1, EARLIER), EARLIER, "Report", "Report", "Hold"),
        (done, LATER, "Report", "Report", "Report"),
        (held(creating(EARLIER)), LATER, "Wait", "Wait", "Wait"),
        (held(submitted(None)), LATER, "Wait", "Ask", "Wait"),
        (held(submitted(None)), EARLIER, "GiveUp", "GiveUp", "GiveUp"),
        (failed, LATER, "Report", "Report", "Report"),
    ] {
        let shard = shard(phase, deadline);
        let steps = [name(submit_step(&shard, NOW)), name(poll_step(&shard, NOW)), name(collect_step(&shard, NOW))];
        assert_eq!(steps, [submit, poll, collect], "{} until {deadline}", shard.phase.name());
    }
}

#[test]
fn a_batch_past_its_deadline_is_cancelled_once_and_then_overdue() {
    let ask = |cancelled_at, deadline| {
        let phase = Phase::Submitted {
            attempt: 1,
            batch: BatchName::new("batches/b"),
            submitted_at: EARLIER,
            finished: 0,
            cancelled_at,
        };
        match poll_step(&shard(phase, deadline), NOW) {
            PollStep::Ask { cancel, overdue, .. } => (cancel, overdue),
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(ask(None, LATER), (false, false));
    assert_eq!(ask(None, EARLIER), (true, false));
    assert_eq!(ask(Some(EARLIER), LATER), (false, false));
    assert_eq!(ask(Some(EARLIER), EARLIER), (false, true));
}

#[test]
fn the_fifth_error_in_a_row_holds_the_shard() {
    let mut shard = shard(Phase::Planned { attempts: 0 }, LATER);
    for attempt in 1..ERRORS_BEFORE_HELD {
        let uploading = shard.enter(Phase::Uploading { attempt, lease_until: LATER }, LATER);
        shard = uploading.enter(Phase::Planned { attempts: attempt }, LATER).after_error("no connection", NOW);
        assert_eq!((shard.errors, shard.phase.name()), (attempt, "planned"));
    }
    let shard = shard.after_error("no connection", NOW);
    assert!(matches!(&shard.phase, Phase::Held { reason, .. } if reason.contains("no connection")), "{shard:?}");
    assert_eq!(shard.deadline, NOW + HELD_DEADLINE);
}

#[test]
fn what_was_collected_before_a_shard_was_held_is_not_forgotten() {
    let phase = Phase::Collecting { ended: ended(), offset: 7, parts: vec![3, 7], tries: 5, lease_until: EARLIER };
    let failed = shard(phase, LATER).held("why", NOW).held("why again", NOW).given_up();
    assert!(matches!(&failed.phase, Phase::Failed { parts, .. } if *parts == [3, 7]), "{failed:?}");
}

#[test]
fn errors_are_forgotten_when_another_function_takes_over() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER).after_error("no connection", NOW);
    let submitted = planned.enter(
        Phase::Submitted { attempt: 1, batch: BatchName::new("b"), submitted_at: NOW, finished: 0, cancelled_at: None },
        LATER,
    );
    assert_eq!((planned.errors, submitted.errors), (1, 0));
}

#[test]
fn a_round_is_a_new_shard_with_the_given_keys() {
    let parent = shard(Phase::Ready { ended: ended() }, LATER);
    let round = parent.next_round(vec![RequestKey::new("a"), RequestKey::new("b")], NOW);
    assert_eq!((round.shard.to_string().as_str(), round.requests, round.phase.name()), ("0000.r2", 2, "planned"));
    assert_eq!((round.plan_bytes, round.model), (parent.plan_bytes, parent.model));
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let shard =
        shard(Phase::Collecting { ended: ended(), offset: 7, parts: vec![7], tries: 1, lease_until: LATER }, LATER);
    let text = serde_json::to_string(&shard).unwrap();
    assert_eq!(serde_json::from_str::<Shard>(&text).unwrap(), shard);
    assert!(text.contains(r#""phase":{"name":"collecting""#), "{text}");
}
