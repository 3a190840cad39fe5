//! The limits of the ledger, its order of admission, and what it reserves, settles and releases.

mod budget;
mod fairness;
mod folders;
mod synchronous;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

const LIMITED: &str = "limited";
const UNLIMITED: &str = "unlimited";

/// A time at which half a day is left.
fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// The end of that day.
fn midnight() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn cents(cents: i64) -> Usd {
    Usd::new(Decimal::new(cents, 2))
}

fn shard(job: &str, number: u32, model: &str, tokens: u64, usd: Usd) -> Shard {
    let demand = Demand {
        requests: 1,
        tokens,
        usd,
    };
    Shard::planned(
        &JobId::new(job),
        ShardId::first(number),
        model,
        demand,
        (0, 0),
        noon(),
    )
}

fn small(job: &str, number: u32) -> Shard {
    shard(job, number, UNLIMITED, 1, cents(1))
}

fn limits(live_batches: u32, tokens: u64, daily_cents: Option<i64>) -> ProjectLimits {
    let enqueued_tokens = BTreeMap::from([(LIMITED.to_owned(), tokens)]);
    ProjectLimits {
        live_batches: MaxLiveBatches::new(live_batches).unwrap(),
        enqueued_tokens,
        daily_usd: daily_cents.map(cents),
        folders: FolderCaps::default(),
    }
}

fn release(ledger: &mut Ledger, shard: &Shard) {
    ledger.release(&shard.job, shard.shard);
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

#[track_caller]
fn assert_later(admission: Admission, expected: &str) -> Timestamp {
    let Admission::Later { why, at } = admission else {
        panic!("{admission:?}")
    };
    assert!(why.contains(expected), "{why}");
    at
}

#[test]
fn each_limit_is_enforced_and_named() {
    let mut ledger = Ledger::default();
    let (few, limits, now) = (limits(2, 100, Some(50)), limits(9, 100, Some(50)), noon());
    assert_eq!(
        ledger.admit(&shard("a", 0, LIMITED, 60, cents(20)), &limits, now),
        Admission::Granted
    );
    let at = assert_later(
        ledger.admit(&shard("b", 0, LIMITED, 60, cents(20)), &limits, now),
        "60 input tokens of the 100",
    );
    assert_eq!(at, now + minutes(1));
    let expensive = shard("c", 0, UNLIMITED, 60, cents(40));
    let at = assert_later(
        ledger.admit(&expensive, &limits, now),
        "$0.20 of the daily cap of $0.50 is spent or reserved",
    );
    assert_eq!(at, now + minutes(1), "the reservation may be returned");
    ledger.settle(&JobId::new("a"), ShardId::first(0), Some(cents(11)));
    let expected = "it is submitted at 2026-11-22T00:00:00Z, when the next day begins";
    assert_eq!(
        assert_later(ledger.admit(&expensive, &limits, now), expected),
        midnight()
    );
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&small("a", 0), &few, now), Admission::Granted);
    assert_eq!(ledger.admit(&small("a", 1), &few, now), Admission::Granted);
    assert_later(
        ledger.admit(&small("b", 0), &few, now),
        "2 of at most 2 batches are live",
    );
}

#[test]
fn a_shard_that_exceeds_a_limit_alone_is_never_admitted_and_does_not_wait() {
    let (mut ledger, limits) = (Ledger::default(), limits(1, 100, Some(50)));
    for (shard, expected) in [
        (shard("a", 0, UNLIMITED, 1, cents(51)), "daily cap"),
        (shard("a", 0, LIMITED, 101, cents(1)), "101 input tokens"),
    ] {
        let Admission::Never { why } = ledger.admit(&shard, &limits, noon()) else {
            panic!("admitted: {expected}")
        };
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn a_repeated_admission_reserves_nothing_more() {
    let (mut ledger, limits) = (Ledger::default(), limits(1, 100, Some(50)));
    let first = shard("a", 0, LIMITED, 100, cents(50));
    assert_eq!(ledger.admit(&first, &limits, noon()), Admission::Granted);
    let before = ledger.clone();
    let later = noon() + minutes(5);
    assert_eq!(ledger.admit(&first, &limits, later), Admission::Granted);
    for reservation in ledger.live.values_mut() {
        assert_eq!((reservation.at, reservation.asked_at), (noon(), later));
        reservation.asked_at = noon();
    }
    assert_eq!(ledger, before);
}

#[test]
fn a_refund_returns_the_money_and_a_release_does_not() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(9, 100, Some(50)), noon());
    let (one, two) = (
        shard("a", 0, UNLIMITED, 1, cents(30)),
        shard("a", 1, UNLIMITED, 1, cents(20)),
    );
    assert_eq!(ledger.admit(&one, &limits, now), Admission::Granted);
    assert_eq!(ledger.admit(&two, &limits, now), Admission::Granted);
    release(&mut ledger, &one);
    assert_eq!((ledger.spent_today(now), ledger.live.len()), (cents(50), 1));
    // A refund after a release returns no money, however often it is repeated.
    for _ in 0..2 {
        ledger.refund(&one.job, one.shard);
        assert_eq!(ledger.spent_today(now), cents(50));
    }
    for _ in 0..2 {
        ledger.refund(&two.job, two.shard);
        assert_eq!((ledger.spent_today(now), ledger.live.len()), (cents(30), 0));
    }
}

#[test]
fn the_actual_cost_replaces_the_reservation() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(9, 100, Some(50)), noon());
    let [less, more, unknown] = [0, 1, 2].map(|number| shard("a", number, UNLIMITED, 1, cents(10)));
    for shard in [&less, &more, &unknown] {
        assert_eq!(ledger.admit(shard, &limits, now), Admission::Granted);
    }
    // A settlement has the same effect with and without a release, and when it is repeated.
    release(&mut ledger, &less);
    assert_eq!(
        (
            ledger.spent_today(now),
            ledger.live.len(),
            ledger.unsettled.len()
        ),
        (cents(30), 2, 1)
    );
    let tomorrow = now + SignedDuration::from_hours(24);
    for _ in 0..2 {
        ledger.settle(&less.job, less.shard, Some(cents(7)));
        ledger.settle(&more.job, more.shard, Some(cents(12)));
        ledger.settle(&unknown.job, unknown.shard, None);
        assert_eq!(
            (ledger.spent_today(now), ledger.spent_today(tomorrow)),
            (cents(29), Usd::ZERO)
        );
        assert!(ledger.live.is_empty() && ledger.unsettled.is_empty());
    }
    // A late release or refund has no effect.
    release(&mut ledger, &less);
    ledger.refund(&more.job, more.shard);
    assert_eq!(ledger.spent_today(now), cents(29));
}

#[test]
fn returned_money_can_be_spent_on_the_same_day() {
    let (mut ledger, limits) = (Ledger::default(), limits(9, 100, Some(50)));
    let (first, next) = (
        shard("a", 0, UNLIMITED, 1, cents(50)),
        shard("b", 0, UNLIMITED, 1, cents(30)),
    );
    assert_eq!(ledger.admit(&first, &limits, noon()), Admission::Granted);
    let again = assert_later(
        ledger.admit(&next, &limits, noon()),
        "or sooner if batches cost less than is reserved",
    );
    ledger.settle(&first.job, first.shard, Some(cents(20)));
    assert_eq!(ledger.admit(&next, &limits, again), Admission::Granted);
    assert_eq!(ledger.spent_today(again), cents(50));
}

#[test]
fn a_settlement_after_its_day_was_removed_changes_no_other_day() {
    let (mut ledger, limits) = (Ledger::default(), limits(9, 100, Some(50)));
    let (old, new) = (
        shard("a", 0, UNLIMITED, 1, cents(30)),
        shard("a", 1, UNLIMITED, 1, cents(40)),
    );
    assert_eq!(ledger.admit(&old, &limits, noon()), Admission::Granted);
    release(&mut ledger, &old);
    let later = noon() + SignedDuration::from_hours(48);
    assert_eq!(ledger.admit(&new, &limits, later), Admission::Granted);
    assert!(ledger.unsettled.is_empty());
    ledger.settle(&old.job, old.shard, Some(cents(1)));
    assert_eq!(
        (ledger.spent_today(later), ledger.spent.len()),
        (cents(40), 1)
    );
}

#[test]
fn a_refund_is_credited_to_the_day_of_the_admission() {
    let (mut ledger, limits) = (Ledger::default(), limits(9, 100, Some(50)));
    let tomorrow = noon() + SignedDuration::from_hours(24);
    let (old, new) = (
        shard("a", 0, UNLIMITED, 1, cents(30)),
        shard("a", 1, UNLIMITED, 1, cents(40)),
    );
    assert_eq!(ledger.admit(&old, &limits, noon()), Admission::Granted);
    assert_eq!(ledger.admit(&new, &limits, tomorrow), Admission::Granted);
    ledger.refund(&old.job, old.shard);
    assert_eq!(
        (ledger.spent_today(noon()), ledger.spent_today(tomorrow)),
        (Usd::ZERO, cents(40))
    );
}

#[test]
fn the_daily_cap_is_reset_at_midnight() {
    let (mut ledger, limits) = (Ledger::default(), limits(9, 100, Some(50)));
    assert_eq!(
        ledger.admit(&shard("a", 0, UNLIMITED, 1, cents(50)), &limits, noon()),
        Admission::Granted
    );
    let next = shard("a", 1, UNLIMITED, 1, cents(50));
    let midnight = midnight();
    assert_later(ledger.admit(&next, &limits, noon()), "or sooner");
    assert_eq!(
        assert_later(
            ledger.admit(&next, &limits, midnight - SignedDuration::from_nanos(1)),
            "daily cap"
        ),
        midnight
    );
    assert_eq!(ledger.admit(&next, &limits, midnight), Admission::Granted);
    assert_eq!(
        (ledger.spent_today(noon()), ledger.spent_today(midnight)),
        (cents(50), cents(50))
    );
}

#[test]
fn a_small_job_gets_the_first_batch_that_a_large_job_frees() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(3, 100, None), noon());
    for number in 0..3 {
        assert_eq!(
            ledger.admit(&small("large", number), &limits, now),
            Admission::Granted
        );
    }
    assert_later(
        ledger.admit(&small("large", 3), &limits, now),
        "of at most 3",
    );
    assert_later(
        ledger.admit(&small("small", 0), &limits, now + minutes(1)),
        "3 of at most 3 batches are live",
    );
    release(&mut ledger, &small("large", 0));
    // The large job asks first and has waited longer, but has more live batches.
    assert_later(
        ledger.admit(&small("large", 3), &limits, now + minutes(2)),
        "1 other job comes first",
    );
    assert_eq!(
        ledger.admit(&small("small", 0), &limits, now + minutes(2)),
        Admission::Granted
    );
}

#[test]
fn among_jobs_with_equal_batches_the_one_that_waited_longest_comes_first() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(1, 100, None), noon());
    assert_eq!(
        ledger.admit(&small("x", 0), &limits, now),
        Admission::Granted
    );
    assert_later(ledger.admit(&small("second", 0), &limits, now), "live");
    assert_later(
        ledger.admit(&small("first", 0), &limits, now + minutes(1)),
        "1 other job",
    );
    release(&mut ledger, &small("x", 0));
    assert_later(
        ledger.admit(&small("first", 0), &limits, now + minutes(2)),
        "1 other job",
    );
    assert_eq!(
        ledger.admit(&small("second", 0), &limits, now + minutes(2)),
        Admission::Granted
    );
}

#[test]
fn a_job_that_does_not_ask_again_loses_its_place() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(1, 100, None), noon());
    assert_eq!(
        ledger.admit(&small("x", 0), &limits, now),
        Admission::Granted
    );
    let back_at = assert_later(ledger.admit(&small("gone", 0), &limits, now), "live");
    release(&mut ledger, &small("x", 0));
    assert_later(
        ledger.admit(
            &small("next", 0),
            &limits,
            back_at + WAITING_JOB_TTL - minutes(1),
        ),
        "1 other job",
    );
    assert_eq!(
        ledger.admit(&small("next", 0), &limits, back_at + WAITING_JOB_TTL),
        Admission::Granted
    );
}

#[test]
fn a_job_that_waits_for_the_next_days_money_delays_no_other_job() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(1, 100, Some(50)), noon());
    assert_eq!(
        ledger.admit(&shard("x", 0, UNLIMITED, 1, cents(20)), &limits, now),
        Admission::Granted
    );
    ledger.settle(&JobId::new("x"), ShardId::first(0), Some(cents(20)));
    // The job can't be admitted before midnight, so neither the free batch nor the tokens are kept
    // for it.
    assert_later(
        ledger.admit(
            &shard("expensive", 0, LIMITED, 100, cents(40)),
            &limits,
            now,
        ),
        "daily cap",
    );
    assert_eq!(
        ledger.admit(
            &shard("cheap", 0, LIMITED, 100, cents(30)),
            &limits,
            now + minutes(1)
        ),
        Admission::Granted
    );
    // At midnight the job comes first.
    let midnight = midnight();
    release(&mut ledger, &small("cheap", 0));
    assert_later(
        ledger.admit(
            &shard("late", 0, UNLIMITED, 1, cents(20)),
            &limits,
            midnight,
        ),
        "1 other job comes first",
    );
    assert_eq!(
        ledger.admit(
            &shard("expensive", 0, LIMITED, 100, cents(40)),
            &limits,
            midnight
        ),
        Admission::Granted
    );
}

/// One shard of the simulation.
#[derive(Clone, Debug)]
struct Wish {
    shard: Shard,
    /// When it first asks, in minutes.
    first: i64,
    /// The delay of its message each time, in minutes.
    late: i64,
    /// The duration of its batch, in hours.
    hours: i64,
    /// Whether its batch is never created, so that its money is returned.
    is_refunded: bool,
    /// Its actual cost in percent of the reservation. None means that the cost stays unknown.
    costs: Option<i64>,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let demand = (
        0..6_u32,
        prop::sample::select(vec![LIMITED, UNLIMITED]),
        1..=100_u64,
        1..=100_i64,
    );
    let demand = demand.prop_map(|(job, model, tokens, usd)| {
        shard(&format!("job-{job}"), 0, model, tokens, cents(usd))
    });
    let wish = (
        demand,
        0..300_i64,
        0..20_i64,
        1..30_i64,
        prop::bool::weighted(0.2),
    );
    let wish = (wish, prop::option::of(0..=100_i64)).prop_map(
        |((shard, first, late, hours, is_refunded), costs)| Wish {
            shard,
            first,
            late,
            hours,
            is_refunded,
            costs,
        },
    );
    prop::collection::vec(wish, 1..40).prop_map(|mut wishes| {
        (0..)
            .zip(&mut wishes)
            .for_each(|(number, wish)| wish.shard.shard = ShardId::first(number));
        wishes
    })
}

/// The next event of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    End,
}

proptest! {
    #[test]
    fn no_limit_is_ever_exceeded_and_no_job_starves(
        wishes in wishes(),
        live in 1..5_u32,
        tokens in 100..300_u64,
        cap in prop::option::of(100..300_i64),
    ) {
        let limits = limits(live, tokens, cap);
        let mut ledger = Ledger::default();
        // The time that a project with one batch at a time needs, with a day and a wait for each.
        let hours: i64 = wishes.iter().map(|wish| wish.hours + 25).sum();
        let deadline = noon() + SignedDuration::from_hours(hours + 24);
        let mut events: BTreeSet<(Timestamp, usize, Event)> =
            (0..).zip(&wishes).map(|(at, wish)| (noon() + minutes(wish.first), at, Event::Ask)).collect();
        let (mut running, mut paid) = (BTreeSet::new(), BTreeMap::<Date, Usd>::new());
        while let Some((now, at, event)) = events.pop_first() {
            let wish = &wishes[at];
            prop_assert!(now < deadline, "{} starves", wish.shard.job);
            match event {
                Event::Ask => match ledger.admit(&wish.shard, &limits, now) {
                    Admission::Granted => {
                        prop_assert!(running.insert(at));
                        if !wish.is_refunded {
                            *paid.entry(day(now)).or_default() += wish.shard.demand.usd;
                        }
                        events.insert((now + SignedDuration::from_hours(wish.hours), at, Event::End));
                    }
                    Admission::Later { at: again, .. } => {
                        prop_assert!(again > now && again <= now + SignedDuration::from_hours(24));
                        events.insert((again + minutes(wish.late), at, Event::Ask));
                    }
                    Admission::Never { why } | Admission::OverBudget { why } => prop_assert!(false, "{}", why),
                },
                Event::End if wish.is_refunded => ledger.refund(&wish.shard.job, wish.shard.shard),
                Event::End => {
                    release(&mut ledger, &wish.shard);
                    let (job, shard, usd) = (&wish.shard.job, wish.shard.shard, wish.shard.demand.usd);
                    let reserved_on = day(now - SignedDuration::from_hours(wish.hours));
                    let cost = wish.costs.map(|percent| usd.share(percent.unsigned_abs(), 100));
                    *paid.entry(reserved_on).or_default() += cost.unwrap_or(usd) - usd;
                    ledger.settle(job, shard, cost);
                }
            }
            if event == Event::End {
                running.remove(&at);
            }
            // The test keeps its own records instead of relying on those of the ledger.
            prop_assert!(running.len() <= usize::try_from(live).unwrap());
            let of_model = |at: &&usize| wishes[**at].shard.model == LIMITED;
            prop_assert!(running.iter().filter(of_model).map(|at| wishes[*at].shard.demand.tokens).sum::<u64>() <= tokens);
            for paid in paid.values() {
                prop_assert!(cap.is_none_or(|cap| *paid <= cents(cap)));
            }
        }
        prop_assert!(ledger.live.is_empty() && ledger.unsettled.is_empty());
        for (day, spent) in &ledger.spent {
            prop_assert_eq!(paid.get(day).copied().unwrap_or_default(), *spent);
        }
    }
}
