//! The budget of a job, over all its shards and rounds.

use super::*;
use crate::{
    key_list::KeyList,
    lane::Lane,
    names::RequestKey,
    state::{Budget, EndedBatch, Phase},
};

/// A shard of ten images at ten cents each, in a job with two such shards and this budget.
fn of_budget(number: u32, budget: i64) -> Shard {
    let budget = Some(Budget {
        usd: cents(budget),
        first_round_usd: cents(200),
    });
    let demand = Demand {
        requests: 10,
        tokens: 1,
        usd: cents(100),
    };
    Shard {
        budget,
        demand,
        ..small("job", number)
    }
}

/// The next round of a shard, with this number of images.
fn round(shard: &Shard, keys: usize) -> Shard {
    let keys: Vec<RequestKey> = (0..keys)
        .map(|key| RequestKey::new(key.to_string()))
        .collect();
    shard.next_round(KeyList::of(&keys).unwrap().0, shard.lane, None, noon())
}

fn limits() -> ProjectLimits {
    super::limits(9, 100, None)
}

fn admitted(ledger: &mut Ledger, shard: &Shard) -> bool {
    match ledger.admit(shard, &limits(), noon()) {
        Admission::Granted => true,
        Admission::OverBudget { .. } => false,
        other @ (Admission::Later { .. } | Admission::Never { .. }) => panic!("{other:?}"),
    }
}

fn settle(ledger: &mut Ledger, shard: &Shard, cost: i64) {
    ledger.settle(&shard.job, shard.shard, Some(cents(cost)));
}

fn committed(ledger: &Ledger) -> Usd {
    ledger.accounts[&JobId::new("job")].committed_usd
}

fn done(shard: &Shard, cost: Option<i64>) -> Shard {
    let ended = EndedBatch {
        batch: crate::names::BatchName::new("batches/b"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: None,
        error: None,
        submitted_at: noon(),
        ended_at: noon(),
    };
    let phase = Phase::Done {
        ended: Some(ended),
        chunks: Vec::new(),
        next: None,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: cost.map(cents),
    };
    shard.enter(phase, shard.deadline)
}

#[test]
fn a_round_is_admitted_only_if_it_fits_the_budget_left_by_costs_and_reservations() {
    let mut ledger = Ledger::default();
    let (one, two) = (of_budget(0, 230), of_budget(1, 230));
    assert!(admitted(&mut ledger, &one));
    assert_eq!(
        committed(&ledger),
        cents(200),
        "the other shard's money stays committed"
    );
    // 85 of 100 cents were spent, so 15 are left over, in addition to 30 that were never committed.
    settle(&mut ledger, &one, 85);
    assert_eq!(committed(&ledger), cents(185));
    let Admission::OverBudget { why } = ledger.admit(&round(&one, 5), &limits(), noon()) else {
        panic!("admitted")
    };
    assert!(
        why.contains(
            "retrying 5 images may cost $0.50, and $1.85 of the job's budget_usd of $2.30"
        ),
        "{why}"
    );
    assert!(admitted(&mut ledger, &round(&one, 4)));
    assert_eq!(committed(&ledger), cents(225));
    // The other shard's money is still available, and so is what the round has left over.
    assert!(admitted(&mut ledger, &two));
    settle(&mut ledger, &round(&one, 4), 10);
    assert_eq!(committed(&ledger), cents(195));
    settle(&mut ledger, &two, 100);
    assert!(!admitted(&mut ledger, &round(&two, 4)));
    assert!(admitted(&mut ledger, &round(&two, 3)));
    for reservation in ledger.live.values() {
        assert_eq!(reservation.usd, cents(30));
    }
}

#[test]
fn repeated_admissions_refunds_and_settlements_change_nothing() {
    let mut ledger = Ledger::default();
    let one = of_budget(0, 230);
    assert!(admitted(&mut ledger, &one));
    for _ in 0..2 {
        // The shard will ask again, so its money stays committed.
        ledger.refund(&one.job, one.shard);
        assert_eq!(
            (committed(&ledger), ledger.spent_today(noon())),
            (cents(200), Usd::ZERO)
        );
    }
    assert!(admitted(&mut ledger, &one));
    for _ in 0..2 {
        settle(&mut ledger, &one, 80);
        assert_eq!(committed(&ledger), cents(180));
    }
    let again = round(&one, 4);
    for _ in 0..2 {
        assert!(admitted(&mut ledger, &again));
        assert_eq!(committed(&ledger), cents(220));
    }
    for _ in 0..2 {
        ledger.refund(&again.job, again.shard);
        assert_eq!(
            committed(&ledger),
            cents(180),
            "a round that is not admitted has no claim"
        );
    }
}

#[test]
fn a_shard_that_never_had_a_batch_returns_its_money_to_the_day_and_to_the_job() {
    let mut ledger = Ledger::default();
    let (one, two) = (of_budget(0, 200), of_budget(1, 200));
    assert!(admitted(&mut ledger, &one) && admitted(&mut ledger, &two));
    let cancelled = one
        .enter(
            Phase::Uploading {
                attempt: 1,
                lease_until: noon(),
            },
            noon(),
        )
        .cancelled();
    for _ in 0..2 {
        ledger.close(&one.job, one.shard, cancelled.settlement().unwrap(), noon());
        assert_eq!(
            (committed(&ledger), ledger.spent_today(noon())),
            (cents(100), cents(100))
        );
    }
    // If Gemini may have created the batch, the money stays reserved.
    let file = crate::names::FileName::new("files/f");
    let creating = Phase::Creating {
        attempt: 1,
        file,
        lease_until: noon(),
    };
    let unknown = two
        .enter(creating, noon())
        .held("unanswered", noon())
        .cancelled();
    ledger.close(&two.job, two.shard, unknown.settlement().unwrap(), noon());
    assert_eq!(
        (committed(&ledger), ledger.spent_today(noon())),
        (cents(100), cents(100))
    );
    assert!(ledger.live.is_empty() && ledger.unsettled.is_empty());
}

#[test]
fn if_batches_cost_more_than_reserved_later_shards_are_refused_one_by_one() {
    let mut ledger = Ledger::default();
    let budget = Some(Budget {
        usd: cents(300),
        first_round_usd: cents(300),
    });
    let shards = [0, 1, 2].map(|number| Shard {
        budget,
        ..of_budget(number, 0)
    });
    assert!(admitted(&mut ledger, &shards[0]));
    settle(&mut ledger, &shards[0], 101);
    for _ in 0..2 {
        assert!(!admitted(&mut ledger, &shards[1]));
        assert_eq!(committed(&ledger), cents(201));
    }
    assert!(admitted(&mut ledger, &shards[2]), "one shard still fits");
}

#[test]
fn a_job_without_a_budget_has_no_account() {
    let mut ledger = Ledger::default();
    assert!(admitted(&mut ledger, &small("job", 0)));
    assert!(ledger.accounts.is_empty());
}

#[test]
fn a_late_settlement_still_counts_for_the_job() {
    let mut ledger = Ledger::default();
    let one = of_budget(0, 230);
    assert!(admitted(&mut ledger, &one));
    release(&mut ledger, &one);
    let days_later = noon() + SignedDuration::from_hours(72);
    assert_eq!(
        ledger.admit(&small("other", 0), &limits(), days_later),
        Admission::Granted
    );
    settle(&mut ledger, &one, 50);
    assert_eq!(committed(&ledger), cents(150));
}

#[test]
fn an_account_is_recounted_from_the_states() {
    let mut ledger = Ledger::default();
    let (one, two) = (of_budget(0, 400), of_budget(1, 400));
    let again = round(&one, 4);
    assert!(admitted(&mut ledger, &one));
    settle(&mut ledger, &one, 80);
    assert!(admitted(&mut ledger, &again));
    let correct = committed(&ledger);
    assert_eq!(correct, cents(80 + 40 + 100));
    // The account itself was lost, or one of its changes.
    let states = [done(&one, Some(80)), again.clone(), two.clone()];
    let commitments: Vec<Commitment> = states.iter().map(Commitment::of).collect();
    for wrong in [0, 999] {
        let account = Account {
            committed_usd: cents(wrong),
            ..ledger.accounts[&one.job].clone()
        };
        ledger.accounts.insert(one.job.clone(), account.clone());
        ledger.recount(&one.job, &account, &commitments);
        assert_eq!(committed(&ledger), correct);
    }
    // A round that was admitted after the states were read.
    let account = ledger.accounts[&one.job].clone();
    ledger.recount(
        &one.job,
        &account,
        &[Commitment::of(&states[0]), Commitment::of(&two)],
    );
    assert_eq!(committed(&ledger), correct);
    // A round that waits for admission has no claim. A shard of unknown cost keeps its maximum.
    ledger.refund(&again.job, again.shard);
    let account = ledger.accounts[&one.job].clone();
    ledger.recount(&one.job, &account, &commitments);
    assert_eq!(committed(&ledger), cents(180));
    let unread =
        [done(&one, None), two.failed("INPUT", "gone")].map(|shard| Commitment::of(&shard));
    let account = ledger.accounts[&one.job].clone();
    ledger.recount(&one.job, &account, &unread);
    assert_eq!(committed(&ledger), cents(100));
}

#[test]
fn an_account_that_changed_since_the_states_were_read_is_not_recounted() {
    let mut ledger = Ledger::default();
    let one = of_budget(0, 400);
    assert!(admitted(&mut ledger, &one));
    let seen = ledger.accounts[&one.job].clone();
    settle(&mut ledger, &one, 80);
    ledger.recount(&one.job, &seen, &[Commitment::of(&one)]);
    assert_eq!(committed(&ledger), cents(180));
}
