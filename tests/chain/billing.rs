//! The cost that a job reports is what Gemini charged, to the micro-dollar, whatever failed.
//!
//! The simulated Gemini keeps a bill by its own price table, which shares nothing with the
//! product's. What Gemini charged for and never delivered can't be known and is counted separately.

use std::{collections::BTreeSet, future::pending};

use aws_sim::queue::Outgoing;
use cli::host::{self, WaitMode};
use darkroom::{
    chain::REPORTS,
    cost::{self, Estimate},
    lane::Lane,
    messages::JobMessage,
    models::Catalog,
    money::Usd,
    state::{Phase, Shard, Submitted},
};
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Bill, Scenario};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{BatchResponse, TINY_SIDE, TestCloud};

/// The models of a mixed job. Two of them think, at a cost that can't be predicted.
const MODELS: [&str; 3] = ["nano-banana-2", "nano-banana-pro", "nano-banana-2-lite"];

/// Returns a scenario with every kind of refusal and failure, repeated results, and results of
/// unknown keys.
fn unreliable(seed: u64) -> Scenario {
    Scenario {
        seed,
        refuse_percent: 20,
        internal_error_percent: 20,
        repeated_percent: 20,
        served_twice_percent: 15,
        unknown_percent: 15,
        thoughts_percent: 10,
        image_side: Some(TINY_SIDE),
        shuffle: true,
        ..Scenario::default()
    }
}

/// Opens a cloud whose shards have five images.
fn test_cloud(scenario: Scenario) -> TestCloud {
    TestCloud::builder()
        .scenario(scenario)
        .shard_requests(5)
        .build()
}

/// Drops a manifest of `count` images that uses the models in turn.
async fn drop_mixed(cloud: &TestCloud, count: usize, models: &[&str]) {
    let item = |number: usize| {
        let prompt = format!("a stone, and {number} more of them");
        json!({ "key": format!("stone-{number:03}"), "prompt": prompt, "model": models[number % models.len()] })
    };
    let manifest: String = (0..count)
        .map(|number| format!("{}\n", item(number)))
        .collect();
    cloud.put("inbox/stones.jsonl", manifest).await;
}

/// Reads the summary of the job.
pub(crate) async fn summary(cloud: &TestCloud) -> Value {
    cloud.job().json("summary.json").await
}

/// Returns what Gemini charged in total, and for what it delivered.
pub(crate) fn bill(cloud: &TestCloud) -> (Usd, Usd) {
    let bills: Vec<Bill> = cloud
        .gemini
        .records()
        .unwrap()
        .into_iter()
        .map(|record| record.bill)
        .collect();
    let all: u64 = bills.iter().map(|bill| bill.nanodollars).sum();
    let lost: u64 = bills.iter().map(|bill| bill.undelivered_nanodollars).sum();
    assert_eq!(all, cloud.gemini.billed().unwrap());
    (dollars(all), dollars(all - lost))
}

fn dollars(nanodollars: u64) -> Usd {
    Usd::new(Decimal::new(i64::try_from(nanodollars).unwrap(), 9))
}

/// Returns an amount as it is stored, rounded to a micro-dollar.
pub(crate) fn written(amount: Usd) -> Value {
    serde_json::to_value(amount).unwrap()
}

pub(crate) fn amount(value: &Value) -> Decimal {
    serde_json::from_value::<Usd>(value.clone())
        .unwrap()
        .dollars()
}

/// Whether two amounts differ by more than the rounding of `rounded` amounts explains.
pub(crate) fn off(one: Decimal, other: Decimal, rounded: usize) -> bool {
    (one - other).abs() > Decimal::new(i64::try_from(rounded).unwrap(), 6)
}

/// Reads the states of all shards and rounds.
pub(crate) async fn shards(cloud: &TestCloud) -> Vec<Shard> {
    let objects = cloud.objects();
    let states = objects
        .iter()
        .filter(|(key, _)| key.ends_with("state.json") && key.contains("/shards/"));
    states
        .map(|(_, text)| serde_json::from_slice(text).unwrap())
        .collect()
}

/// Checks that the ledger has no live batch and has counted what the shards cost.
pub(crate) async fn assert_settled(cloud: &TestCloud) {
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    let cost = |shard: &Shard| match &shard.phase {
        Phase::Done { cost_usd, .. } => cost_usd.unwrap(),
        Phase::Cancelled => Usd::ZERO,
        other => panic!("{} is {}", shard.shard, other.name()),
    };
    let cost: Usd = shards(cloud).await.iter().map(cost).sum();
    assert_eq!(written(ledger.spent.values().copied().sum()), written(cost));
}

/// Checks that the parts of a summary's cost add up to the total.
fn assert_adds_up(cost: &Value, lines: &[Value]) {
    for name in ["actual_usd", "interactive_usd", "saved_usd"] {
        for split in ["by_model", "by_round"] {
            let parts = cost[split].as_array().unwrap();
            let sum: Decimal = parts.iter().map(|part| amount(&part[name])).sum();
            assert!(
                !off(sum, amount(&cost[name]), parts.len()),
                "{split} {name}: {sum} in {cost}"
            );
        }
    }
    let models = cost["by_model"].as_array().unwrap();
    let estimates: Decimal = models
        .iter()
        .map(|model| amount(&model["estimated_usd"]))
        .sum();
    assert!(
        !off(estimates, amount(&cost["estimated_usd"]), models.len()),
        "{cost}"
    );
    let of_lines: Decimal = lines.iter().map(|line| amount(&line["cost_usd"])).sum();
    assert!(
        !off(
            of_lines + amount(&cost["unattributed_usd"]),
            amount(&cost["actual_usd"]),
            lines.len()
        ),
        "{cost}"
    );
    let (actual, interactive) = (
        amount(&cost["actual_usd"]),
        amount(&cost["interactive_usd"]),
    );
    assert!(
        !off(actual * Decimal::TWO, interactive, 2),
        "a batch costs half: {cost}"
    );
    let above = (actual - amount(&cost["estimated_usd"])) / amount(&cost["estimated_usd"])
        * Decimal::ONE_HUNDRED;
    let reported: Decimal = cost["variance_percent"].to_string().parse().unwrap();
    assert!(
        (above - reported).abs() <= Decimal::new(1, 2),
        "{above} is reported as {reported}"
    );
}

#[tokio::test]
async fn the_summary_matches_the_bill_whatever_was_refused_failed_or_repeated() {
    for seed in 1..=4 {
        let cloud = test_cloud(unreliable(seed));
        drop_mixed(&cloud, 27, &MODELS).await;
        cloud.run().await;
        let summary = summary(&cloud).await;
        let (cost, (all, delivered)) = (&summary["cost"], bill(&cloud));
        assert_eq!(all, delivered, "nothing was lost");
        assert_eq!(cost["actual_usd"], written(all), "seed {seed}: {cost}");
        assert_eq!(
            cost["unaccounted"],
            json!({ "requests": 0, "estimated_usd": 0 })
        );

        let lines = cloud.job().lines("results.jsonl").await;
        assert_adds_up(cost, &lines);
        assert_settled(&cloud).await;
        // Everything that was charged for was delivered.
        let (counts, integrity) = (&summary["counts"], &summary["integrity"]);
        let some = |value: &Value| assert!(value.as_u64().unwrap() > 0, "{summary}");
        some(&integrity["repeated_keys"]);
        some(&integrity["unknown_keys"]);
        assert!(counts["blocked"].as_u64().unwrap() + counts["no_image"].as_u64().unwrap() > 0);
        assert!(amount(&cost["unattributed_usd"]) > Decimal::ZERO);
        assert_eq!(cost["by_model"].as_array().unwrap().len(), MODELS.len());
        let rounds = cost["by_round"].as_array().unwrap();
        assert!(rounds.len() > 1 && rounds[0]["requests"] == 27, "{cost}");
        let images = |parts: &Value| -> u64 {
            parts
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part["images"].as_u64().unwrap())
                .sum()
        };
        assert_eq!(
            [images(&cost["by_model"]), images(&cost["by_round"])],
            [counts["succeeded"].as_u64().unwrap(); 2]
        );
    }
}

#[tokio::test]
async fn a_cancelled_job_reports_the_cost_of_what_was_made() {
    let cloud = test_cloud(unreliable(5));
    drop_mixed(&cloud, 27, &MODELS).await;
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        Ok(shards(&cloud).await.iter().any(|shard| {
            matches!(
                shard.phase,
                Phase::Submitted(Submitted { finished: 2.., .. })
            )
        }))
    })
    .await
    .unwrap();
    cloud.job().request("cancel").await;
    assert!(cloud.control().await.acknowledged());
    cloud.run().await;

    assert!(cloud.job().has("_CANCELLED"));
    assert!(cloud.wire.count(":cancel") > 0);
    let (cost, (all, delivered)) = (summary(&cloud).await["cost"].clone(), bill(&cloud));
    assert_eq!(
        (all, &cost["actual_usd"]),
        (delivered, &written(all)),
        "{cost}"
    );
    assert!(
        all > Usd::ZERO && amount(&cost["actual_usd"]) < amount(&cost["estimated_usd"]),
        "{cost}"
    );
    assert_settled(&cloud).await;
}

#[tokio::test]
async fn batches_that_are_cancelled_fail_or_expire_cost_what_they_delivered() {
    let fate = |which: &str, fate| BatchOutcomeRule {
        which: which.parse().unwrap(),
        outcome: fate,
    };
    let batch_outcomes = vec![
        fate("1", BatchOutcome::Cancelled),
        fate("2", BatchOutcome::StuckRunning),
        fate("3", BatchOutcome::Failed),
        fate("4", BatchOutcome::Expired),
    ];
    let cloud = test_cloud(Scenario {
        batch_outcomes,
        ..unreliable(6)
    });
    drop_mixed(&cloud, 27, &MODELS).await;
    cloud.run().await;
    let ends: BTreeSet<String> = shards(&cloud)
        .await
        .iter()
        .map(|shard| match &shard.phase {
            Phase::Done { ended, .. } => ended.as_ref().unwrap().state.clone(),
            other => panic!("{}", other.name()),
        })
        .collect();
    assert!(
        ["CANCELLED", "FAILED", "EXPIRED"]
            .iter()
            .all(|end| ends.contains(*end)),
        "{ends:?}"
    );
    let (cost, (all, delivered)) = (summary(&cloud).await["cost"].clone(), bill(&cloud));
    assert_eq!(
        (all, &cost["actual_usd"]),
        (delivered, &written(all)),
        "{cost}"
    );
}

#[tokio::test]
async fn lost_results_are_counted_separately_at_their_estimate() {
    // Without repeated results, because the loss of a repeated one can't be detected, and without
    // unknown keys, because such a result would be taken for the lost one.
    let cloud = test_cloud(Scenario {
        missing_percent: 25,
        served_twice_percent: 0,
        unknown_percent: 0,
        ..unreliable(7)
    });
    // This model does not think, so its estimate is exact.
    drop_mixed(&cloud, 24, &["nano-banana-2-lite"]).await;
    super::run_to_the_end(&cloud).await;
    let (cost, (all, delivered)) = (summary(&cloud).await["cost"].clone(), bill(&cloud));
    assert!(delivered < all, "nothing was lost");
    assert_eq!(cost["actual_usd"], written(delivered), "{cost}");
    assert!(cost["unaccounted"]["requests"].as_u64().unwrap() > 0);
    let lost = (all - delivered).dollars();
    assert!(
        !off(amount(&cost["unaccounted"]["estimated_usd"]), lost, 24),
        "{lost} in {cost}"
    );
    // Lost results count against the daily cap at their maximum cost.
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    let spent: Usd = ledger.spent.values().copied().sum();
    let catalog = Catalog::built_in();
    let lite = catalog.model("gemini-3.1-flash-lite-image").unwrap();
    let thoughts = cost::ceiling(lite, Lane::Batch, None, Estimate::default())
        * cost["unaccounted"]["requests"].as_u64().unwrap();
    assert!(
        !off(spent.dollars(), (all + thoughts).dollars(), 48),
        "{ledger:?}"
    );
}

#[tokio::test]
async fn a_truncated_output_is_counted_as_far_as_it_can_be_read() {
    let batch_outcomes = vec![BatchOutcomeRule {
        which: "first-2".parse().unwrap(),
        outcome: BatchOutcome::Truncated,
    }];
    let cloud = test_cloud(Scenario {
        batch_outcomes,
        ..unreliable(8)
    });
    drop_mixed(&cloud, 18, &MODELS).await;
    super::run_to_the_end(&cloud).await;
    let (cost, (all, delivered)) = (summary(&cloud).await["cost"].clone(), bill(&cloud));
    assert!(delivered < all, "nothing was lost");
    assert_eq!(cost["actual_usd"], written(delivered), "{cost}");
    assert!(cost["unaccounted"]["requests"].as_u64().unwrap() >= 2);
}

/// Closes the job again, from what is stored now.
async fn close_again(cloud: &TestCloud) -> Value {
    let folder = cloud.path_of(cloud.job().folder());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with('_') {
            std::fs::remove_file(path).unwrap();
        }
    }
    let name = cloud.job().id();
    let message = serde_json::to_string(&JobMessage::new(&name)).unwrap();
    cloud
        .local
        .queues
        .send(REPORTS, Outgoing::new(message))
        .unwrap();
    cloud.run().await;
    summary(cloud).await
}

/// Removes the usage from the first chunk line that `meant` selects. Returns `None` if there is
/// none.
async fn forget_one(cloud: &TestCloud, meant: fn(&Value) -> bool) -> Option<()> {
    for key in cloud
        .objects()
        .into_keys()
        .filter(|key| key.contains("/results/"))
    {
        let key = key.trim_start_matches("darkroom/");
        let mut lines = cloud.lines(key).await;
        let Some(line) = lines
            .iter_mut()
            .find(|line| line["usage"].is_object() && meant(line))
        else {
            continue;
        };
        line.as_object_mut().unwrap().remove("usage");
        cloud
            .put(
                key,
                lines
                    .iter()
                    .map(|line| format!("{line}\n"))
                    .collect::<String>(),
            )
            .await;
        return Some(());
    }
    None
}

#[tokio::test]
async fn one_result_without_usage_makes_the_cost_too_low() {
    type Meant = fn(&Value) -> bool;
    let kinds: [(&str, Meant); 4] = [
        ("refused", |line| {
            line["status"] == "blocked" || line["status"] == "no_image"
        }),
        ("of an unknown key", |line| {
            line["unmatched"] == "unknown_key"
        }),
        ("served twice", |line| line["unmatched"] == "repeated_key"),
        ("an image", |line| line["status"] == "succeeded"),
    ];
    let cloud = test_cloud(Scenario {
        repeated_percent: 0,
        ..unreliable(9)
    });
    drop_mixed(&cloud, 27, &MODELS).await;
    cloud.run().await;
    let (all, _) = bill(&cloud);
    let before = summary(&cloud).await;
    assert_eq!(before["cost"]["actual_usd"], written(all));
    assert_eq!(
        close_again(&cloud).await,
        before,
        "closing again must not change the cost"
    );
    let mut last = amount(&before["cost"]["actual_usd"]);
    for (kind, meant) in kinds {
        forget_one(&cloud, meant)
            .await
            .unwrap_or_else(|| panic!("there is no result that is {kind}"));
        let cost = close_again(&cloud).await["cost"].clone();
        let now = amount(&cost["actual_usd"]);
        assert!(
            now != last && cost["actual_usd"] != written(all),
            "{kind}: {cost}"
        );
        last = now;
    }
}
