//! A job's own budget holds over all its rounds.

use darkroom::{ledger::Ledger, money::Usd};
use gemini_sim::Scenario;
use jiff::SignedDuration;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud};

const IMAGES: u64 = 40;

/// The maximum cost of an image, in dollars.
const CEILING: &str = "0.020289";

/// Runs a job of forty images in four shards with this budget. Gemini charges for all images and
/// loses some of them.
async fn finished(seed: u64, missing_percent: u8, budget: Usd) -> TestCloud {
    let scenario = Scenario {
        seed,
        missing_percent,
        internal_error_percent: 10,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder()
        .scenario(scenario)
        .shard_requests(10)
        .build();
    let items: Vec<Value> = (0..IMAGES)
        .map(|number| json!({"key": format!("stone-{number:03}"), "prompt": "a stone"}))
        .collect();
    let manifest = json!({"job": {"budget_usd": budget}, "items": items});
    cloud.put("inbox/stones.json", manifest.to_string()).await;
    super::run_to_the_end(&cloud).await;
    cloud
}

fn ceiling() -> Usd {
    CEILING.parse::<Usd>().unwrap() * IMAGES
}

fn billed(cloud: &TestCloud) -> Usd {
    Usd::new(Decimal::new(
        i64::try_from(cloud.gemini.billed().unwrap()).unwrap(),
        9,
    ))
}

async fn ledger(cloud: &TestCloud) -> Ledger {
    cloud.local.deps.submit.ledger.read().await.unwrap()
}

async fn lines(cloud: &TestCloud, name: &str) -> Vec<Value> {
    cloud.lines(&format!("{}{name}", cloud.jobs()[0])).await
}

#[tokio::test]
async fn a_round_that_exceeds_the_budget_is_not_created_and_states_why() {
    let cloud = finished(3, 50, ceiling()).await;
    assert!(
        billed(&cloud) <= ceiling(),
        "{} of {}",
        billed(&cloud),
        ceiling()
    );
    let results = lines(&cloud, "results.jsonl").await;
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
            message.contains("of the job's budget_usd of $0.8116 is spent or reserved"),
            "{message}"
        );
        assert!(
            message.contains("the last attempt ended with "),
            "{message}"
        );
    }
    // All of them are in the retry manifest, and the summary counts them.
    let retry = lines(&cloud, "retry.jsonl").await;
    let missing = results
        .iter()
        .filter(|line| line["status"] != "succeeded")
        .count();
    assert_eq!(retry.len(), missing);
    let job = cloud.job();
    let summary = job.json("summary.json").await;
    let told = summary["errors_top"]
        .as_array()
        .unwrap()
        .iter()
        .find(|error| error["code"] == "BUDGET")
        .unwrap();
    assert_eq!(told["count"], json!(over.len()));
    assert!(job.has("_PARTIAL"));
    let status = job.json("job.json").await;
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
async fn a_sufficient_budget_allows_the_same_rounds() {
    let cloud = finished(3, 50, ceiling() * 4).await;
    let results = lines(&cloud, "results.jsonl").await;
    assert!(
        results.iter().all(|line| line["error"]["code"] != "BUDGET"),
        "{results:?}"
    );
    assert!(cloud.gemini.batches_created() > 4);
    assert!(billed(&cloud) <= ceiling() * 4);
}

#[tokio::test]
async fn the_bill_stays_within_the_budget_whatever_fails() {
    for seed in 1..=6 {
        for tenths in [10, 13, 20] {
            let budget =
                Usd::new(ceiling().dollars() * Decimal::new(tenths, 1)).rounded_up_to_cents();
            let cloud = finished(seed, 30, budget).await;
            assert!(
                billed(&cloud) <= budget,
                "seed {seed}: {} of {budget}",
                billed(&cloud)
            );
            assert_eq!(lines(&cloud, "results.jsonl").await.len() as u64, IMAGES);
            let account = ledger(&cloud).await.accounts.into_values().next().unwrap();
            assert!(account.committed_usd <= budget, "{account:?}");
        }
    }
}

#[tokio::test]
async fn an_account_is_removed_after_its_job_and_corrected_during_it() {
    let cloud = finished(3, 50, ceiling() * 2).await;
    assert_eq!(ledger(&cloud).await.accounts.len(), 1);
    cloud.advance(SignedDuration::from_hours(1));
    cloud.sweep().await;
    assert!(ledger(&cloud).await.accounts.is_empty());

    // While a job is open, the sweep restores a lost change.
    let cloud = super::planned_with_budget(3, "1").await;
    assert!(cloud.submit().await.acknowledged());
    let right = ledger(&cloud).await.accounts;
    assert_eq!(right.len(), 1);
    let store = &cloud.local.deps.submit.ledger;
    store
        .change(|ledger| {
            ledger
                .accounts
                .values_mut()
                .for_each(|account| account.committed_usd = Usd::ZERO)
        })
        .await
        .unwrap();
    cloud.sweep().await;
    assert_eq!(ledger(&cloud).await.accounts, right);
}

#[tokio::test]
async fn a_budget_below_the_ceiling_is_rejected_with_both_numbers() {
    let cloud = finished(1, 0, "0.70".parse().unwrap()).await;
    let validation = cloud.job().text("validation.csv").await;
    for told in [
        "over_budget",
        "up to $0.8116",
        "about $0.672",
        "budget_usd $0.70",
        "raise it to $0.82",
    ] {
        assert!(validation.contains(told), "{validation}");
    }
    assert_eq!(cloud.gemini.batches_created(), 0);
}
