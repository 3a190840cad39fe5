//! Fairness between jobs: no capacity stays unused, and no job waits forever.

use proptest::prelude::*;

use super::*;

const OTHER: &str = "other";

fn two_models(live_batches: u32, tokens: u64, daily_cents: Option<i64>) -> ProjectLimits {
    let mut limits = limits(live_batches, tokens, daily_cents);
    limits.enqueued_tokens.insert(OTHER.to_owned(), tokens);
    limits
}

#[test]
fn jobs_that_wait_for_one_models_tokens_do_not_delay_another_model() {
    let (mut ledger, limits, now) = (Ledger::default(), two_models(100, 100, None), noon());
    assert_eq!(
        ledger.admit(&shard("x-000", 0, LIMITED, 60, cents(1)), &limits, now),
        Admission::Granted
    );
    for number in 1..105 {
        let waits = shard(&format!("x-{number:03}"), 0, LIMITED, 60, cents(1));
        assert_later(
            ledger.admit(&waits, &limits, now),
            "hold 60 input tokens of the 100",
        );
    }
    for (job, model) in [("y", OTHER), ("z", UNLIMITED)] {
        assert_eq!(
            ledger.admit(
                &shard(job, 0, model, 60, cents(1)),
                &limits,
                now + minutes(5)
            ),
            Admission::Granted
        );
    }
    // Nor do they delay a batch that fits together with the live batch of the same model.
    assert_eq!(
        ledger.admit(
            &shard("small", 0, LIMITED, 40, cents(1)),
            &limits,
            now + minutes(5)
        ),
        Admission::Granted
    );
}

#[test]
fn jobs_that_compete_for_the_same_tokens_keep_their_order_and_report_it() {
    let (mut ledger, limits, now) = (Ledger::default(), two_models(100, 100, None), noon());
    let large = |job: &str| shard(job, 0, LIMITED, 60, cents(1));
    assert_eq!(ledger.admit(&large("x"), &limits, now), Admission::Granted);
    assert_later(
        ledger.admit(&large("first"), &limits, now),
        "this batch needs 60",
    );
    release(&mut ledger, &large("x"));
    let expected = "hold 0 input tokens of the 100 that may be enqueued, and this batch needs 60, and 1 other job comes first";
    assert_later(
        ledger.admit(&large("second"), &limits, now + minutes(1)),
        expected,
    );
    assert_eq!(
        ledger.admit(&large("first"), &limits, now + minutes(2)),
        Admission::Granted
    );
}

#[test]
fn small_batches_delay_a_large_batch_for_at_most_a_day() {
    let (mut ledger, limits) = (Ledger::default(), limits(100, 100, None));
    let (mut asks_at, mut admitted) = (0, None);
    // A small job arrives every hour, and its batch takes ten hours.
    for hour in 0..72 {
        // The large job, which arrived after the first small one, asks at the times it is given.
        let large = shard("large", 0, LIMITED, 100, cents(1));
        while (1..=hour * 60).contains(&asks_at) && admitted.is_none() {
            match ledger.admit(&large, &limits, noon() + minutes(asks_at)) {
                Admission::Granted => admitted = Some(asks_at),
                Admission::Later { at, .. } => asks_at = at.duration_since(noon()).as_mins() + 1,
                refused @ (Admission::Never { .. } | Admission::OverBudget { .. }) => {
                    panic!("{refused:?}")
                }
            }
        }
        let small = |hour: i64| shard(&format!("small-{hour:02}"), 0, LIMITED, 10, cents(1));
        if hour >= 10 {
            release(&mut ledger, &small(hour - 10));
        }
        let granted =
            ledger.admit(&small(hour), &limits, noon() + minutes(hour * 60)) == Admission::Granted;
        assert!(
            granted || hour >= 24,
            "hour {hour}: available tokens are used during the first day"
        );
        asks_at = asks_at.max(1);
    }
    let admitted = admitted.unwrap();
    assert!(
        (24 * 60..35 * 60).contains(&admitted),
        "admitted after {admitted} minutes"
    );
}

#[test]
fn a_large_waiting_batch_does_not_delay_a_batch_that_fits_together_with_it() {
    let (mut ledger, limits, now) = (Ledger::default(), limits(9, 100, None), noon());
    let large = |job: &str| shard(job, 0, LIMITED, 60, cents(1));
    assert_eq!(ledger.admit(&large("x"), &limits, now), Admission::Granted);
    let mut at = now;
    while at < now + SignedDuration::from_hours(25) {
        at = assert_later(
            ledger.admit(&large("large"), &limits, at),
            "60 input tokens",
        );
    }
    // Whether it ends before `x` or runs together with `large`, it does not delay `large`.
    assert_eq!(
        ledger.admit(&shard("fitting", 0, LIMITED, 40, cents(1)), &limits, at),
        Admission::Granted
    );
    release(&mut ledger, &large("x"));
    assert_later(
        ledger.admit(&shard("more", 0, LIMITED, 10, cents(1)), &limits, at),
        "1 other job comes first",
    );
    assert_eq!(
        ledger.admit(&large("large"), &limits, at),
        Admission::Granted
    );
}

#[test]
fn the_ledger_stays_small_after_ten_thousand_jobs() {
    let (mut ledger, limits, mut now) = (
        Ledger::default(),
        limits(100, 1_000_000, Some(1_000_000)),
        noon(),
    );
    let mut max_bytes = 0;
    // A job arrives every minute for a week, and its batch takes an hour.
    for number in 0..10_000_u32 {
        let job = |number: u32| small(&format!("job-{number:05}"), 0);
        if let Some(ended) = number.checked_sub(60) {
            ledger.settle(&job(ended).job, job(ended).shard, Some(cents(1)));
        }
        assert_eq!(ledger.admit(&job(number), &limits, now), Admission::Granted);
        max_bytes = max_bytes.max(serde_json::to_vec(&ledger).unwrap().len());
        now += minutes(1);
    }
    let Ledger {
        live,
        unsettled,
        waiting,
        served,
        spent,
        ..
    } = &ledger;
    assert!(
        served.len() <= 100 && live.len() <= 100 && spent.len() <= 2,
        "{} served",
        served.len()
    );
    assert!(unsettled.is_empty() && waiting.is_empty());
    assert!(max_bytes < 32 << 10, "{max_bytes} bytes");
}

/// One step of a random sequence.
#[derive(Clone, Debug)]
enum Step {
    /// The job with this number asks, for the first time or again.
    Ask(usize),
    /// The batch of this job ends, if it has one.
    End(usize),
}

fn steps() -> impl Strategy<Value = (Vec<Shard>, Vec<Step>)> {
    let demand = (
        prop::sample::select(vec![LIMITED, OTHER, UNLIMITED]),
        1..=100_u64,
        1..=100_i64,
    );
    let shards = prop::collection::vec(demand, 2..25).prop_map(|demands| {
        let shard = |(number, (model, tokens, usd))| {
            shard(&format!("job-{number:02}"), 0, model, tokens, cents(usd))
        };
        (0..).zip(demands).map(shard).collect::<Vec<Shard>>()
    });
    shards.prop_flat_map(|shards| {
        let which = 0..shards.len();
        let step = (prop::bool::weighted(0.7), which);
        let step = step.prop_map(|(asks, which)| {
            if asks {
                Step::Ask(which)
            } else {
                Step::End(which)
            }
        });
        (Just(shards), prop::collection::vec(step, 1..120))
    })
}

proptest! {
    #[test]
    fn while_a_batch_is_free_and_a_waiting_shard_fits_some_waiting_job_is_admitted(
        (shards, steps) in steps(),
        live in 1..6_u32,
        tokens in 100..250_u64,
        cap in prop::option::of(100..300_i64),
        pause in 1..9_i64,
    ) {
        let limits = two_models(live, tokens, cap);
        let (mut ledger, mut now) = (Ledger::default(), noon());
        for step in steps {
            match step {
                Step::Ask(which) => drop(ledger.admit(&shards[which], &limits, now)),
                Step::End(which) => ledger.settle(&shards[which].job, shards[which].shard, None),
            }
            now += minutes(pause);
            // The test computes what fits instead of relying on the ledger.
            let fits = |shard: &Shard| {
                let live = ledger.live.values().filter(|live| live.model == shard.model);
                let has_tokens = limits
                    .enqueued_tokens
                    .get(&shard.model)
                    .is_none_or(|limit| live.map(|live| live.tokens).sum::<u64>() + shard.demand.tokens <= *limit);
                let has_money = cap.is_none_or(|cap| ledger.spent_today(now) + shard.demand.usd <= cents(cap));
                ledger.live.len() < limits.live_batches as usize && has_tokens && has_money
            };
            let waiting: Vec<&Shard> = shards.iter().filter(|shard| ledger.waiting.contains_key(&shard.job)).collect();
            let admitted = |shard: &Shard| ledger.clone().admit(shard, &limits, now) == Admission::Granted;
            if waiting.iter().any(|shard| fits(shard)) {
                prop_assert!(waiting.iter().any(|shard| admitted(shard)), "{:?}", ledger);
            }
        }
    }
}
