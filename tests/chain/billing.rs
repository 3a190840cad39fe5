//! What a job says that it cost is what Gemini charged, to the micro-dollar, whatever went wrong
//! with it.
//!
//! The simulated Gemini keeps a bill by its own price table, which shares nothing with the
//! product's. What it charged for and never delivered nobody can know: that is counted apart.

use std::{collections::BTreeSet, future::pending};

use aws_sim::queue::Outgoing;
use cli::host::{self, WaitMode};
use darkroom::{
    chain::{CONTROLS, REPORTS},
    cost::{self, Estimate},
    messages::JobMessage,
    models::Catalog,
    money::Usd,
    names::JobId,
    state::{Phase, Shard, Submitted},
};
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Bill, Scenario};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{Making, World};

use super::{acknowledged, step};

/// The models of a mixed job. Two of them think, which costs and can't be foreseen.
const MODELS: [&str; 3] = ["nano-banana-2", "nano-banana-pro", "nano-banana-2-lite"];

/// A Gemini that refuses in every way, fails, tells answers twice, serves twice, and answers what
/// nobody asked for.
fn lying(seed: u64) -> Scenario {
    Scenario {
        seed,
        refuse_percent: 20,
        internal_error_percent: 20,
        repeated_percent: 20,
        served_twice_percent: 15,
        unknown_percent: 15,
        thoughts_percent: 10,
        shuffle: true,
        ..Scenario::default()
    }
}

/// A world in which shards are small.
fn world(scenario: Scenario) -> World {
    let mut making = Making {
        scenario,
        ..Making::default()
    };
    making.settings.shard.requests = 5;
    World::made_with(making).unwrap()
}

/// Drops a manifest of so many images, of these models by turns.
async fn drop_mixed(world: &World, count: usize, models: &[&str]) {
    let item = |number: usize| {
        let prompt = format!("a stone, and {number} more of them");
        json!({ "key": format!("stone-{number:03}"), "prompt": prompt, "model": models[number % models.len()] })
    };
    let manifest: String = (0..count)
        .map(|number| format!("{}\n", item(number)))
        .collect();
    world.put("inbox/stones.jsonl", manifest).await.unwrap();
}

pub(crate) fn job(world: &World) -> String {
    world.jobs().unwrap()[0].clone()
}

pub(crate) async fn summary(world: &World) -> Value {
    world
        .json(&format!("{}summary.json", job(world)))
        .await
        .unwrap()
}

/// All that Gemini charged for, of that what was delivered, in dollars.
pub(crate) fn bill(world: &World) -> (Usd, Usd) {
    let bills: Vec<Bill> = world
        .gemini
        .records()
        .unwrap()
        .into_iter()
        .map(|record| record.bill)
        .collect();
    let all: u64 = bills.iter().map(|bill| bill.nanodollars).sum();
    let lost: u64 = bills.iter().map(|bill| bill.undelivered_nanodollars).sum();
    assert_eq!(all, world.gemini.billed().unwrap());
    (dollars(all), dollars(all - lost))
}

fn dollars(nanodollars: u64) -> Usd {
    Usd::new(Decimal::new(i64::try_from(nanodollars).unwrap(), 9))
}

/// An amount as a document holds it: rounded to a micro-dollar.
pub(crate) fn written(amount: Usd) -> Value {
    serde_json::to_value(amount).unwrap()
}

pub(crate) fn amount(value: &Value) -> Decimal {
    serde_json::from_value::<Usd>(value.clone())
        .unwrap()
        .dollars()
}

/// What an amount summed up from so many rounded ones may be off by.
pub(crate) fn off(one: Decimal, other: Decimal, rounded: usize) -> bool {
    (one - other).abs() > Decimal::new(i64::try_from(rounded).unwrap(), 6)
}

/// The states of all shards and rounds.
pub(crate) async fn shards(world: &World) -> Vec<Shard> {
    let objects = world.objects().unwrap();
    let states = objects
        .iter()
        .filter(|(key, _)| key.ends_with("state.json") && key.contains("/shards/"));
    states
        .map(|(_, text)| serde_json::from_slice(text).unwrap())
        .collect()
}

/// The ledger has no open place, and counts what the shards cost.
pub(crate) async fn assert_settled(world: &World) {
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.unsettled.is_empty(),
        "{ledger:?}"
    );
    let cost = |shard: &Shard| match &shard.phase {
        Phase::Done { cost_usd, .. } => cost_usd.unwrap(),
        Phase::Cancelled => Usd::ZERO,
        other => panic!("{} is {}", shard.shard, other.name()),
    };
    let cost: Usd = shards(world).await.iter().map(cost).sum();
    assert_eq!(written(ledger.spent.values().copied().sum()), written(cost));
}

/// The parts of a summary's money come to the same as the whole.
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
    let told: Decimal = cost["variance_percent"].to_string().parse().unwrap();
    assert!(
        (above - told).abs() <= Decimal::new(1, 2),
        "{above} is told as {told}"
    );
}

#[tokio::test]
async fn the_summary_is_the_bill_whatever_was_refused_failed_or_told_twice() {
    for seed in 1..=4 {
        let world = world(lying(seed));
        drop_mixed(&world, 27, &MODELS).await;
        world.run().await.unwrap();
        let summary = summary(&world).await;
        let (cost, (all, delivered)) = (&summary["cost"], bill(&world));
        assert_eq!(all, delivered, "nothing was lost");
        assert_eq!(cost["actual_usd"], written(all), "seed {seed}: {cost}");
        assert_eq!(
            cost["unaccounted"],
            json!({ "requests": 0, "estimated_usd": 0 })
        );

        let lines = world
            .lines(&format!("{}results.jsonl", job(&world)))
            .await
            .unwrap();
        assert_adds_up(cost, &lines);
        assert_settled(&world).await;
        // All of it was there.
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
async fn a_job_that_a_person_cancels_pays_for_what_was_made() {
    let world = world(lying(5));
    drop_mixed(&world, 27, &MODELS).await;
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        Ok(shards(&world).await.iter().any(|shard| {
            matches!(
                shard.phase,
                Phase::Submitted(Submitted { finished: 2.., .. })
            )
        }))
    })
    .await
    .unwrap();
    let name = job(&world).trim_start_matches("jobs/").to_owned();
    world
        .put(&format!("control/{name}cancel"), "")
        .await
        .unwrap();
    assert!(acknowledged(&step!(&world, control, CONTROLS)));
    world.run().await.unwrap();

    assert!(
        world
            .read(&format!("{}_CANCELLED", job(&world)))
            .await
            .unwrap()
            .is_some()
    );
    assert!(world.wire.count(":cancel") > 0);
    let (cost, (all, delivered)) = (summary(&world).await["cost"].clone(), bill(&world));
    assert_eq!(
        (all, &cost["actual_usd"]),
        (delivered, &written(all)),
        "{cost}"
    );
    assert!(
        all > Usd::ZERO && amount(&cost["actual_usd"]) < amount(&cost["estimated_usd"]),
        "{cost}"
    );
    assert_settled(&world).await;
}

#[tokio::test]
async fn batches_that_are_cancelled_fail_or_expire_are_paid_for_as_far_as_they_came() {
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
    let world = world(Scenario {
        batch_outcomes,
        ..lying(6)
    });
    drop_mixed(&world, 27, &MODELS).await;
    world.run().await.unwrap();
    let ends: BTreeSet<String> = shards(&world)
        .await
        .iter()
        .map(|shard| match &shard.phase {
            Phase::Done { ended, .. } => ended.state.clone(),
            other => panic!("{}", other.name()),
        })
        .collect();
    assert!(
        ["CANCELLED", "FAILED", "EXPIRED"]
            .iter()
            .all(|end| ends.contains(*end)),
        "{ends:?}"
    );
    let (cost, (all, delivered)) = (summary(&world).await["cost"].clone(), bill(&world));
    assert_eq!(
        (all, &cost["actual_usd"]),
        (delivered, &written(all)),
        "{cost}"
    );
}

#[tokio::test]
async fn what_is_charged_for_and_lost_is_counted_apart_at_its_estimate() {
    // No answer that is charged for twice, of which nobody is told when it is lost; and none under
    // the key of nobody, which would be taken for the answer that a lost one is.
    let world = world(Scenario {
        missing_percent: 25,
        served_twice_percent: 0,
        unknown_percent: 0,
        ..lying(7)
    });
    // This model doesn't think: its estimate is exact.
    drop_mixed(&world, 24, &["nano-banana-2-lite"]).await;
    super::run_to_the_end(&world).await;
    let (cost, (all, delivered)) = (summary(&world).await["cost"].clone(), bill(&world));
    assert!(delivered < all, "nothing was lost");
    assert_eq!(cost["actual_usd"], written(delivered), "{cost}");
    assert!(cost["unaccounted"]["requests"].as_u64().unwrap() > 0);
    let lost = (all - delivered).dollars();
    assert!(
        !off(amount(&cost["unaccounted"]["estimated_usd"]), lost, 24),
        "{lost} in {cost}"
    );
    // What may have been spent counts against the day's cap, at the most that it may have been.
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    let spent: Usd = ledger.spent.values().copied().sum();
    let catalog = Catalog::built_in();
    let lite = catalog.model("gemini-3.1-flash-lite-image").unwrap();
    let thoughts = cost::ceiling(lite, None, Estimate::default())
        * cost["unaccounted"]["requests"].as_u64().unwrap();
    assert!(
        !off(spent.dollars(), (all + thoughts).dollars(), 48),
        "{ledger:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_counted_as_far_as_it_can_be_read() {
    let batch_outcomes = vec![BatchOutcomeRule {
        which: "first-2".parse().unwrap(),
        outcome: BatchOutcome::Truncated,
    }];
    let world = world(Scenario {
        batch_outcomes,
        ..lying(8)
    });
    drop_mixed(&world, 18, &MODELS).await;
    super::run_to_the_end(&world).await;
    let (cost, (all, delivered)) = (summary(&world).await["cost"].clone(), bill(&world));
    assert!(delivered < all, "nothing was lost");
    assert_eq!(cost["actual_usd"], written(delivered), "{cost}");
    assert!(cost["unaccounted"]["requests"].as_u64().unwrap() >= 2);
}

/// Closes the job once more, by what is stored now.
async fn close_again(world: &World) -> Value {
    let folder = world.cloud.path_of(&job(world));
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with('_') {
            std::fs::remove_file(path).unwrap();
        }
    }
    let name = JobId::new(job(world).trim_start_matches("jobs/").trim_end_matches('/'));
    let message = serde_json::to_string(&JobMessage::new(&name)).unwrap();
    world
        .cloud
        .queues
        .send(REPORTS, Outgoing::new(message))
        .unwrap();
    world.run().await.unwrap();
    summary(world).await
}

/// Has the first line of the parts that `meant` means forget what it cost.
async fn forget_one(world: &World, meant: fn(&Value) -> bool) -> Option<()> {
    for key in world
        .objects()
        .unwrap()
        .into_keys()
        .filter(|key| key.contains("/results/"))
    {
        let key = key.trim_start_matches("darkroom/");
        let mut lines = world.lines(key).await.unwrap();
        let Some(line) = lines
            .iter_mut()
            .find(|line| line["usage"].is_object() && meant(line))
        else {
            continue;
        };
        line.as_object_mut().unwrap().remove("usage");
        world
            .put(
                key,
                lines
                    .iter()
                    .map(|line| format!("{line}\n"))
                    .collect::<String>(),
            )
            .await
            .unwrap();
        return Some(());
    }
    None
}

#[tokio::test]
async fn one_answer_that_is_left_out_is_one_answer_too_little() {
    type Meant = fn(&Value) -> bool;
    let kinds: [(&str, Meant); 4] = [
        ("refused", |line| {
            line["status"] == "blocked" || line["status"] == "no_image"
        }),
        ("of nobody", |line| line["unmatched"] == "unknown_key"),
        ("served twice", |line| line["unmatched"] == "repeated_key"),
        ("an image", |line| line["status"] == "succeeded"),
    ];
    let world = world(Scenario {
        repeated_percent: 0,
        ..lying(9)
    });
    drop_mixed(&world, 27, &MODELS).await;
    world.run().await.unwrap();
    let (all, _) = bill(&world);
    let before = summary(&world).await;
    assert_eq!(before["cost"]["actual_usd"], written(all));
    assert_eq!(
        close_again(&world).await,
        before,
        "closing again changes nothing"
    );
    let mut last = amount(&before["cost"]["actual_usd"]);
    for (kind, meant) in kinds {
        forget_one(&world, meant)
            .await
            .unwrap_or_else(|| panic!("there is no answer that is {kind}"));
        let cost = close_again(&world).await["cost"].clone();
        let now = amount(&cost["actual_usd"]);
        assert!(
            now != last && cost["actual_usd"] != written(all),
            "{kind}: {cost}"
        );
        last = now;
    }
}
