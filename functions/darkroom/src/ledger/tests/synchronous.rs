//! Shards of the synchronous lanes: only money limits them.

use super::*;
use crate::lane::Lane;

fn interactive(job: &str, number: u32, usd: Usd) -> Shard {
    shard(job, number, LIMITED, 1_000_000, usd).in_lane(Lane::Interactive)
}

#[test]
fn a_synchronous_shard_takes_up_no_batch_and_no_tokens() {
    let mut ledger = Ledger::default();
    let limits = limits(1, 10, None);
    let batch = shard("batches", 0, LIMITED, 10, cents(1));
    assert_eq!(ledger.admit(&batch, &limits, noon()), Admission::Granted);
    let now = interactive("now", 0, cents(5));
    assert_eq!(ledger.admit(&now, &limits, noon()), Admission::Granted);
    assert_eq!((ledger.live.len(), ledger.unsettled.len()), (1, 1));

    // Asking again keeps the reservation.
    assert_eq!(ledger.admit(&now, &limits, noon()), Admission::Granted);
    assert_eq!(ledger.spent_today(noon()), cents(6));
}

#[test]
fn the_daily_cap_holds_for_a_synchronous_shard() {
    let mut ledger = Ledger::default();
    let limits = limits(100, 10, Some(10));
    let first = interactive("now", 0, cents(6));
    assert_eq!(ledger.admit(&first, &limits, noon()), Admission::Granted);
    let second = interactive("now", 1, cents(6));
    let Admission::Later { why, at } = ledger.admit(&second, &limits, noon()) else {
        panic!("the day has 4 cents left")
    };
    assert!(at <= midnight() && !why.contains("  "), "{why}");
    let huge = interactive("now", 2, cents(11));
    let refused = ledger.admit(&huge, &limits, noon());
    assert!(matches!(refused, Admission::Never { .. }), "{refused:?}");

    // The actual cost replaces the reservation, and leaves money for the second.
    let billed = Settlement::Billed(Some(cents(4)));
    ledger.close(&first.job, first.shard, billed, noon());
    assert_eq!(ledger.admit(&second, &limits, noon()), Admission::Granted);
    assert_eq!(ledger.spent_today(noon()), cents(10));
}

#[test]
fn an_invocation_that_asks_after_the_shard_was_closed_reserves_nothing() {
    for ended in [
        interactive("now", 0, cents(5)),
        shard("now", 0, LIMITED, 1, cents(5)),
    ] {
        let mut ledger = Ledger::default();
        let limits = limits(1, 10, None);
        assert_eq!(ledger.admit(&ended, &limits, noon()), Admission::Granted);
        let billed = Settlement::Billed(Some(cents(4)));
        ledger.close(&ended.job, ended.shard, billed, noon());
        let after = ledger.clone();
        // It has read the state before the end, and can't write the next one.
        for minutes_later in [0, 59] {
            let later = noon() + minutes(minutes_later);
            assert_eq!(ledger.admit(&ended, &limits, later), Admission::Granted);
            ledger.close(&ended.job, ended.shard, billed, later);
            assert_eq!(ledger, after);
        }
        // No invocation lives that long. The ledger forgets the shard with the next admission.
        let other = interactive("other", 0, cents(1));
        ledger.admit(&other, &limits, noon() + minutes(60));
        assert!(ledger.closed.is_empty());
    }
}

#[test]
fn a_synchronous_shard_that_made_no_call_returns_its_money() {
    let mut ledger = Ledger::default();
    let now = interactive("now", 0, cents(5));
    ledger.admit(&now, &limits(1, 10, None), noon());
    for _ in 0..2 {
        ledger.close(&now.job, now.shard, Settlement::NeverBought, noon());
        assert_eq!(ledger.spent_today(noon()), Usd::ZERO);
    }
    assert!(ledger.unsettled.is_empty());
}

#[test]
fn a_rescued_shard_gives_up_its_place_among_the_batches() {
    let mut ledger = Ledger::default();
    let limits = limits(1, 10, None);
    let planned = shard("late", 0, LIMITED, 10, cents(3));
    ledger.admit(&planned, &limits, noon());
    let rescued = planned.in_lane(Lane::Interactive);
    assert_eq!(ledger.admit(&rescued, &limits, noon()), Admission::Granted);
    assert!(ledger.live.is_empty());
    assert_eq!(ledger.spent_today(noon()), cents(3));
}
