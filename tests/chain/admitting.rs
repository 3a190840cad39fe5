//! Many jobs, and few places: all get their turn, and no limit is passed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex},
};

use cli::{
    cloud::CloudConfig,
    host::{self, WaitMode},
};
use darkroom::{
    chain::{FUNCTION_TIMEOUT, SHARDS},
    chunks::ChunkLine,
    cost,
    ledger::ProjectLimits,
    models::{Catalog, Tier},
    money::Usd,
    settings::MaxLiveBatches,
};
use gemini_sim::Scenario;
use tests::{Making, World};

use super::{acknowledged, another_run, delivered, planned, state, stones};

const JOBS: usize = 10;

fn limits(live_batches: u32, daily_usd: &str) -> ProjectLimits {
    ProjectLimits {
        live_batches: MaxLiveBatches::new(live_batches).unwrap(),
        enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::default()),
        daily_usd: Some(daily_usd.parse().unwrap()),
    }
}

/// Ten jobs of two batches each, dropped in one moment.
async fn ten_jobs(limits: ProjectLimits, scenario: Scenario) -> World {
    let mut settings = CloudConfig::default().settings;
    settings.shard.requests = 6;
    let world = World::made_with(Making {
        scenario,
        settings,
        limits: Some(limits),
        ..Making::default()
    })
    .unwrap();
    for number in 0..JOBS {
        world
            .put(
                &format!("inbox/job-{number}.jsonl"),
                another_run(&number.to_string(), &stones(12)),
            )
            .await
            .unwrap();
    }
    world
}

/// What each batch has cost, by the usage that Gemini told: the batch's name, and dollars.
fn costs(world: &World) -> BTreeMap<String, Usd> {
    let catalog = Catalog::built_in();
    let mut costs: BTreeMap<String, Usd> = BTreeMap::new();
    for (_, lines) in world
        .objects()
        .unwrap()
        .into_iter()
        .filter(|(key, _)| key.contains("/results/"))
    {
        for line in String::from_utf8(lines).unwrap().lines() {
            let ChunkLine::Result(result) = serde_json::from_str(line).unwrap() else {
                continue;
            };
            let rates = &catalog.model(&result.model.unwrap()).unwrap().batch;
            let cost = result
                .usage
                .map(|usage| cost::actual(&usage, rates))
                .unwrap_or_default();
            *costs
                .entry(result.batch_name.unwrap().to_string())
                .or_default() += cost;
        }
    }
    costs
}

#[tokio::test]
async fn ten_jobs_share_three_batches_and_a_daily_cap_and_none_starves() {
    // At some $0.021 an image with its thoughts, 66 images a day; 120 are wanted.
    let cap = "1.40";
    let scenario = Scenario {
        seed: 2,
        live_batches: 3,
        internal_error_percent: 5,
        ..Scenario::default()
    };
    let world = ten_jobs(limits(3, cap), scenario).await;
    world.run().await.unwrap();
    for job in world.jobs().unwrap() {
        assert!(
            world
                .read(&format!("{job}_SUCCESS"))
                .await
                .unwrap()
                .is_some(),
            "{job}"
        );
    }
    // Refused by Gemini were none: the ledger let no fourth batch go.
    let created = world.gemini.batches_created();
    assert_eq!(world.wire.count(":batchGenerateContent"), created);
    assert!(created >= 2 * JOBS, "{created} batches");
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.waiting.is_empty(),
        "{ledger:?}"
    );

    let costs = costs(&world);
    let mut days: BTreeMap<String, (Usd, BTreeSet<String>)> = BTreeMap::new();
    for batch in world.cloud.deps.submit.gemini.batches().await.unwrap() {
        let (spent, jobs) = days
            .entry(batch.create_time.unwrap().to_string()[..10].to_owned())
            .or_default();
        *spent += costs[batch.name.as_str()];
        jobs.insert(batch.display_name.split('/').nth(1).unwrap().to_owned());
    }
    assert!(
        days.values()
            .all(|(spent, _)| *spent <= cap.parse().unwrap()),
        "{days:?}"
    );
    assert!((2..=4).contains(&days.len()), "{days:?}");
    // Each has its turn before any has all.
    assert_eq!(days.values().next().unwrap().1.len(), JOBS, "{days:?}");
}

#[tokio::test]
async fn a_shard_that_waits_says_for_what() {
    let world = ten_jobs(limits(1, "100"), Scenario::default()).await;
    let waits: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&waits);
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        for job in world.jobs()? {
            if let Some(status) = world.read(&format!("{job}job.json")).await? {
                seen.lock().unwrap().extend(
                    status
                        .lines()
                        .filter(|line| line.contains("\"note\""))
                        .map(str::to_owned),
                );
            }
        }
        Ok(seen.lock().unwrap().len() > 20)
    })
    .await
    .unwrap();
    let waits = waits.lock().unwrap();
    assert!(
        waits
            .iter()
            .any(|note| note.contains("1 of at most 1 batches are live")),
        "{waits:?}"
    );
    assert!(
        waits
            .iter()
            .any(|note| note.contains("come first") || note.contains("comes first")),
        "{waits:?}"
    );
}

#[tokio::test]
async fn a_batch_that_no_day_can_pay_for_any_more_waits_for_another_cap() {
    let world = planned().await;
    // Somebody has lowered the cap since the job was planned.
    let deps = submit::deps::Deps {
        limits: limits(3, "0.01"),
        ..world.cloud.deps.submit.clone()
    };
    let deadline = world.cloud.time.now() + FUNCTION_TIMEOUT;
    assert!(!acknowledged(
        &submit::handler::handle(&deps, delivered(&world, SHARDS), deadline).await
    ));
    let state = state(&world).await;
    assert_eq!(state["phase"]["name"], "planned");
    assert!(
        state["waiting"]
            .as_str()
            .unwrap()
            .contains("above the daily cap of $0.01"),
        "{state}"
    );
    assert_eq!(world.gemini.batches_created(), 0);
}

/// The notes of a job's shards that wait.
async fn notes(world: &World, job: &str) -> anyhow::Result<Vec<String>> {
    let Some(status) = world.read(&format!("{job}job.json")).await? else {
        return Ok(Vec::new());
    };
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let notes = status["shards"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|shard| shard["note"].as_str());
    Ok(notes.map(str::to_owned).collect())
}

#[tokio::test]
async fn of_two_jobs_under_one_daily_cap_one_waits_and_says_when_it_will_go() {
    // Six images each, at some $0.021 with thoughts, and two days: not both fit into the first.
    let making = Making {
        limits: Some(limits(100, "0.20")),
        ..Making::default()
    };
    let world = World::made_with(making).unwrap();
    for name in ["one", "two"] {
        world
            .put(
                &format!("inbox/{name}.jsonl"),
                another_run(name, &stones(6)),
            )
            .await
            .unwrap();
    }
    let said: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&said);
    host::run(&world.cloud, WaitMode::Jump, pending(), async || {
        for job in world.jobs()? {
            let notes = notes(&world, &job).await?;
            seen.lock().unwrap().extend(notes);
        }
        Ok(false)
    })
    .await
    .unwrap();
    let said = said.lock().unwrap().clone();
    let why = |note: &&String| note.contains("of the daily cap of $0.20 is spent or reserved");
    let when = "it is submitted at 2026-11-22T00:00:00Z, when the next day begins";
    let told: Vec<&String> = said.iter().filter(why).collect();
    assert!(
        !told.is_empty() && told.iter().all(|note| note.contains(when)),
        "{said:?}"
    );

    // It went when it said it would, or sooner, and the cap was kept by what was spent.
    let days: BTreeSet<String> = world
        .gemini
        .records()
        .unwrap()
        .iter()
        .map(|record| record.created.to_string()[..10].to_owned())
        .collect();
    assert!(
        days.iter()
            .all(|day| day == "2026-11-21" || day == "2026-11-22"),
        "{days:?}"
    );
    let ledger = world.cloud.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger
            .spent
            .values()
            .all(|spent| *spent <= "0.20".parse().unwrap()),
        "{ledger:?}"
    );
    for job in world.jobs().unwrap() {
        assert!(
            world
                .read(&format!("{job}_SUCCESS"))
                .await
                .unwrap()
                .is_some(),
            "{job}"
        );
    }
}

#[tokio::test]
async fn a_job_goes_on_the_same_day_once_batches_cost_less_than_was_reserved() {
    // What may be reserved for two, and less than for three; thoughts cost less than what is kept
    // for them.
    let making = Making {
        limits: Some(limits(100, "0.24")),
        ..Making::default()
    };
    let world = World::made_with(making).unwrap();
    for name in ["one", "two"] {
        world
            .put(
                &format!("inbox/{name}.jsonl"),
                another_run(name, &stones(6)),
            )
            .await
            .unwrap();
    }
    world.run().await.unwrap();
    let records = world.gemini.records().unwrap();
    let reserved: Usd = "0.24".parse().unwrap();
    let spent: u64 = records.iter().map(|record| record.bill.nanodollars).sum();
    assert!(Usd::new(rust_decimal::Decimal::new(i64::try_from(spent).unwrap(), 9)) <= reserved);
    let days: BTreeSet<String> = records
        .iter()
        .map(|record| record.created.to_string()[..10].to_owned())
        .collect();
    assert_eq!(
        (records.len(), days),
        (2, BTreeSet::from(["2026-11-21".to_owned()]))
    );
    assert!(
        records[1].created >= records[0].ended.unwrap(),
        "it had to wait for what the first one cost"
    );
}
