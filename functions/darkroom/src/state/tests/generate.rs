//! The phases of a synchronous shard against every message.

use super::*;

fn generating(lease_until: Option<Timestamp>, chunks: usize) -> Phase {
    let chunks = (0..chunks).map(|key| Chunk::of_key(&RequestKey::new(key.to_string())));
    Phase::Generating(Generating {
        chunks: chunks.collect(),
        lease_until,
        ..Generating::default()
    })
}

fn generate(shard: &Shard, arrival: &Arrival<'_>) -> String {
    let step = format!("{:?}", generate_step(shard, arrival));
    step.split([' ', '(']).next().unwrap().to_owned()
}

#[test]
fn every_phase_has_a_meaning_for_a_message_to_generate() {
    let round = ShardId::first(0).next_round();
    // The phase, its deadline, and the step without and with a cancel.
    for (phase, deadline, usual, cancelled) in [
        (generating(None, 0), LATER, "Generate", "Stop"),
        (generating(None, 1), LATER, "Generate", "Finish"),
        (generating(None, 0), EARLIER, "Finish", "Stop"),
        (generating(None, 1), EARLIER, "Finish", "Finish"),
        (generating(Some(EARLIER), 1), LATER, "Generate", "Finish"),
        (generating(Some(LATER), 1), LATER, "Wait", "Wait"),
        (generating(Some(LATER), 1), EARLIER, "Wait", "Wait"),
        (held(generating(None, 0)), LATER, "Wait", "Stop"),
        (held(generating(None, 0)), EARLIER, "GiveUp", "Stop"),
        (done(Some(round)), LATER, "SendRound", "SendRound"),
        (done(None), LATER, "Report", "Report"),
        (Phase::Planned { attempts: 0 }, LATER, "Report", "Report"),
        (submitted(None), LATER, "Report", "Report"),
        (Phase::Cancelled, LATER, "Report", "Report"),
    ] {
        let shard = shard(phase.clone(), deadline);
        for (is_cancelled, step) in [(false, usual), (true, cancelled)] {
            let found = generate(&shard, &arrival(DRIVER, is_cancelled));
            assert_eq!(found, step, "{phase:?} {deadline} {is_cancelled}");
        }
    }
}

#[test]
fn another_message_does_not_drive_a_synchronous_shard() {
    let driven = shard(generating(None, 1), LATER).driven_by(DRIVER, LATER);
    assert_eq!(generate(&driven, &arrival("other", false)), "NotOwner");
    assert_eq!(generate(&driven, &arrival(DRIVER, false)), "Generate");
    // A cancel is brought by its own message.
    assert_eq!(generate(&driven, &arrival("other", true)), "Finish");
}

#[test]
fn the_other_functions_leave_a_synchronous_shard_alone() {
    let driven = shard(generating(None, 1), LATER).driven_by(DRIVER, LATER);
    let arrival = arrival("other", false);
    assert_eq!(submit_step(&driven, &arrival), SubmitStep::Report);
    assert_eq!(poll_step(&driven, &arrival), PollStep::Report);
    assert_eq!(collect_step(&driven, &arrival), CollectStep::Report);
}

#[test]
fn a_batch_that_would_come_too_late_is_rescued_before_it_is_created() {
    let rescue = Rescue {
        at: NOW,
        lane: Lane::Interactive,
        usd: "2".parse().unwrap(),
    };
    let late = Shard {
        rescue: Some(rescue),
        ..shard(Phase::Planned { attempts: 0 }, LATER)
    };
    let step = submit_step(&late, &arrival(DRIVER, false));
    assert_eq!(step, SubmitStep::Rescue(rescue));

    let rescued = late.rescued(rescue, NOW);
    assert_eq!(
        (rescued.lane, rescued.phase.owner(), rescued.demand.usd),
        (Lane::Interactive, Owner::Generate, rescue.usd)
    );
    // A crash may have prevented the message to `generate`.
    let step = submit_step(&rescued, &arrival(DRIVER, false));
    assert_eq!(step, SubmitStep::Generate);
}

#[test]
fn the_wait_for_an_approval_does_not_shorten_the_time_of_a_batch() {
    let rescue = Rescue {
        at: LATER,
        lane: Lane::Interactive,
        usd: Usd::ZERO,
    };
    let planned = Shard {
        rescue: Some(rescue),
        frozen: Some("digest".to_owned()),
        ..shard(Phase::Planned { attempts: 0 }, LATER)
    };
    let day = SignedDuration::from_hours(24);
    let approved = planned.held("proof", NOW).approved(NOW + day).unwrap();
    assert_eq!(approved.rescue.unwrap().at, LATER + day);
}
