mod budget;
mod fairness;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

const LIMITED: &str = "limited";
const UNLIMITED: &str = "unlimited";

/// Noon: half a day is left.
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
    }
}

fn release(ledger: &mut Ledger, shard: &Shard) {
    ledger.release(&shard.job, shard.shard);
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

#[track_caller]
fn assert_later(admission: Admission, said: &str) -> Timestamp {
    let Admission::Later { why, at } = admission else {
        panic!("{admission:?}")
    };
    assert!(why.contains(said), "{why}");
    at
}

#[test]
fn each_limit_is_kept_and_named() {
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
    let dear = shard("c", 0, UNLIMITED, 60, cents(40));
    let at = assert_later(
        ledger.admit(&dear, &limits, now),
        "$0.20 of the $0.50 that may be spent a day",
    );
    assert_eq!(at, now + minutes(1), "what is reserved may come back");
    ledger.settle(&JobId::new("a"), ShardId::first(0), Some(cents(11)));
    let said = "it goes at 2026-11-22T00:00:00Z, when the next day begins";
    assert_eq!(
        assert_later(ledger.admit(&dear, &limits, now), said),
        midnight()
    );
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&small("a", 0), &few, now), Admission::Granted);
    assert_eq!(ledger.admit(&small("a", 1), &few, now), Admission::Granted);
    assert_later(
        ledger.admit(&small("b", 0), &few, now),
        "2 batches are live, of 2",
    );
}

#[test]
fn what_could_not_even_be_admitted_alone_is_never_admitted_and_waits_for_nothing() {
    let (mut ledger, limits) = (Ledger::default(), limits(1, 100, Some(50)));
    for (shard, said) in [
        (shard("a", 0, UNLIMITED, 1, cents(51)), "daily cap"),
        (shard("a", 0, LIMITED, 101, cents(1)), "101 input tokens"),
    ] {
        let Admission::Never { why } = ledger.admit(&shard, &limits, noon()) else {
            panic!("admitted: {said}")
        };
        assert!(why.contains(said), "{why}");
    }
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn an_admission_that_is_repeated_takes_up_nothing_more() {
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
fn a_refund_gives_the_money_back_and_a_release_does_not() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(9, 100, Some(50)), noon());
    let (one, two) = (
        shard("a", 0, UNLIMITED, 1, cents(30)),
        shard("a", 1, UNLIMITED, 1, cents(20)),
    );
    assert_eq!(ledger.admit(&one, &limits, now), Admission::Granted);
    assert_eq!(ledger.admit(&two, &limits, now), Admission::Granted);
    release(&mut ledger, &one);
    assert_eq!((ledger.spent_today(now), ledger.live.len()), (cents(50), 1));
    // What was released has no money to give back any more, however often it is said.
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
fn what_a_batch_cost_takes_the_place_of_what_was_reserved() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(9, 100, Some(50)), noon());
    let [less, more, unknown] = [0, 1, 2].map(|number| shard("a", number, UNLIMITED, 1, cents(10)));
    for shard in [&less, &more, &unknown] {
        assert_eq!(ledger.admit(shard, &limits, now), Admission::Granted);
    }
    // Released or not, and however often.
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
    // What comes late finds nothing.
    release(&mut ledger, &less);
    ledger.refund(&more.job, more.shard);
    assert_eq!(ledger.spent_today(now), cents(29));
}

#[test]
fn money_that_comes_back_is_spent_on_the_same_day() {
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
fn what_is_settled_after_its_day_is_forgotten_changes_no_other_day() {
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
fn a_refund_goes_to_the_day_of_the_admission() {
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
fn a_day_later_the_cap_is_new() {
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
            "a day"
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
fn a_small_job_gets_the_first_place_that_a_large_one_frees() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(3, 100, None), noon());
    for number in 0..3 {
        assert_eq!(
            ledger.admit(&small("large", number), &limits, now),
            Admission::Granted
        );
    }
    assert_later(
        ledger.admit(&small("large", 3), &limits, now),
        "of 3 that may be",
    );
    assert_later(
        ledger.admit(&small("small", 0), &limits, now + minutes(1)),
        "3 batches are live, of 3 that may be",
    );
    release(&mut ledger, &small("large", 0));
    // It asks first, and has waited longer, but has more.
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
fn of_jobs_with_as_many_batches_the_one_that_has_waited_longest_comes_first() {
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
        ledger.admit(&small("next", 0), &limits, back_at + PATIENCE - minutes(1)),
        "1 other job",
    );
    assert_eq!(
        ledger.admit(&small("next", 0), &limits, back_at + PATIENCE),
        Admission::Granted
    );
}

#[test]
fn who_waits_for_tomorrows_money_is_in_nobodys_way_today() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(1, 100, Some(50)), noon());
    assert_eq!(
        ledger.admit(&shard("x", 0, UNLIMITED, 1, cents(20)), &limits, now),
        Admission::Granted
    );
    ledger.settle(&JobId::new("x"), ShardId::first(0), Some(cents(20)));
    // It can't be admitted before midnight, so neither the free place nor the tokens are kept for
    // it.
    assert_later(
        ledger.admit(&shard("dear", 0, LIMITED, 100, cents(40)), &limits, now),
        "a day",
    );
    assert_eq!(
        ledger.admit(
            &shard("cheap", 0, LIMITED, 100, cents(30)),
            &limits,
            now + minutes(1)
        ),
        Admission::Granted
    );
    // At midnight it is its turn.
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
            &shard("dear", 0, LIMITED, 100, cents(40)),
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
    /// When it asks first, in minutes.
    first: i64,
    /// How late its message comes back each time, in minutes.
    late: i64,
    /// How long its batch takes, in hours.
    hours: i64,
    /// Whether its batch is never created: its money is given back.
    is_refunded: bool,
    /// What it costs in the end, in per cent of what was reserved; where nobody knows, all of it.
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

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    End,
}

proptest! {
    #[test]
    fn no_limit_is_ever_exceeded_and_nobody_starves(
        wishes in wishes(),
        live in 1..5_u32,
        tokens in 100..300_u64,
        cap in prop::option::of(100..300_i64),
    ) {
        let limits = limits(live, tokens, cap);
        let mut ledger = Ledger::default();
        // All that a project of one batch at a time needs, a day for each, and the waits between.
        let hours: i64 = wishes.iter().map(|wish| wish.hours + 25).sum();
        let patience = noon() + SignedDuration::from_hours(hours + 24);
        let mut events: BTreeSet<(Timestamp, usize, Event)> =
            (0..).zip(&wishes).map(|(at, wish)| (noon() + minutes(wish.first), at, Event::Ask)).collect();
        let (mut running, mut paid) = (BTreeSet::new(), BTreeMap::<Date, Usd>::new());
        while let Some((now, at, event)) = events.pop_first() {
            let wish = &wishes[at];
            prop_assert!(now < patience, "{} starves", wish.shard.job);
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
            // By our own ledger, not by the ledger's.
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
