//! Caps of folders, and fairness between folders.

use super::*;
use crate::lane::Lane;

const ACME: &str = "inbox/acme/**";
const OTHER: &str = "inbox/other/**";

fn path(folder: &str) -> FolderPath {
    FolderPath::new(folder)
}

/// A shard of a job in a folder.
fn shard_in(folder: &str, job: &str, number: u32, usd: i64) -> Shard {
    Shard {
        folder: Some(path(folder)),
        ..shard(job, number, UNLIMITED, 1, cents(usd))
    }
}

/// Limits with a daily and a monthly cap of one folder, in cents.
fn capped(daily: Option<i64>, monthly: Option<i64>) -> ProjectLimits {
    let caps = Caps {
        daily_usd: daily.map(cents),
        monthly_usd: monthly.map(cents),
    };
    ProjectLimits {
        folders: FolderCaps::Known(BTreeMap::from([(path(ACME), caps)])),
        ..limits(100, 100, None)
    }
}

fn spent(ledger: &Ledger, folder: &str, window: Window, now: Timestamp) -> Usd {
    let spending = ledger.folders.get(&path(folder));
    spending.map_or(Usd::ZERO, |spending| spending.spent(window, day(now)))
}

#[track_caller]
fn assert_granted(admission: &Admission) {
    assert_eq!(*admission, Admission::Granted);
}

#[test]
fn a_folder_at_its_daily_cap_waits_and_the_others_continue() {
    let (mut ledger, limits) = (Ledger::default(), capped(Some(50), Some(500)));
    assert_granted(&ledger.admit(&shard_in(ACME, "a", 0, 30), &limits, noon()));
    let waits = shard_in(ACME, "b", 0, 30);
    let at = assert_later(
        ledger.admit(&waits, &limits, noon()),
        "$0.30 of the daily cap of $0.50 of inbox/acme/** is spent or reserved, and this batch may \
         cost $0.30: it is submitted at 2026-11-22T00:00:00Z, when the next day begins, or sooner \
         if batches cost less than is reserved for them, or once the cap in stack/folders.toml is \
         raised",
    );
    assert_eq!(at, noon() + minutes(1));

    // Neither another folder nor a job without a folder waits.
    assert_granted(&ledger.admit(&shard_in(OTHER, "c", 0, 900), &limits, noon()));
    assert_granted(&ledger.admit(&small("d", 0), &limits, noon()));

    // It continues at midnight, or on the same day if the cap is raised.
    let mut raised = ledger.clone();
    assert_granted(&raised.admit(&waits, &capped(Some(60), Some(500)), at));
    assert_granted(&ledger.admit(&waits, &limits, midnight()));
    assert_eq!(spent(&ledger, ACME, Window::Day, midnight()), cents(30));
    assert_eq!(spent(&ledger, ACME, Window::Month, midnight()), cents(60));
}

#[test]
fn a_folder_asks_again_soon_even_if_nothing_can_be_freed() {
    let (mut ledger, limits) = (Ledger::default(), capped(Some(50), None));
    let first = shard_in(ACME, "a", 0, 50);
    assert_granted(&ledger.admit(&first, &limits, noon()));
    ledger.settle(&first.job, first.shard, Some(cents(50)));
    let waits = shard_in(ACME, "b", 0, 30);
    let mut now = noon();
    for _ in 0..20 {
        let at = assert_later(ledger.admit(&waits, &limits, now), "once the cap");
        assert!(at > now && at <= now + MAX_WAIT, "{at}");
        now = at;
    }
}

#[test]
fn a_monthly_cap_lasts_until_the_next_month_in_utc() {
    let (mut ledger, limits) = (Ledger::default(), capped(None, Some(50)));
    let first = shard_in(ACME, "a", 0, 40);
    assert_granted(&ledger.admit(&first, &limits, noon()));
    let waits = shard_in(ACME, "b", 0, 30);
    let expected = "$0.40 of the monthly cap of $0.50 of inbox/acme/** is spent or reserved";
    assert_later(ledger.admit(&waits, &limits, midnight()), expected);

    // The shard ends before the month does, as the message states.
    let Admission::Later { why, .. } = ledger.admit(&waits, &limits, midnight()) else {
        panic!("the month has ten cents left")
    };
    assert!(
        why.contains("at 2026-12-01T00:00:00Z, when the next month begins")
            && why.ends_with(
                "If that is not before 2026-11-28T12:00:00Z, the images are given up and listed in \
                 retry.jsonl"
            ),
        "{why}"
    );

    // A cost that is known days later still counts for the month.
    release(&mut ledger, &first);
    let days_later = noon() + SignedDuration::from_hours(100);
    assert_later(ledger.admit(&waits, &limits, days_later), expected);
    ledger.settle(&first.job, first.shard, Some(cents(20)));
    assert_eq!(spent(&ledger, ACME, Window::Month, days_later), cents(20));
    assert_granted(&ledger.admit(&waits, &limits, days_later));

    let december: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let before = december - SignedDuration::from_nanos(1);
    let next = shard_in(ACME, "c", 0, 50);
    assert_later(ledger.admit(&next, &limits, before), "monthly cap");
    assert_granted(&ledger.admit(&next, &limits, december));
    assert_eq!(spent(&ledger, ACME, Window::Month, before), cents(50));
}

#[test]
fn of_several_caps_the_one_that_lasts_longest_is_named() {
    let mut limits = capped(Some(40), Some(40));
    limits.daily_usd = Some(cents(40));
    let mut ledger = Ledger::default();
    assert_granted(&ledger.admit(&shard_in(ACME, "a", 0, 40), &limits, noon()));
    let next = shard_in(ACME, "b", 0, 10);
    assert_later(ledger.admit(&next, &limits, noon()), "monthly cap");
    // A folder without caps is subject to the cap of the deployment.
    let at = assert_later(
        ledger.admit(&shard_in(OTHER, "c", 0, 10), &limits, noon()),
        "the daily cap of $0.40 is spent",
    );
    assert!(at <= midnight());
}

#[test]
fn a_shard_above_a_cap_of_its_folder_is_never_admitted() {
    for (limits, expected) in [
        (
            capped(Some(50), None),
            "above the daily cap of $0.50 of inbox/acme/**",
        ),
        (
            capped(None, Some(50)),
            "above the monthly cap of $0.50 of inbox/acme/**",
        ),
    ] {
        let mut ledger = Ledger::default();
        for lane in [Lane::Batch, Lane::Interactive] {
            let large = shard_in(ACME, "a", 0, 51).in_lane(lane);
            let Admission::Never { why } = ledger.admit(&large, &limits, noon()) else {
                panic!("admitted: {expected}")
            };
            assert!(
                why.contains(expected) && why.contains("raise the cap in stack/folders.toml"),
                "{why}"
            );
        }
        assert_eq!(ledger, Ledger::default());
    }
}

#[test]
fn synchronous_shards_count_and_wait_too() {
    let (mut ledger, limits) = (Ledger::default(), capped(Some(50), None));
    let now = |job: &str, usd| shard_in(ACME, job, 0, usd).in_lane(Lane::Interactive);
    assert_granted(&ledger.admit(&now("a", 30), &limits, noon()));
    let at = assert_later(
        ledger.admit(&now("b", 30), &limits, noon()),
        "$0.30 of the daily cap of $0.50 of inbox/acme/** is spent or reserved, and these images \
         may cost $0.30: they are requested at 2026-11-22T00:00:00Z",
    );
    assert_eq!(at, noon() + MAX_WAIT);
    assert_later(
        ledger.admit(&shard_in(ACME, "c", 0, 30), &limits, noon()),
        ACME,
    );

    // What no call was made for is returned.
    let first = now("a", 30);
    for _ in 0..2 {
        ledger.close(&first.job, first.shard, Settlement::NeverBought, noon());
        assert_eq!(spent(&ledger, ACME, Window::Day, noon()), Usd::ZERO);
    }
    assert_granted(&ledger.admit(&now("b", 30), &limits, noon()));
}

#[test]
fn a_rescued_shard_exchanges_the_reservation_of_its_folder() {
    let (mut ledger, limits) = (Ledger::default(), capped(Some(50), None));
    let planned = shard_in(ACME, "a", 0, 20);
    assert_granted(&ledger.admit(&planned, &limits, noon()));
    let mut rescued = planned.in_lane(Lane::Interactive);
    rescued.demand.usd = cents(40);
    assert_granted(&ledger.admit(&rescued, &limits, noon()));
    assert_eq!(spent(&ledger, ACME, Window::Day, noon()), cents(40));
}

#[test]
fn unknown_caps_stop_folders_alone_and_only_what_is_new() {
    let known = capped(Some(50), None);
    let unknown = ProjectLimits {
        folders: FolderCaps::Unknown("stack/folders.toml: line 7: no such field".to_owned()),
        ..known.clone()
    };
    let mut ledger = Ledger::default();
    let (admitted, new) = (shard_in(ACME, "a", 0, 10), shard_in(ACME, "b", 0, 10));
    assert_granted(&ledger.admit(&admitted, &known, noon()));
    for lane in [Lane::Batch, Lane::Flex] {
        let at = assert_later(
            ledger.admit(&new.clone().in_lane(lane), &unknown, noon()),
            "the caps of inbox/acme/** can't be read, so nothing is bought there until they can: \
             stack/folders.toml: line 7",
        );
        assert_eq!(at, noon() + MAX_WAIT);
    }
    assert_granted(&ledger.admit(&admitted, &unknown, noon()));
    assert_granted(&ledger.admit(&small("c", 0), &unknown, noon()));

    // A job of a folder that waited before delays no job without one.
    let full = ProjectLimits {
        live_batches: MaxLiveBatches::new(2).unwrap(),
        ..unknown
    };
    let known_full = ProjectLimits {
        live_batches: MaxLiveBatches::new(2).unwrap(),
        ..known
    };
    assert_later(
        ledger.admit(&new, &known_full, noon()),
        "2 batches are live",
    );
    release(&mut ledger, &small("c", 0));
    assert_granted(&ledger.admit(&small("d", 0), &full, noon() + minutes(1)));
}

#[test]
fn a_folder_at_its_cap_delays_no_other_job() {
    let (mut ledger, mut limits) = (Ledger::default(), capped(Some(50), None));
    limits.live_batches = MaxLiveBatches::new(2).unwrap();
    assert_granted(&ledger.admit(&shard_in(ACME, "a", 0, 40), &limits, noon()));
    assert_later(
        ledger.admit(&shard_in(ACME, "b", 0, 40), &limits, noon()),
        ACME,
    );
    // One batch is free, and the job that came first can't have it today.
    assert_granted(&ledger.admit(&small("c", 0), &limits, noon() + minutes(1)));
}

#[test]
fn a_folder_with_many_jobs_takes_turns_with_a_folder_with_one() {
    let (mut ledger, limits) = (Ledger::default(), limits(1, 100, None));
    assert_granted(&ledger.admit(&small("x", 0), &limits, noon()));
    for number in 0..9 {
        let job = shard_in(ACME, &format!("a-{number}"), 0, 1);
        assert_later(
            ledger.admit(&job, &limits, noon() + minutes(number)),
            "live",
        );
    }
    let one = shard_in(OTHER, "one", 0, 1);
    let now = noon() + minutes(10);
    assert_later(ledger.admit(&one, &limits, now), "1 other job");
    release(&mut ledger, &small("x", 0));

    // The folder that came first is served first, and then it is the other's turn.
    let first = shard_in(ACME, "a-0", 0, 1);
    assert_granted(&ledger.admit(&first, &limits, now));
    release(&mut ledger, &first);
    let next = shard_in(ACME, "a-1", 0, 1);
    assert_later(ledger.admit(&next, &limits, now), "1 other job comes first");
    assert_granted(&ledger.admit(&one, &limits, now));
    release(&mut ledger, &one);
    assert_granted(&ledger.admit(&next, &limits, now));
}

#[test]
fn the_batches_of_all_jobs_of_a_folder_count_for_its_turn() {
    let (mut ledger, limits) = (Ledger::default(), limits(3, 100, None));
    for job in ["a-0", "a-1"] {
        assert_granted(&ledger.admit(&shard_in(ACME, job, 0, 1), &limits, noon()));
    }
    assert_granted(&ledger.admit(&small("x", 0), &limits, noon()));
    // A new job of the folder has no batch itself, but its folder has two.
    let (third, other) = (shard_in(ACME, "a-2", 0, 1), shard_in(OTHER, "o", 0, 1));
    assert_later(ledger.admit(&third, &limits, noon()), "3 of at most 3");
    assert_later(
        ledger.admit(&other, &limits, noon() + minutes(1)),
        "3 of at most 3",
    );
    release(&mut ledger, &small("x", 0));
    let now = noon() + minutes(2);
    assert_later(
        ledger.admit(&third, &limits, now),
        "1 other job comes first",
    );
    assert_granted(&ledger.admit(&other, &limits, now));
}

#[test]
fn documents_of_earlier_versions_are_read_and_have_no_folders() {
    let text = r#"{"rev":7,"write_id":"w",
        "live":{"a/0000":{"model":"m","tokens":9,"usd":0.4,"at":"2026-11-21T09:00:00Z",
            "asked_at":"2026-11-21T09:00:00Z"}},
        "unsettled":{"b/0000":{"usd":0.12,"at":"2026-11-21T08:00:00Z"}},
        "waiting":{"c":{"since":"2026-11-21T08:00:00Z","back_at":"2026-11-21T12:10:00Z",
            "model":"m","tokens":1,"usd":1}},
        "served":{},"spent":{"2026-11-21":0.52},"accounts":{}}"#;
    let mut ledger: Ledger = serde_json::from_str(text).unwrap();
    let limits = capped(Some(50), None);
    assert_granted(&ledger.admit(&shard_in(ACME, "d", 0, 50), &limits, noon()));
    ledger.settle(&JobId::new("a"), ShardId::first(0), Some(cents(10)));
    ledger.settle(&JobId::new("b"), ShardId::first(0), Some(cents(2)));
    assert_eq!(ledger.spent_today(noon()), cents(62));
    assert_eq!(spent(&ledger, ACME, Window::Day, noon()), cents(50));

    // A ledger without folders is written as before.
    let old: Ledger = serde_json::from_str(text).unwrap();
    assert!(!serde_json::to_string(&old).unwrap().contains("folder"));
    let new = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&new).unwrap(), ledger);
}

#[test]
fn spending_is_forgotten_after_two_months() {
    let (mut ledger, limits) = (Ledger::default(), capped(None, None));
    let mut now = noon();
    for number in 0..400 {
        let shard = shard_in(ACME, &format!("a-{number}"), 0, 1);
        assert_granted(&ledger.admit(&shard, &limits, now));
        ledger.settle(&shard.job, shard.shard, Some(cents(1)));
        now += SignedDuration::from_hours(24);
    }
    let spending = &ledger.folders[&path(ACME)];
    assert!(
        spending.days.len() <= 2 && spending.months.len() <= 2,
        "{spending:?}"
    );
    let later = now + SignedDuration::from_hours(24 * 70);
    assert_granted(&ledger.admit(&small("x", 0), &limits, later));
    assert!(ledger.folders.is_empty(), "{:?}", ledger.folders);
}

/// One shard of the simulation.
#[derive(Clone, Debug)]
struct Purchase {
    shard: Shard,
    /// When it first asks, in minutes.
    first: i64,
    /// The delay of its message each time, in minutes.
    late: i64,
    /// How long it takes, in hours.
    hours: i64,
    end: End,
}

/// How the reservation of a shard ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It returns to its folder.
    Refunded,
    /// Its cost replaces it, in percent of the reservation. `None` means that the cost stays
    /// unknown.
    Settled(Option<u64>),
}

fn purchases() -> impl Strategy<Value = Vec<Purchase>> {
    let folder = prop::sample::select(vec![None, Some(ACME), Some(OTHER)]);
    let end = prop_oneof![
        Just(End::Refunded),
        prop::option::of(0..=100_u64).prop_map(End::Settled)
    ];
    let times = (0..60 * 24 * 20_i64, 0..600_i64, 1..200_i64);
    let one = (folder, 0..4_u32, 1..=100_i64, any::<bool>(), times, end);
    let one = one.prop_map(|(folder, job, usd, is_batch, (first, late, hours), end)| {
        let lane = if is_batch {
            Lane::Batch
        } else {
            Lane::Interactive
        };
        let name = format!("{}-{job}", folder.unwrap_or("none"));
        let shard = Shard {
            folder: folder.map(path),
            ..shard(&name, 0, UNLIMITED, 1, cents(usd)).in_lane(lane)
        };
        Purchase {
            shard,
            first,
            late,
            hours,
            end,
        }
    });
    prop::collection::vec(one, 1..14).prop_map(|mut purchases| {
        for (number, purchase) in (0..).zip(&mut purchases) {
            purchase.shard.shard = ShardId::first(number);
        }
        purchases
    })
}

fn caps() -> impl Strategy<Value = Caps> {
    let cap = || prop::option::of((100..300_i64).prop_map(cents));
    (cap(), cap()).prop_map(|(daily_usd, monthly_usd)| Caps {
        daily_usd,
        monthly_usd,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_cap_of_a_folder_is_ever_exceeded_and_every_reservation_ends(
        purchases in purchases(),
        live in 1..5_u32,
        acme in caps(),
        other in caps(),
        deployment in prop::option::of(100..300_i64),
    ) {
        let all = BTreeMap::from([(path(ACME), acme), (path(OTHER), other)]);
        let limits = ProjectLimits {
            folders: FolderCaps::Known(all.clone()),
            ..limits(live, 100, deployment)
        };
        let mut ledger = Ledger::default();
        let mut events: BTreeSet<(Timestamp, usize, Event)> = (0..)
            .zip(&purchases)
            .map(|(at, purchase)| (noon() + minutes(purchase.first), at, Event::Ask))
            .collect();
        // The test keeps its own books: what each admitted shard has reserved or cost, and when.
        let mut books: BTreeMap<usize, (Timestamp, Usd)> = BTreeMap::new();
        let deadline = noon() + SignedDuration::from_hours(24 * 31 * 20);
        while let Some((now, at, event)) = events.pop_first() {
            let Purchase { shard, late, hours, end, .. } = &purchases[at];
            prop_assert!(now < deadline, "{} starves", shard.job);
            match event {
                Event::Ask => match ledger.admit(shard, &limits, now) {
                    Admission::Granted => {
                        books.insert(at, (now, shard.demand.usd));
                        events.insert((now + SignedDuration::from_hours(*hours), at, Event::End));
                    }
                    Admission::Later { at: again, .. } => {
                        prop_assert!(again > now);
                        events.insert((again + minutes(*late), at, Event::Ask));
                    }
                    Admission::Never { why } | Admission::OverBudget { why } => {
                        prop_assert!(false, "{}", why);
                    }
                },
                Event::End => match *end {
                    End::Refunded => {
                        books.remove(&at);
                        ledger.close(&shard.job, shard.shard, Settlement::NeverBought, now);
                    }
                    End::Settled(percent) => {
                        let usd = shard.demand.usd;
                        let cost = percent.map(|percent| usd.share(percent, 100));
                        books.entry(at).and_modify(|(_, paid)| *paid = cost.unwrap_or(usd));
                        ledger.close(&shard.job, shard.shard, Settlement::Billed(cost), now);
                    }
                },
            }

            // No window of any folder is above its cap, and the ledger agrees with the books.
            for (folder, caps) in &all {
                for (window, cap) in [(Window::Day, caps.daily_usd), (Window::Month, caps.monthly_usd)] {
                    let first = |at: Timestamp| match window {
                        Window::Day => day(at),
                        Window::Month => day(at).first_of_month(),
                    };
                    let mut paid: BTreeMap<Date, Usd> = BTreeMap::new();
                    for (at, (admitted, usd)) in &books {
                        if purchases[*at].shard.folder.as_ref() == Some(folder) {
                            *paid.entry(first(*admitted)).or_default() += *usd;
                        }
                    }
                    for paid in paid.values() {
                        prop_assert!(cap.is_none_or(|cap| *paid <= cap), "{folder}: {paid}");
                    }
                    let spending = ledger.folders.get(folder);
                    let counted = spending.map_or(Usd::ZERO, |spending| spending.spent(window, day(now)));
                    let expected = paid.get(&first(now)).copied().unwrap_or_default();
                    prop_assert_eq!(counted, expected);
                }
            }
            let sums = ledger.folders.values().flat_map(|spending| {
                spending.days.values().chain(spending.months.values())
            });
            for sum in sums.chain(ledger.spent.values()) {
                prop_assert!(*sum >= Usd::ZERO);
            }
        }
        prop_assert!(ledger.live.is_empty() && ledger.unsettled.is_empty());
        prop_assert_eq!(books.len() + purchases.iter().filter(|one| matches!(one.end, End::Refunded)).count(), purchases.len());
    }
}
