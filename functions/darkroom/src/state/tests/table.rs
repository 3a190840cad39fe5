//! Every phase against every message: what the driver and any other message mean.

use super::*;

/// Every phase, its deadline, and what a message on (shards), (polls) and (results) means: first
/// without a cancel, then after a user has canceled the job.
pub(super) fn cells() -> Vec<(Phase, Timestamp, [&'static str; 3], [&'static str; 3])> {
    let planned = Phase::Planned { attempts: 0 };
    let uploading = |lease_until| Phase::Uploading {
        attempt: 1,
        lease_until,
    };
    let ready = Phase::Ready { ended: ended() };
    let round = ShardId::first(0).next_round();
    let report = ["Report", "Report", "Report"];
    let (wait, stop, look) = (
        ["Wait", "Report", "Report"],
        ["Stop", "Report", "Report"],
        ["Look", "Report", "Report"],
    );
    let (ask, read) = (["Poll", "Ask", "Report"], ["Report", "Collect", "Read"]);
    vec![
        (planned.clone(), LATER, ["Submit", "Report", "Report"], stop),
        (planned, EARLIER, ["GiveUp", "Report", "Report"], stop),
        (uploading(LATER), LATER, wait, wait),
        (
            uploading(EARLIER),
            LATER,
            ["Submit", "Report", "Report"],
            stop,
        ),
        (creating(LATER), LATER, wait, wait),
        (
            creating(EARLIER),
            LATER,
            ["Recover", "Report", "Report"],
            ["Recover", "Report", "Report"],
        ),
        (
            recovering(LATER, None),
            LATER,
            ["Fence", "Report", "Report"],
            ["Fence", "Report", "Report"],
        ),
        (recovering(EARLIER, None), LATER, look, look),
        (recovering(EARLIER, Some(NOW)), LATER, wait, wait),
        (recovering(EARLIER, Some(EARLIER)), LATER, look, look),
        (recovering(EARLIER, None), EARLIER, look, look),
        (submitted(None), LATER, ask, ask),
        (submitted(Some(NOW)), EARLIER, ask, ask),
        (ready.clone(), LATER, read, read),
        (
            ready,
            EARLIER,
            ["Report", "Collect", "GiveUp"],
            ["Report", "Collect", "GiveUp"],
        ),
        (
            collecting(1, None),
            LATER,
            ["Report", "Report", "Read"],
            ["Report", "Report", "Read"],
        ),
        (
            collecting(1, Some(EARLIER)),
            LATER,
            ["Report", "Report", "Read"],
            ["Report", "Report", "Read"],
        ),
        (
            collecting(1, Some(LATER)),
            LATER,
            ["Report", "Report", "Wait"],
            ["Report", "Report", "Wait"],
        ),
        (
            collecting(READS_BEFORE_HELD, None),
            LATER,
            ["Report", "Report", "Read"],
            ["Report", "Report", "Read"],
        ),
        (
            collecting(1, None),
            EARLIER,
            ["Report", "Report", "GiveUp"],
            ["Report", "Report", "GiveUp"],
        ),
        (
            unmatched(true),
            LATER,
            ["Report", "Report", "Finish"],
            ["Report", "Report", "Finish"],
        ),
        (done(None), LATER, report, report),
        (
            done(Some(round)),
            LATER,
            ["Report", "Report", "SendRound"],
            ["Report", "Report", "SendRound"],
        ),
        (held(Phase::Planned { attempts: 1 }), LATER, wait, stop),
        (
            held(Phase::Planned { attempts: 1 }),
            EARLIER,
            ["GiveUp", "Report", "Report"],
            stop,
        ),
        (held(recovering(EARLIER, None)), LATER, look, look),
        (
            held(recovering(EARLIER, None)),
            EARLIER,
            ["GiveUp", "Report", "Report"],
            ["GiveUp", "Report", "Report"],
        ),
        (
            held(submitted(None)),
            LATER,
            ["Report", "Ask", "Report"],
            ["Report", "Ask", "Report"],
        ),
        (
            held(submitted(None)),
            EARLIER,
            ["Report", "GiveUp", "Report"],
            ["Report", "GiveUp", "Report"],
        ),
        (
            held(collecting(5, None)),
            LATER,
            ["Report", "Report", "Read"],
            ["Report", "Report", "Read"],
        ),
        (
            held(collecting(5, None)),
            EARLIER,
            ["Report", "Report", "GiveUp"],
            ["Report", "Report", "GiveUp"],
        ),
        (
            held(unmatched(false)),
            LATER,
            ["Report", "Report", "Wait"],
            ["Report", "Report", "Finish"],
        ),
        (
            held(unmatched(false)),
            EARLIER,
            ["Report", "Report", "Finish"],
            ["Report", "Report", "Finish"],
        ),
        (failed(), LATER, report, report),
        (Phase::Cancelled, LATER, report, report),
    ]
}

#[test]
fn every_message_has_its_meaning_in_every_phase() {
    for (phase, deadline, usual, once_canceled) in cells() {
        let shard = shard(phase, deadline);
        let about = format!("{:?} until {deadline}", shard.phase);
        assert_eq!(steps(&shard, &arrival(DRIVER, false)), usual, "{about}");
        assert_eq!(
            steps(&shard, &arrival(DRIVER, true)),
            once_canceled,
            "{about}, cancelled"
        );
    }
}

#[test]
fn the_table_leaves_out_no_phase() {
    let names: std::collections::BTreeSet<&str> =
        cells().iter().map(|(phase, ..)| phase.name()).collect();
    let all = [
        "planned",
        "uploading",
        "creating",
        "recovering",
        "submitted",
        "ready",
        "collecting",
        "done",
        "held",
        "failed",
        "cancelled",
    ];
    assert_eq!(names, all.into_iter().collect());
}

#[test]
fn a_message_other_than_the_driver_has_no_effect() {
    for (phase, deadline, usual, once_canceled) in cells() {
        let owner = phase.owner();
        let shard = shard(phase, deadline).driven_by("m-2", LATER);
        let about = format!("{:?} until {deadline}", shard.phase);
        for (cancelled, otherwise) in [(false, usual), (true, once_canceled)] {
            let now = steps(&shard, &arrival(DRIVER, cancelled));
            if owner == Owner::None {
                assert_eq!(now, otherwise, "{about}");
                continue;
            }
            let own = own_of(owner);
            // A cancel does not wait for the driver.
            let brings_cancel = cancelled && (owner != Owner::Collect || shard.phase.is_held());
            let expected = if brings_cancel {
                otherwise[own]
            } else {
                "NotOwner"
            };
            assert_eq!(now[own], expected, "{about}, cancelled: {cancelled}");
            // Earlier functions do not send it again while its owner has a driver.
            assert!(
                now.iter()
                    .enumerate()
                    .all(|(queue, step)| queue == own || step == "Report"),
                "{about}: {now:?}"
            );
        }
        // The driver has its usual meaning, and so has any message once the driver is lost.
        assert_eq!(
            steps(&shard, &arrival("m-2", false))[own_of(owner)],
            usual[own_of(owner)],
            "{about}"
        );
        let lost = shard.driven_by("m-2", NOW - DRIVER_LOST_AFTER);
        assert!(
            lost.is_terminal() || lost.has_lost_its_driver(NOW),
            "{about}"
        );
        assert_eq!(
            steps(&lost, &arrival(DRIVER, false))[own_of(owner)],
            usual[own_of(owner)],
            "{about}"
        );
    }
}

fn own_of(owner: Owner) -> usize {
    match owner {
        Owner::Submit | Owner::None => 0,
        Owner::Poll => 1,
        Owner::Collect => 2,
        Owner::Generate => panic!("these phases are in generate.rs"),
    }
}
