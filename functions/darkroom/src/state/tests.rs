//! What a shard does in each phase, and what it keeps. The table of phases and messages is in `table`.

mod table;

use std::fmt::Debug;

use table::cells;

use super::*;
use crate::names::{BatchName, FileName};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);
const LATER: Timestamp = Timestamp::constant(2_000_000, 0);
const EARLIER: Timestamp = Timestamp::constant(500_000, 0);

const DEMAND: Demand = Demand { requests: 3, tokens: 10, usd: Usd::ZERO };

fn shard(phase: Phase, deadline: Timestamp) -> Shard {
    Shard { phase, deadline, ..Shard::planned(&JobId::new("job"), ShardId::first(0), "model", DEMAND, (0, 9), NOW) }
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

/// Which message arrives.
const DRIVER: &str = "m-1";

fn arrival(message: &str, stopped: bool) -> Arrival<'_> {
    Arrival { message, at: NOW, stopped }
}

/// What a message on (shards), (polls) and (results) means.
fn steps(shard: &Shard, arrival: &Arrival<'_>) -> [String; 3] {
    [name(submit_step(shard, arrival)), name(poll_step(shard, arrival)), name(collect_step(shard, arrival))]
}

fn creating(lease_until: Timestamp) -> Phase {
    Phase::Creating { attempt: 1, file: FileName::new("files/f"), lease_until }
}

fn recovering(quiet_until: Timestamp, missed_at: Option<Timestamp>) -> Phase {
    Phase::Recovering { attempt: 1, file: FileName::new("files/f"), quiet_until, missed_at }
}

fn submitted(cancelled_at: Option<Timestamp>) -> Phase {
    let batch = BatchName::new("batches/b");
    Phase::Submitted { attempt: 1, batch, submitted_at: EARLIER, finished: 0, cancelled_at }
}

fn collecting(tries: u32, lease_until: Option<Timestamp>) -> Phase {
    Phase::Collecting { ended: ended(), offset: 7, parts: vec![7], tries, strikes: 0, lease_until }
}

fn held(before: Phase) -> Phase {
    Phase::Held { reason: "why".to_owned(), before: Box::new(before) }
}

fn done(next: Option<ShardId>) -> Phase {
    Phase::Done { ended: ended(), parts: vec![7], next, cost_usd: None }
}

fn failed() -> Phase {
    Phase::Failed { code: "HELD".to_owned(), message: "why".to_owned(), parts: Vec::new(), may_be_billed: false }
}

#[test]
fn a_batch_past_its_deadline_is_cancelled_once_and_then_overdue() {
    let ask = |cancelled_at, deadline, stopped| match poll_step(
        &shard(submitted(cancelled_at), deadline),
        &arrival(DRIVER, stopped),
    ) {
        PollStep::Ask { cancel, overdue, .. } => (cancel, overdue),
        step => panic!("{step:?}"),
    };
    assert_eq!(ask(None, LATER, false), (false, false));
    assert_eq!(ask(None, LATER, true), (true, false));
    assert_eq!(ask(None, EARLIER, false), (true, true));
    assert_eq!(ask(Some(EARLIER), LATER, true), (false, false));
    assert_eq!(ask(Some(EARLIER), EARLIER, false), (false, true));
    // Gemini may not have said a word for hours.
    assert_eq!(ask(None, NOW - SignedDuration::from_mins(119), false), (true, false));
}

#[test]
fn attempts_count_up_and_a_time_has_come_when_it_is_there() {
    let step = |phase| submit_step(&shard(phase, LATER), &arrival(DRIVER, false));
    assert_eq!(step(Phase::Planned { attempts: 2 }), SubmitStep::Submit { attempt: 3 });
    let uploading = Phase::Uploading { attempt: 2, lease_until: NOW };
    assert_eq!(step(uploading), SubmitStep::Submit { attempt: 3 });
    assert!(matches!(step(creating(NOW)), SubmitStep::Recover { .. }));
    assert!(matches!(step(recovering(NOW, None)), SubmitStep::Look { last: false, .. }));
    assert_eq!(step(recovering(NOW, Some(NOW))), SubmitStep::Wait(NOW + BETWEEN_LISTS));
    let listed = Some(NOW - BETWEEN_LISTS);
    assert!(matches!(step(recovering(NOW, listed)), SubmitStep::Look { last: true, .. }));
    let held = shard(held(Phase::Planned { attempts: 3 }), NOW);
    assert_eq!(submit_step(&held, &arrival(DRIVER, false)), SubmitStep::GiveUp);
}

#[test]
fn a_reader_whose_lease_has_ended_is_a_strike_and_counts_for_no_try() {
    let read = |strikes, lease_until| {
        let ended = ended();
        let phase =
            Phase::Collecting { ended, offset: 0, parts: Vec::new(), tries: READS_BEFORE_HELD, strikes, lease_until };
        collect_step(&shard(phase, LATER), &arrival(DRIVER, false))
    };
    assert!(matches!(read(0, Some(NOW)), CollectStep::Read { strikes: 1, .. }), "it ends when it says");
    assert!(matches!(read(1, None), CollectStep::Read { strikes: 1, .. }));
    assert_eq!(read(0, None), CollectStep::Hold);
}

#[test]
fn a_create_that_went_unanswered_is_looked_for_twice_and_at_last_held() {
    let look = |missed_at, unknown_creates| {
        let shard = Shard { unknown_creates, ..shard(recovering(EARLIER, missed_at), LATER) };
        match submit_step(&shard, &arrival(DRIVER, false)) {
            SubmitStep::Look { last, hold, .. } => (last, hold),
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(look(None, 1), (false, false));
    assert_eq!(look(Some(EARLIER), 1), (true, false));
    assert_eq!(look(Some(NOW - BETWEEN_LISTS), UNKNOWN_CREATES_BEFORE_HELD), (true, true));
}

#[test]
fn readers_that_die_are_strikes_and_no_tries() {
    let read =
        |tries, lease_until| match collect_step(&shard(collecting(tries, lease_until), LATER), &arrival(DRIVER, false))
        {
            CollectStep::Read { tries, strikes, .. } => Some((tries, strikes)),
            CollectStep::Hold => None,
            step => panic!("{step:?}"),
        };
    assert_eq!(read(1, None), Some((1, 0)));
    assert_eq!(read(1, Some(EARLIER)), Some((1, 1)));
    assert_eq!(read(READS_BEFORE_HELD, Some(EARLIER)), Some((READS_BEFORE_HELD, 1)));
    assert_eq!(read(READS_BEFORE_HELD, None), None);
}

#[test]
fn a_message_that_comes_back_gives_a_sign_of_life_each_hour() {
    let shard = shard(submitted(None), LATER).driven_by(DRIVER, NOW);
    let minutes = |minutes| NOW + SignedDuration::from_mins(minutes);
    assert!(shard.knows_of(DRIVER, minutes(15)) && shard.knows_of(DRIVER, minutes(59)));
    assert!(!shard.knows_of(DRIVER, minutes(60)) && !shard.knows_of("m-2", minutes(15)));
}

#[test]
fn a_driver_is_kept_within_one_function_and_a_note_within_one_phase() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER).driven_by(DRIVER, NOW).waiting("its turn");
    assert_eq!(planned.waiting.as_deref(), Some("its turn"));
    let driver = Some(Driver { message: DRIVER.to_owned(), back_at: NOW });
    assert_eq!(planned.driver, driver);
    let creating = planned.enter(creating(LATER), LATER);
    assert_eq!((creating.driver.clone(), creating.waiting.clone()), (driver, None));
    let submitted = creating.enter(submitted(None), LATER);
    assert_eq!((submitted.driver, submitted.waiting), (None, None));
}

#[test]
fn a_message_is_lost_two_hours_after_it_should_have_come_back() {
    let back_at = |back_at| shard(submitted(None), LATER).driven_by(DRIVER, back_at);
    let nearly = SignedDuration::from_mins(119);
    assert!(!back_at(NOW - nearly).has_lost_its_driver(NOW) && back_at(NOW - OVERDUE).has_lost_its_driver(NOW));
    assert!(back_at(NOW - nearly).is_driven_by_another("m-2", NOW));
    assert!(!back_at(NOW - OVERDUE).is_driven_by_another("m-2", NOW));
    assert!(!back_at(NOW).is_driven_by_another(DRIVER, NOW));
    // Where no message has come yet, it counts from the last change.
    let without = shard(submitted(None), LATER);
    assert!(!without.has_lost_its_driver(NOW + nearly) && without.has_lost_its_driver(NOW + OVERDUE));
    assert!(!without.is_driven_by_another(DRIVER, NOW));
    assert!(!shard(failed(), LATER).driven_by(DRIVER, EARLIER).has_lost_its_driver(LATER));
}

#[test]
fn a_round_asks_for_its_share_rounded_up() {
    let demand = Demand { requests: 3, tokens: 10, usd: "1".parse().unwrap() };
    let parent = Shard { demand, ..shard(Phase::Ready { ended: ended() }, LATER) };
    let round = |keys: usize| parent.next_round(vec![RequestKey::new("a"); keys], NOW).demand;
    assert_eq!(round(1), Demand { requests: 1, tokens: 4, usd: "0.333334".parse().unwrap() });
    assert_eq!(round(3), demand);
}

#[test]
fn what_is_cancelled_held_or_given_up_says_so() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER);
    let cancelled = planned.cancelled();
    assert!(cancelled.stopped && cancelled.is_terminal() && cancelled.phase == Phase::Cancelled);
    let ends = |shard: &Shard| match shard.given_up().phase {
        Phase::Failed { code, message, .. } => (code, message),
        phase => panic!("{phase:?}"),
    };
    assert_eq!(ends(&planned.held("no credit", NOW)), ("HELD".to_owned(), "no credit".to_owned()));
    assert_eq!(ends(&planned.waiting("its turn")), ("DEADLINE".to_owned(), "its turn".to_owned()));
    assert_eq!(ends(&planned), ("DEADLINE".to_owned(), "it waited for too long".to_owned()));
}

#[test]
fn every_phase_knows_its_owner_its_batch_and_whether_it_may_be_live() {
    let batch = BatchName::new("batches/b");
    for (phase, ..) in cells() {
        let (known, live) = match phase.before_held().name() {
            "submitted" => (Some(&batch), true),
            "ready" | "collecting" | "done" => (Some(&batch), false),
            "creating" | "recovering" => (None, true),
            _ => (None, false),
        };
        assert_eq!((phase.batch(), phase.may_have_live_batch()), (known, live), "{phase:?}");
        assert_eq!(shard(phase.clone(), LATER).is_terminal(), phase.owner() == Owner::Nobody);
    }
}

#[test]
fn waits_and_deadlines_are_those_that_are_written_down() {
    let hours =
        [BATCH_DEADLINE, CANCEL_GRACE, COLLECT_DEADLINE, SUBMIT_DEADLINE, RECOVER_DEADLINE, HELD_DEADLINE, OVERDUE];
    assert_eq!(hours.map(|wait| wait.as_hours()), [46, 2, 48, 168, 24, 24, 2]);
    assert_eq!([QUIET_PERIOD, BETWEEN_LISTS, LONGEST_WAIT].map(|wait| wait.as_mins()), [30, 1, 690]);
    assert_eq!((UNKNOWN_CREATES_BEFORE_HELD, READS_BEFORE_HELD), (3, 5));
    assert_eq!((STRIKES_BEFORE_SKIPPED, ERRORS_BEFORE_HELD), (3, 5));
}

#[test]
fn a_held_shard_is_not_given_up_while_its_batch_may_live() {
    let held = |at| shard(submitted(Some(EARLIER)), LATER).held("why", at).deadline;
    assert_eq!((held(EARLIER), held(NOW)), (EARLIER + BATCH_ENDED, NOW + HELD_DEADLINE));
}

#[test]
fn what_a_person_approves_goes_on_where_it_was() {
    let batch = shard(submitted(Some(EARLIER)), LATER).held("why", NOW).approved(NOW).unwrap();
    assert_eq!((batch.phase.name(), batch.driver, batch.errors), ("submitted", None, 0));
    assert!(matches!(batch.phase, Phase::Submitted { cancelled_at: None, .. }) && batch.deadline > EARLIER);
    let lost = Shard { unknown_creates: 3, ..shard(recovering(EARLIER, Some(EARLIER)), LATER) };
    let lost = lost.held("why", NOW).approved(NOW).unwrap();
    assert_eq!((lost.phase, lost.unknown_creates), (recovering(NOW, None), 0));
    assert_eq!(lost.deadline, NOW + RECOVER_DEADLINE);
    let asked = shard(creating(EARLIER), LATER).held("why", NOW).approved(NOW).unwrap();
    assert_eq!((asked.phase, asked.deadline), (recovering(NOW, None), NOW + RECOVER_DEADLINE));
    for (phase, wait) in
        [(Phase::Planned { attempts: 2 }, SUBMIT_DEADLINE), (Phase::Ready { ended: ended() }, COLLECT_DEADLINE)]
    {
        assert_eq!(shard(phase, LATER).held("why", NOW).approved(NOW).unwrap().deadline, NOW + wait);
    }
    let soon = shard(submitted(None), LATER).held("why", EARLIER).approved(EARLIER).unwrap();
    assert_eq!(soon.deadline, EARLIER + BATCH_DEADLINE);
    // After errors, which are forgotten, and whichever message comes first moves it on.
    let weary =
        Shard { errors: 4, ..shard(submitted(None), LATER).driven_by(DRIVER, NOW) }.after_error("no answer", NOW);
    let fresh = weary.approved(NOW).unwrap();
    assert_eq!((weary.errors, weary.driver.is_some(), fresh.errors, fresh.driver), (4, true, 0, None));
    let read = shard(collecting(5, None), EARLIER).held("why", NOW).approved(NOW).unwrap();
    assert_eq!((read.phase, read.deadline), (collecting(0, None), NOW + COLLECT_DEADLINE));
    assert_eq!(shard(submitted(None), LATER).approved(NOW), None);
}

#[test]
fn the_fifth_error_in_a_row_holds_the_shard() {
    let mut shard = shard(Phase::Planned { attempts: 0 }, LATER);
    for attempt in 1..ERRORS_BEFORE_HELD {
        let uploading = shard.enter(Phase::Uploading { attempt, lease_until: LATER }, LATER);
        shard = uploading.enter(Phase::Planned { attempts: attempt }, LATER).after_error("no connection", NOW);
        assert_eq!((shard.errors, shard.phase.name()), (attempt, "planned"));
    }
    assert_eq!(shard.waiting.as_deref(), Some("no connection"));
    let shard = shard.after_error("no connection", NOW);
    assert!(matches!(&shard.phase, Phase::Held { reason, .. } if reason.contains("no connection")), "{shard:?}");
    assert_eq!(shard.deadline, NOW + HELD_DEADLINE);
}

#[test]
fn what_was_collected_before_a_shard_was_held_is_not_forgotten() {
    let phase =
        Phase::Collecting { ended: ended(), offset: 7, parts: vec![3, 7], tries: 5, strikes: 0, lease_until: None };
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
    assert_eq!((round.shard.to_string().as_str(), round.phase.name()), ("0000.r2", "planned"));
    assert_eq!((round.demand.requests, round.demand.tokens), (2, 7));
    assert_eq!(round.keys, Some(vec![RequestKey::new("a"), RequestKey::new("b")]));
    assert_eq!(round.deadline, NOW + SUBMIT_DEADLINE);
    assert_eq!((round.plan_bytes, round.model), (parent.plan_bytes, parent.model));
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let shard = shard(collecting(1, Some(LATER)), LATER).driven_by(DRIVER, LATER);
    let text = serde_json::to_string(&shard).unwrap();
    assert_eq!(serde_json::from_str::<Shard>(&text).unwrap(), shard);
    assert!(text.contains(r#""phase":{"name":"collecting""#), "{text}");
}
