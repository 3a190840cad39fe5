//! The fault harness at a small scale: it finds nothing, it is the same each time, and it notices
//! when a rule of the protocol is broken. All of it is `cargo run --release -p tests --bin faults`.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use tests::faults::{Break, Case, Found, Plan, Wrong, explore};

/// The request that buys.
const CREATE: &str = "batchGenerateContent";

fn quietly(plan: &Plan) -> Found {
    explore(plan, |_| {}).unwrap()
}

/// Single faults at some requests, with a rule broken, until one does harm.
fn harm(broken: Break, at: &str) -> Vec<String> {
    let (at, broken) = (Some(at.to_owned()), Some(broken));
    noticed(&Plan {
        seeds: 0,
        singles: true,
        at,
        pairs: false,
        sample: 0,
        threads: 2,
        broken,
    })
}

/// Drawn worlds, with a rule broken.
fn harm_in_seeds(broken: Break, seeds: u64) -> Vec<String> {
    let broken = Some(broken);
    noticed(&Plan {
        seeds,
        singles: false,
        at: None,
        pairs: false,
        sample: 0,
        threads: 2,
        broken,
    })
}

/// What goes wrong by this plan, which must be something.
fn noticed(plan: &Plan) -> Vec<String> {
    let found = quietly(plan);
    assert!(
        !found.failures.is_empty(),
        "nobody noticed in {} worlds",
        found.schedules
    );
    found
        .failures
        .iter()
        .flat_map(|failure| &failure.violations)
        .map(ToString::to_string)
        .collect()
}

fn says(harm: &[String], words: &str) -> bool {
    harm.iter().any(|violation| violation.starts_with(words))
}

#[test]
fn drawn_worlds_end_well() {
    let plan = Plan {
        seeds: 12,
        singles: false,
        at: None,
        pairs: false,
        sample: 0,
        threads: 2,
        broken: None,
    };
    let found = quietly(&plan);
    assert_eq!((found.schedules, found.count(Wrong::DoubleBuy)), (12, 0));
    assert!(found.failures.is_empty(), "{:?}", found.failures);
}

#[test]
fn whatever_happens_to_a_create_ends_well() {
    let at = Some(CREATE.to_owned());
    let found = quietly(&Plan {
        seeds: 0,
        singles: true,
        at,
        pairs: false,
        sample: 0,
        threads: 2,
        broken: None,
    });
    assert!(
        found.singles >= 20,
        "a dozen faults at each of two creates, not {}",
        found.singles
    );
    assert!(found.failures.is_empty(), "{:?}", found.failures);
}

#[test]
fn same_schedule_gives_the_same_wire_log() {
    let cases = [
        Case::Seed(3),
        Case::Seed(4),
        Case::Faults(vec!["40:killed-late".parse().unwrap()]),
    ];
    for case in cases {
        let (first, _) = case.replay(None).unwrap();
        let (second, _) = case.replay(None).unwrap();
        assert!(first.len() > 100, "{} lines", first.len());
        let differing = first.iter().zip(&second).find(|(one, other)| one != other);
        assert_eq!((differing, first.len()), (None, second.len()));
    }
}

#[test]
fn bucket_that_ignores_conditions_is_noticed() {
    let harm = harm(Break::Conditions, "state.json (uploading if unchanged)");
    assert!(says(&harm, "double buy: key stone-"), "{harm:?}");
}

#[test]
fn looking_for_a_batch_without_a_pause_is_noticed() {
    let harm = harm(Break::QuietPeriod, CREATE);
    assert!(says(&harm, "double buy: key stone-"), "{harm:?}");
}

#[test]
fn asking_again_at_once_is_noticed() {
    let harm = harm(Break::Recovery, CREATE);
    assert!(says(&harm, "double buy: key stone-"), "{harm:?}");
}

#[test]
fn reading_only_the_first_page_is_noticed() {
    let harm = harm(Break::List, CREATE);
    assert!(says(&harm, "double buy: key stone-"), "{harm:?}");
}

#[test]
fn deleting_a_message_before_its_work_is_noticed() {
    assert!(says(&harm(Break::AckEarly, "inbox/"), "stuck: "));
}

#[test]
fn joining_by_position_is_noticed() {
    assert!(says(&harm(Break::Position, CREATE), "misfiled: key stone-"));
}

#[test]
fn closing_a_job_before_its_round_is_noticed() {
    assert!(says(&harm(Break::FanIn, CREATE), "lost key: key stone-"));
}

#[test]
fn giving_up_what_could_not_be_read_is_noticed() {
    let harm = harm_in_seeds(Break::GiveUp, 120);
    assert!(
        says(&harm, "lost key: key stone-") || says(&harm, "double buy: key stone-"),
        "{harm:?}"
    );
}

#[test]
fn taking_a_late_output_for_none_is_noticed() {
    let harm = harm_in_seeds(Break::LateOutputRule, 40);
    assert!(
        says(&harm, "lost key: key stone-") || says(&harm, "double buy: key stone-"),
        "{harm:?}"
    );
}

#[test]
fn taking_a_stranger_for_its_own_is_noticed() {
    assert!(says(&harm_in_seeds(Break::Stranger, 40), "stranger: "));
}
