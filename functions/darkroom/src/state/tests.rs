//! Tests of a shard's transitions, waits and deadlines. The table of phases and messages is in
//! `table`.

mod generate;
mod table;

use std::fmt::Debug;

use table::cells;

use super::*;
use crate::{
    lane::Lane,
    names::{BatchName, FileName, RequestKey},
};

const NOW: Timestamp = Timestamp::constant(1_000_000, 0);
const LATER: Timestamp = Timestamp::constant(2_000_000, 0);
const EARLIER: Timestamp = Timestamp::constant(500_000, 0);

const DEMAND: Demand = Demand {
    requests: 3,
    tokens: 10,
    usd: Usd::ZERO,
};

fn shard(phase: Phase, deadline: Timestamp) -> Shard {
    Shard {
        phase,
        deadline,
        ..Shard::planned(
            &JobId::new("job"),
            ShardId::first(0),
            "model",
            DEMAND,
            (0, 9),
            NOW,
        )
    }
}

fn ended() -> EndedBatch {
    EndedBatch {
        batch: BatchName::new("batches/b"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: Some(BatchOutput::File(FileName::new("files/batch-b"))),
        error: None,
        submitted_at: EARLIER,
        ended_at: NOW,
    }
}

/// The name of a step, without what it carries.
fn name(step: impl Debug) -> String {
    format!("{step:?}")
        .split(|letter: char| !letter.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The id of the message that arrives.
const DRIVER: &str = "m-1";

fn arrival(message: &str, cancel_requested: bool) -> Arrival<'_> {
    Arrival {
        message,
        at: NOW,
        cancel_requested,
    }
}

/// What a message on (shards), (polls) and (results) means.
fn steps(shard: &Shard, arrival: &Arrival<'_>) -> [String; 3] {
    [
        name(submit_step(shard, arrival)),
        name(poll_step(shard, arrival)),
        name(collect_step(shard, arrival)),
    ]
}

fn creating(lease_until: Timestamp) -> Phase {
    Phase::Creating {
        attempt: 1,
        file: FileName::new("files/f"),
        lease_until,
    }
}

fn recovering(quiet_until: Timestamp, missed_at: Option<Timestamp>) -> Phase {
    Phase::Recovering(Recovering {
        attempt: 1,
        file: FileName::new("files/f"),
        quiet_until,
        missed_at,
    })
}

fn submitted(cancelled_at: Option<Timestamp>) -> Phase {
    Phase::Submitted(Submitted {
        cancelled_at,
        ..submitted_fields()
    })
}

fn submitted_fields() -> Submitted {
    Submitted {
        attempt: 1,
        batch: BatchName::new("batches/b"),
        submitted_at: EARLIER,
        finished: 0,
        cancelled_at: None,
        output_missing_since: None,
    }
}

fn chunks() -> Vec<Chunk> {
    vec![Chunk::up_to(7, 2)]
}

fn collecting(tries: u32, lease_until: Option<Timestamp>) -> Phase {
    Phase::Collecting(Collecting {
        offset: 7,
        chunks: chunks(),
        tries,
        lease_until,
        ..Collecting::of(ended())
    })
}

/// A reading that reached the end without a line that belongs to a request.
fn unmatched(buy_again: bool) -> Phase {
    let unmatched = Some(Unmatched {
        images: 3,
        buy_again,
    });
    Phase::Collecting(Collecting {
        unmatched,
        ..Collecting::of(ended())
    })
}

fn held(before: Phase) -> Phase {
    Phase::Held {
        reason: "why".to_owned(),
        before: Box::new(before),
    }
}

fn done(next: Option<ShardId>) -> Phase {
    Phase::Done {
        ended: Some(ended()),
        chunks: chunks(),
        next,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: None,
    }
}

fn failed() -> Phase {
    shard(held(Phase::Planned { attempts: 1 }), NOW)
        .expired()
        .phase
}

#[test]
fn a_batch_past_its_deadline_is_cancelled_once_and_then_overdue() {
    let ask = |cancelled_at, deadline, cancel_requested| match poll_step(
        &shard(submitted(cancelled_at), deadline),
        &arrival(DRIVER, cancel_requested),
    ) {
        PollStep::Ask {
            cancel, overdue, ..
        } => (cancel, overdue),
        step => panic!("{step:?}"),
    };
    assert_eq!(ask(None, LATER, false), (false, false));
    assert_eq!(ask(None, LATER, true), (true, false));
    assert_eq!(ask(None, EARLIER, false), (true, true));
    assert_eq!(ask(Some(EARLIER), LATER, true), (false, false));
    assert_eq!(ask(Some(EARLIER), EARLIER, false), (false, true));
    // Gemini may not have answered for hours.
    assert_eq!(
        ask(None, NOW - SignedDuration::from_mins(119), false),
        (true, false)
    );
}

#[test]
fn attempts_count_up_and_a_deadline_includes_its_own_moment() {
    let step = |phase| submit_step(&shard(phase, LATER), &arrival(DRIVER, false));
    assert_eq!(
        step(Phase::Planned { attempts: 2 }),
        SubmitStep::Submit {
            attempt: 3,
            crashed: false
        }
    );
    let uploading = Phase::Uploading {
        attempt: 2,
        lease_until: NOW,
    };
    assert_eq!(
        step(uploading),
        SubmitStep::Submit {
            attempt: 3,
            crashed: true
        }
    );
    assert!(matches!(step(creating(NOW)), SubmitStep::Recover { .. }));
    assert!(matches!(
        step(recovering(NOW, None)),
        SubmitStep::Look(Look { last: false, .. })
    ));
    assert_eq!(
        step(recovering(NOW, Some(NOW))),
        SubmitStep::Wait(NOW + BETWEEN_LISTS)
    );
    let listed = Some(NOW - BETWEEN_LISTS);
    assert!(matches!(
        step(recovering(NOW, listed)),
        SubmitStep::Look(Look { last: true, .. })
    ));
    let held = shard(held(Phase::Planned { attempts: 3 }), NOW);
    assert_eq!(
        submit_step(&held, &arrival(DRIVER, false)),
        SubmitStep::GiveUp
    );
}

#[test]
fn a_crash_during_an_upload_does_not_extend_the_deadline() {
    let uploading = |deadline| {
        shard(
            Phase::Uploading {
                attempt: 7,
                lease_until: EARLIER,
            },
            deadline,
        )
    };
    let step = |deadline, cancel_requested| {
        submit_step(&uploading(deadline), &arrival(DRIVER, cancel_requested))
    };
    assert_eq!(
        step(LATER, false),
        SubmitStep::Submit {
            attempt: 8,
            crashed: true
        }
    );
    assert_eq!(step(NOW, false), SubmitStep::GiveUp);
    assert_eq!(step(NOW, true), SubmitStep::Stop);
}

#[test]
fn an_unanswered_create_is_looked_up_twice_and_then_held() {
    let look = |phase, unknown_creates, deadline, cancel_requested| {
        let shard = Shard {
            unknown_creates,
            ..shard(phase, deadline)
        };
        match submit_step(&shard, &arrival(DRIVER, cancel_requested)) {
            SubmitStep::Look(Look {
                last,
                ask_operator,
                stop,
                overdue,
                ..
            }) => (last, ask_operator, stop, overdue),
            step => panic!("{step:?}"),
        }
    };
    let first = || recovering(EARLIER, None);
    assert_eq!(look(first(), 1, LATER, false), (false, false, false, false));
    assert_eq!(
        look(recovering(EARLIER, Some(EARLIER)), 1, LATER, false),
        (true, false, false, false)
    );
    let listed = Some(NOW - BETWEEN_LISTS);
    assert_eq!(
        look(
            recovering(EARLIER, listed),
            UNKNOWN_CREATES_BEFORE_HELD,
            LATER,
            false
        ),
        (true, true, false, false)
    );
    // A cancel and a passed deadline change what follows from a lookup, but do not replace it.
    assert_eq!(look(first(), 1, LATER, true), (false, false, true, false));
    assert_eq!(look(first(), 1, NOW, false), (false, false, false, true));
    // A held shard is still looked up.
    assert_eq!(
        look(held(first()), 1, LATER, false),
        (false, false, false, false)
    );
    assert_eq!(
        look(held(first()), 1, LATER, true),
        (false, false, true, false)
    );
}

#[test]
fn a_reader_that_keeps_its_lease_counts_as_a_crash() {
    let read = |tries, lease_until| match collect_step(
        &shard(collecting(tries, lease_until), LATER),
        &arrival(DRIVER, false),
    ) {
        CollectStep::Read(collecting) => {
            (collecting.tries, collecting.crashes, collecting.lease_until)
        }
        step => panic!("{step:?}"),
    };
    assert_eq!(read(1, None), (1, 0, None));
    assert_eq!(read(1, Some(EARLIER)), (1, 1, None));
    assert_eq!(
        read(1, Some(NOW)),
        (1, 1, None),
        "a lease has expired at its end"
    );
}

#[test]
fn an_output_is_read_for_as_long_as_gemini_keeps_it() {
    for before in [
        Phase::Ready { ended: ended() },
        collecting(READS_BEFORE_HELD * 9, None),
    ] {
        let held = shard(before, LATER).held("why", NOW);
        assert_eq!(held.deadline, NOW + OUTPUT_KEPT);
        let at = |at| {
            collect_step(
                &held,
                &Arrival {
                    message: DRIVER,
                    at,
                    cancel_requested: false,
                },
            )
        };
        assert!(matches!(
            at(NOW + OUTPUT_KEPT - SignedDuration::from_secs(1)),
            CollectStep::Read(_)
        ));
        assert_eq!(at(NOW + OUTPUT_KEPT), CollectStep::GiveUp);
    }
}

#[test]
fn an_output_without_a_line_for_a_request_waits_for_an_operator() {
    let step = |phase, deadline, cancel_requested| {
        collect_step(&shard(phase, deadline), &arrival(DRIVER, cancel_requested))
    };
    assert_eq!(
        step(held(unmatched(false)), LATER, false),
        CollectStep::Wait(LATER)
    );
    for (phase, deadline, cancel_requested) in [
        (held(unmatched(false)), LATER, true),
        (held(unmatched(false)), NOW, false),
        (unmatched(true), LATER, false),
    ] {
        assert!(matches!(
            step(phase, deadline, cancel_requested),
            CollectStep::Finish(_)
        ));
    }
    let held = shard(unmatched(false), LATER).held("why", NOW);
    assert_eq!(held.deadline, NOW + HELD_DEADLINE);
    assert_eq!(held.approved(NOW).unwrap().phase, unmatched(true));
    // An output without any usable line is read again, even after a cancel.
    let nothing = |buy_again| {
        let unmatched = Some(Unmatched {
            images: 0,
            buy_again,
        });
        Phase::Collecting(Collecting {
            unmatched,
            ..Collecting::of(ended())
        })
    };
    let held = shard(nothing(false), LATER).held("why", NOW);
    assert_eq!(held.deadline, NOW + OUTPUT_KEPT);
    for cancel_requested in [false, true] {
        assert!(matches!(
            collect_step(&held, &arrival(DRIVER, cancel_requested)),
            CollectStep::Read(_)
        ));
    }
    assert!(matches!(
        step(nothing(true), LATER, false),
        CollectStep::Finish(_)
    ));
}

#[test]
fn waits_grow_and_stay_within_the_receives_of_a_queue() {
    let retry = |errors| retry_wait(errors).as_mins();
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(retry), [1, 1, 2, 4, 8, 15, 15]);
    assert_eq!([101, 102, u32::MAX].map(retry), [15, 60, 60]);
    let read = |tries| read_wait(tries).as_mins();
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 7, 8, u32::MAX].map(read),
        [1, 1, 4, 16, 60, 120, 360, 360, 360]
    );
    // A message is received at most 1,000 times, and kept for 14 days.
    let receives = |wait: fn(u32) -> SignedDuration| {
        let mut passed = SignedDuration::ZERO;
        (1..)
            .take_while(|count| {
                passed += wait(*count);
                passed < SignedDuration::from_hours(14 * 24)
            })
            .count()
    };
    assert!(receives(retry_wait) < 500 && receives(read_wait) < 100);
}

#[test]
fn a_lease_ends_with_its_invocation() {
    let without = |phase, failed| {
        shard(phase, LATER)
            .without_lease(failed, NOW)
            .map(|shard| shard.phase)
    };
    for failed in [false, true] {
        assert_eq!(
            without(
                Phase::Uploading {
                    attempt: 1,
                    lease_until: LATER
                },
                failed
            ),
            Some(Phase::Uploading {
                attempt: 1,
                lease_until: NOW
            })
        );
        assert_eq!(without(creating(LATER), failed), Some(creating(NOW)));
        for phase in [
            creating(EARLIER),
            collecting(3, None),
            Phase::Planned { attempts: 0 },
            submitted(None),
        ] {
            assert_eq!(without(phase, failed), None);
        }
    }
    // The end of the process counts neither as a try nor as a crash.
    assert_eq!(
        without(collecting(3, Some(LATER)), false),
        Some(collecting(2, None))
    );
    assert_eq!(
        without(collecting(3, Some(LATER)), true),
        Some(collecting(3, Some(NOW)))
    );
    // Its driver counts as lost if it does not return from now on.
    let driven = shard(collecting(3, Some(LATER)), LATER).driven_by(DRIVER, LATER);
    assert_eq!(
        driven
            .without_lease(false, NOW)
            .unwrap()
            .driver
            .unwrap()
            .back_at,
        NOW
    );
}

#[test]
fn a_returning_driver_is_recorded_every_hour() {
    let shard = shard(submitted(None), LATER).driven_by(DRIVER, NOW);
    let minutes = |minutes| NOW + SignedDuration::from_mins(minutes);
    assert!(
        shard.is_driver_current(DRIVER, minutes(15))
            && shard.is_driver_current(DRIVER, minutes(59))
    );
    assert!(
        !shard.is_driver_current(DRIVER, minutes(60))
            && !shard.is_driver_current("m-2", minutes(15))
    );
}

#[test]
fn a_driver_is_kept_within_one_function_and_a_note_within_one_phase() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER)
        .driven_by(DRIVER, NOW)
        .waiting("its turn");
    assert_eq!(planned.waiting.as_deref(), Some("its turn"));
    let driver = Some(Driver {
        message: DRIVER.to_owned(),
        back_at: NOW,
    });
    assert_eq!(planned.driver, driver);
    let creating = planned.enter(creating(LATER), LATER);
    assert_eq!(
        (creating.driver.clone(), creating.waiting.clone()),
        (driver, None)
    );
    let submitted = creating.enter(submitted(None), LATER);
    assert_eq!((submitted.driver, submitted.waiting), (None, None));
}

#[test]
fn a_driver_is_lost_two_hours_after_its_expected_return() {
    let back_at = |back_at| shard(submitted(None), LATER).driven_by(DRIVER, back_at);
    let nearly = SignedDuration::from_mins(119);
    assert!(
        !back_at(NOW - nearly).has_lost_its_driver(NOW)
            && back_at(NOW - DRIVER_LOST_AFTER).has_lost_its_driver(NOW)
    );
    assert!(back_at(NOW - nearly).is_driven_by_another("m-2", NOW));
    assert!(!back_at(NOW - DRIVER_LOST_AFTER).is_driven_by_another("m-2", NOW));
    assert!(!back_at(NOW).is_driven_by_another(DRIVER, NOW));
    // Without a driver, the two hours count from the last change.
    let without = shard(submitted(None), LATER);
    assert!(
        !without.has_lost_its_driver(NOW + nearly)
            && without.has_lost_its_driver(NOW + DRIVER_LOST_AFTER)
    );
    assert!(!without.is_driven_by_another(DRIVER, NOW));
    assert!(
        !shard(failed(), LATER)
            .driven_by(DRIVER, EARLIER)
            .has_lost_its_driver(LATER)
    );
}

#[test]
fn a_round_asks_for_its_share_rounded_up() {
    let demand = Demand {
        requests: 3,
        tokens: 10,
        usd: "1".parse().unwrap(),
    };
    let parent = Shard {
        demand,
        ..shard(Phase::Ready { ended: ended() }, LATER)
    };
    let keys = |count: usize| KeyList::of(&vec![RequestKey::new("a"); count]).unwrap().0;
    let round = |count| {
        parent
            .next_round(keys(count), Lane::Batch, None, NOW)
            .demand
    };
    assert_eq!(
        round(1),
        Demand {
            requests: 1,
            tokens: 4,
            usd: "0.333334".parse().unwrap()
        }
    );
    assert_eq!(round(3), demand);
}

#[test]
fn a_cancelled_held_or_expired_shard_records_the_reason() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER);
    let cancelled = planned.cancelled();
    assert!(
        cancelled.cancel_requested
            && cancelled.is_terminal()
            && cancelled.phase == Phase::Cancelled
    );
    let ends = |shard: &Shard| match shard.expired().phase {
        Phase::Failed(failed) => (failed.code, failed.message),
        phase => panic!("{phase:?}"),
    };
    assert_eq!(
        ends(&planned.held("no credit", NOW)),
        ("HELD".to_owned(), "no credit".to_owned())
    );
    assert_eq!(
        ends(&planned.waiting("its turn")),
        ("DEADLINE".to_owned(), "its turn".to_owned())
    );
    assert_eq!(
        ends(&planned),
        ("DEADLINE".to_owned(), "it waited for too long".to_owned())
    );
}

#[test]
fn every_phase_has_its_owner_its_batch_and_whether_that_may_be_live() {
    let batch = BatchName::new("batches/b");
    for (phase, ..) in cells() {
        let (known, live) = match phase.before_held().name() {
            "submitted" => (Some(&batch), true),
            "ready" | "collecting" | "done" => (Some(&batch), false),
            "creating" | "recovering" => (None, true),
            _ => (None, false),
        };
        assert_eq!(
            (phase.batch(), phase.may_have_live_batch()),
            (known, live),
            "{phase:?}"
        );
        assert_eq!(
            shard(phase.clone(), LATER).is_terminal(),
            phase.owner() == Owner::None
        );
    }
}

#[test]
fn waits_and_deadlines_are_as_documented() {
    let hours = [
        BATCH_DEADLINE,
        BATCH_MAX_LIFETIME,
        CANCEL_GRACE,
        COLLECT_PATIENCE,
        RECOVER_DEADLINE,
        DRIVER_LOST_AFTER,
        OUTPUT_LATE,
    ];
    assert_eq!(hours.map(|wait| wait.as_hours()), [46, 50, 2, 48, 24, 2, 1]);
    let days = [SUBMIT_DEADLINE, HELD_DEADLINE, OUTPUT_KEPT, OUTPUT_DOUBTFUL];
    assert_eq!(days.map(|wait| wait.as_hours() / 24), [7, 7, 42, 1]);
    assert_eq!(
        [QUIET_PERIOD, BETWEEN_LISTS, LONGEST_WAIT].map(|wait| wait.as_mins()),
        [30, 1, 690]
    );
    assert_eq!(
        (
            UNKNOWN_CREATES_BEFORE_HELD,
            REFUSED_CREATES_BEFORE_HELD,
            READS_BEFORE_HELD
        ),
        (3, 5, 5)
    );
    assert_eq!(CRASHES_BEFORE_SKIPPED, 3);
}

#[test]
fn a_held_shard_waits_for_as_long_as_it_may_still_get_images() {
    let held = |phase, at| shard(phase, LATER).held("why", at).deadline;
    // Gemini may still produce an output, and keeps it for six weeks.
    assert_eq!(
        held(submitted(Some(EARLIER)), NOW),
        EARLIER + BATCH_MAX_LIFETIME + OUTPUT_KEPT
    );
    // A batch may exist that no list has shown yet.
    assert_eq!(held(recovering(EARLIER, None), NOW), NOW + OUTPUT_KEPT);
    assert_eq!(held(creating(EARLIER), NOW), NOW + OUTPUT_KEPT);
    // Only the operator's decision is missing.
    assert_eq!(
        held(recovering(EARLIER, Some(EARLIER)), NOW),
        NOW + HELD_DEADLINE
    );
    assert_eq!(
        held(Phase::Planned { attempts: 1 }, NOW),
        NOW + HELD_DEADLINE
    );
}

#[test]
fn an_approved_shard_continues_where_it_was() {
    let approved = |phase: Phase, at| shard(phase, LATER).held("why", at).approved(at).unwrap();
    let batch = approved(submitted(Some(EARLIER)), NOW);
    assert_eq!(
        (batch.phase.name(), batch.driver, batch.errors),
        ("submitted", None, 0)
    );
    assert!(batch.phase == submitted(None) && batch.deadline > EARLIER);
    let lost = Shard {
        unknown_creates: 3,
        ..shard(recovering(EARLIER, Some(EARLIER)), LATER)
    };
    let lost = lost.held("why", NOW).approved(NOW).unwrap();
    assert_eq!(
        (lost.phase, lost.unknown_creates),
        (recovering(NOW, None), 0)
    );
    assert_eq!(lost.deadline, NOW + RECOVER_DEADLINE);
    let asked = approved(creating(EARLIER), NOW);
    assert_eq!(
        (asked.phase, asked.deadline),
        (recovering(NOW, None), NOW + RECOVER_DEADLINE)
    );
    assert_eq!(
        approved(Phase::Planned { attempts: 2 }, NOW).deadline,
        NOW + SUBMIT_DEADLINE
    );
    assert_eq!(
        approved(Phase::Ready { ended: ended() }, LATER).deadline,
        NOW + OUTPUT_KEPT
    );
    assert_eq!(
        approved(submitted(None), EARLIER).deadline,
        EARLIER + BATCH_DEADLINE
    );
    // Errors are reset, and the next message becomes the driver.
    let tired = Shard {
        errors: 4,
        refused_creates: 5,
        ..shard(submitted(None), LATER).driven_by(DRIVER, NOW)
    };
    let fresh = tired.held("no answer", NOW).approved(NOW).unwrap();
    assert_eq!(
        (fresh.errors, fresh.refused_creates, fresh.driver),
        (0, 0, None)
    );
    let read = approved(collecting(5, None), EARLIER);
    assert_eq!(
        (read.phase, read.deadline),
        (collecting(0, None), NOW + OUTPUT_KEPT)
    );
    assert_eq!(shard(submitted(None), LATER).approved(NOW), None);
}

#[test]
fn approving_a_batch_without_output_lets_its_images_be_bought_again() {
    let submitted = Submitted {
        output_missing_since: Some(NOW),
        ..submitted_fields()
    };
    let held = shard(Phase::Submitted(submitted), LATER).held("why", LATER);
    let Phase::Ready { ended } = held.approved(LATER).unwrap().phase else {
        panic!("{held:?}")
    };
    assert_eq!(
        (ended.output, ended.ended_at, ended.batch),
        (None, NOW, BatchName::new("batches/b"))
    );
}

#[test]
fn an_error_is_counted_and_becomes_the_reason_for_waiting() {
    let mut shard = shard(Phase::Planned { attempts: 0 }, LATER);
    for attempt in 1..=20 {
        let uploading = shard.enter(
            Phase::Uploading {
                attempt,
                lease_until: LATER,
            },
            LATER,
        );
        shard = uploading
            .enter(Phase::Planned { attempts: attempt }, LATER)
            .after_error("no connection");
        assert_eq!((shard.errors, shard.phase.name()), (attempt, "planned"));
    }
    assert_eq!(shard.waiting.as_deref(), Some("no connection"));
}

#[test]
fn a_failed_shard_names_the_batch_to_fetch_by_hand() {
    let failed = |phase: Phase| match shard(phase, LATER).held("why", NOW).expired().phase {
        Phase::Failed(failed) => failed,
        phase => panic!("{phase:?}"),
    };
    let read = failed(collecting(5, None));
    assert_eq!(
        (read.batch, read.output),
        (Some(ended().batch), ended().output)
    );
    assert_eq!(
        (read.kept_until, read.may_be_billed),
        (Some(NOW + OUTPUT_KEPT), true)
    );
    let waited = failed(submitted(None));
    assert_eq!(
        (waited.batch, waited.output, waited.may_be_billed),
        (Some(ended().batch), None, true)
    );
    let planned = failed(Phase::Planned { attempts: 1 });
    assert_eq!((planned.batch, planned.may_be_billed), (None, false));
    let unknown = failed(recovering(EARLIER, None));
    assert_eq!((unknown.batch, unknown.may_be_billed), (None, true));
}

#[test]
fn a_held_shard_keeps_its_chunks() {
    let failed = shard(collecting(5, None), LATER)
        .held("why", NOW)
        .held("why again", NOW)
        .expired();
    assert!(
        matches!(&failed.phase, Phase::Failed(failed) if failed.chunks == chunks()),
        "{failed:?}"
    );
}

#[test]
fn errors_are_reset_when_another_function_takes_over() {
    let planned = shard(Phase::Planned { attempts: 0 }, LATER).after_error("no connection");
    let submitted = planned.enter(submitted(None), LATER);
    assert_eq!((planned.errors, submitted.errors), (1, 0));
}

#[test]
fn a_round_is_a_new_shard_with_the_given_keys() {
    let parent = shard(Phase::Ready { ended: ended() }, LATER);
    let (keys, _) = KeyList::of(&[RequestKey::new("a"), RequestKey::new("b")]).unwrap();
    let round = parent.next_round(keys.clone(), Lane::Batch, None, NOW);
    assert_eq!(
        (round.shard.to_string().as_str(), round.phase.name()),
        ("0000.r2", "planned")
    );
    assert_eq!((round.demand.requests, round.demand.tokens), (2, 7));
    assert_eq!(round.keys, Some(keys));
    assert_eq!(round.deadline, NOW + SUBMIT_DEADLINE);
    assert_eq!(
        (round.plan_bytes, round.model),
        (parent.plan_bytes, parent.model)
    );
}

#[test]
fn a_state_survives_a_round_trip_through_json() {
    let shard = shard(collecting(1, Some(LATER)), LATER).driven_by(DRIVER, LATER);
    let text = serde_json::to_string(&shard).unwrap();
    assert_eq!(serde_json::from_str::<Shard>(&text).unwrap(), shard);
    assert!(text.contains(r#""phase":{"name":"collecting""#), "{text}");
}

#[test]
fn a_retry_counts_the_error_and_waits_at_least_as_long_as_gemini_asks() {
    let tried = shard(submitted(None), LATER);
    let retry = |at_least| match Outcome::retry(&tried, "no answer", at_least) {
        Outcome::Retry(pause) => (pause.next.errors, pause.wait, pause.refund),
        outcome => panic!("{outcome:?}"),
    };
    let longer = SignedDuration::from_mins(7);
    assert_eq!(retry(SignedDuration::ZERO), (1, retry_wait(1), false));
    assert_eq!(retry(longer), (1, longer, false));
}

#[test]
fn only_an_outcome_that_waits_refunds_a_reservation() {
    let planned = || shard(Phase::Planned { attempts: 1 }, LATER);
    let refunds = |outcome: Outcome| match outcome.with_refund() {
        Outcome::Wait(pause) | Outcome::Retry(pause) | Outcome::Hold(pause) => pause.refund,
        _ => false,
    };
    assert!(refunds(Outcome::wait(planned(), SignedDuration::ZERO)));
    assert!(refunds(Outcome::hold(planned(), HELD_DEADLINE)));
    assert!(!refunds(Outcome::end(planned())) && !refunds(Outcome::forward(planned())));
}
