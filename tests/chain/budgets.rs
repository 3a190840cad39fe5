//! A job's own budget holds over all its rounds.

use darkroom::{chain::FUNCTION_TIMEOUT, ledger::Ledger, money::Usd};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{Making, World};

const IMAGES: u64 = 40;

/// What an image may cost at the most.
const CEILING: &str = "0.020289";

/// A job of forty images in four shards with this budget, of which Gemini makes and charges for
/// all, and loses some.
async fn finished(seed: u64, missing_percent: u8, budget: Usd) -> World {
    let scenario = Scenario {
        seed,
        missing_percent,
        internal_error_percent: 10,
        ..Scenario::default()
    };
    let mut making = Making {
        scenario,
        ..Making::default()
    };
    making.settings.shard.requests = 10;
    let world = World::made_with(making).unwrap();
    let items: Vec<Value> = (0..IMAGES)
        .map(|number| json!({"key": format!("stone-{number:03}"), "prompt": "a stone"}))
        .collect();
    let manifest = json!({"job": {"budget_usd": budget}, "items": items});
    world
        .put("inbox/stones.json", manifest.to_string())
        .await
        .unwrap();
    super::run_to_the_end(&world).await;
    world
}

fn ceiling() -> Usd {
    CEILING.parse::<Usd>().unwrap() * IMAGES
}

fn billed(world: &World) -> Usd {
    Usd::new(Decimal::new(
        i64::try_from(world.gemini.billed().unwrap()).unwrap(),
        9,
    ))
}

async fn ledger(world: &World) -> Ledger {
    world.cloud.deps.submit.ledger.read().await.unwrap()
}

async fn lines(world: &World, name: &str) -> Vec<Value> {
    world
        .lines(&format!("{}{name}", world.jobs().unwrap()[0]))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_round_that_does_not_fit_is_not_asked_for_and_says_why() {
    let world = finished(3, 50, ceiling()).await;
    assert!(
        billed(&world) <= ceiling(),
        "{} of {}",
        billed(&world),
        ceiling()
    );
    let results = lines(&world, "results.jsonl").await;
    let over: Vec<&Value> = results
        .iter()
        .filter(|line| line["error"]["code"] == "BUDGET")
        .collect();
    assert!(over.len() >= 5, "{results:?}");
    for line in &over {
        assert_eq!(
            (&line["status"], &line["error"]["retryable"]),
            (&json!("failed"), &json!(false))
        );
        let message = line["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("of the job's budget_usd of $0.8116 are spent or reserved"),
            "{message}"
        );
        assert!(message.contains("the last try ended with "), "{message}");
    }
    // All of them can be asked for again, and the summary tells of them.
    let retry = lines(&world, "retry.jsonl").await;
    let missing = results
        .iter()
        .filter(|line| line["status"] != "succeeded")
        .count();
    assert_eq!(retry.len(), missing);
    let job = &world.jobs().unwrap()[0];
    let summary = world.json(&format!("{job}summary.json")).await.unwrap();
    let told = summary["errors_top"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["code"] == "BUDGET")
        .unwrap();
    assert_eq!(told["count"], json!(over.len()));
    assert!(
        world
            .read(&format!("{job}_PARTIAL"))
            .await
            .unwrap()
            .is_some()
    );
    let status = world.json(&format!("{job}job.json")).await.unwrap();
    let notes: Vec<&str> = status["shards"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["note"].as_str())
        .collect();
    assert!(
        notes.iter().any(|note| note.starts_with("BUDGET: ")),
        "{notes:?}"
    );
}

#[tokio::test]
async fn with_enough_money_the_same_rounds_are_asked_for() {
    let world = finished(3, 50, ceiling() * 4).await;
    let results = lines(&world, "results.jsonl").await;
    assert!(
        results.iter().all(|line| line["error"]["code"] != "BUDGET"),
        "{results:?}"
    );
    assert!(world.gemini.batches_created() > 4);
    assert!(billed(&world) <= ceiling() * 4);
}

#[tokio::test]
async fn the_bill_stays_within_the_budget_whatever_fails() {
    for seed in 1..=6 {
        for tenths in [10, 13, 20] {
            let budget =
                Usd::new(ceiling().dollars() * Decimal::new(tenths, 1)).rounded_up_to_cents();
            let world = finished(seed, 30, budget).await;
            assert!(
                billed(&world) <= budget,
                "seed {seed}: {} of {budget}",
                billed(&world)
            );
            assert_eq!(lines(&world, "results.jsonl").await.len() as u64, IMAGES);
            let account = ledger(&world).await.accounts.into_values().next().unwrap();
            assert!(account.committed_usd <= budget, "{account:?}");
        }
    }
}

#[tokio::test]
async fn the_account_goes_when_the_job_is_over_and_is_put_right_while_it_runs() {
    let world = finished(3, 50, ceiling() * 2).await;
    assert_eq!(ledger(&world).await.accounts.len(), 1);
    world
        .cloud
        .time
        .jump_to(world.cloud.time.now() + SignedDuration::from_hours(1))
        .unwrap();
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    sweep::handler::handle(&world.cloud.deps.sweep, deadline)
        .await
        .unwrap();
    assert!(ledger(&world).await.accounts.is_empty());

    // While a job is open, a change that was lost is made good.
    let world = super::planned_with_budget(3, "1").await;
    assert!(super::acknowledged(&super::step!(
        &world,
        submit,
        darkroom::chain::SHARDS
    )));
    let right = ledger(&world).await.accounts;
    assert_eq!(right.len(), 1);
    let store = &world.cloud.deps.submit.ledger;
    store
        .change(|ledger| {
            ledger
                .accounts
                .values_mut()
                .for_each(|account| account.committed_usd = Usd::ZERO)
        })
        .await
        .unwrap();
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    sweep::handler::handle(&world.cloud.deps.sweep, deadline)
        .await
        .unwrap();
    assert_eq!(ledger(&world).await.accounts, right);
}

#[tokio::test]
async fn a_budget_below_the_ceiling_is_rejected_with_both_numbers() {
    let world = finished(1, 0, "0.70".parse().unwrap()).await;
    let job = &world.jobs().unwrap()[0];
    let validation = world
        .read(&format!("{job}validation.csv"))
        .await
        .unwrap()
        .unwrap();
    for told in [
        "over_budget",
        "up to $0.8116",
        "about $0.672",
        "budget_usd $0.70",
        "raise it to $0.82",
    ] {
        assert!(validation.contains(told), "{validation}");
    }
    assert_eq!(world.gemini.batches_created(), 0);
}
