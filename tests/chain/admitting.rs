//! Many jobs share few batches: each gets its turn, and no limit is exceeded.

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
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    money::Usd,
    settings::MaxLiveBatches,
    status::ShardPhase,
};
use gemini_sim::Scenario;
use tests::{BatchResponse, TINY_SIDE, TestCloud};

use super::{another_run, planned, state, stones};

const JOBS: usize = 10;

fn limits(live_batches: u32, daily_usd: &str) -> ProjectLimits {
    ProjectLimits {
        live_batches: MaxLiveBatches::new(live_batches).unwrap(),
        enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::default()),
        daily_usd: Some(daily_usd.parse().unwrap()),
        folders: FolderCaps::default(),
    }
}

/// Drops ten jobs of two batches each at the same moment.
async fn ten_jobs(limits: ProjectLimits, scenario: Scenario) -> TestCloud {
    let mut settings = CloudConfig::default().settings;
    settings.shard.requests = 6;
    let cloud = TestCloud::builder()
        .scenario(Scenario {
            image_side: Some(TINY_SIDE),
            ..scenario
        })
        .settings(settings)
        .limits(limits)
        .build();
    for number in 0..JOBS {
        cloud
            .put(
                &format!("inbox/job-{number}.jsonl"),
                another_run(&number.to_string(), &stones(12)),
            )
            .await;
    }
    cloud
}

/// Returns the cost of each batch by name, from the usage that Gemini reported.
fn costs(cloud: &TestCloud) -> BTreeMap<String, Usd> {
    let catalog = Catalog::built_in();
    let mut costs: BTreeMap<String, Usd> = BTreeMap::new();
    for (_, lines) in cloud
        .objects()
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
async fn ten_jobs_share_three_batches_and_a_daily_cap_fairly() {
    // An image with its thoughts costs about $0.021, so 66 of the 120 images fit into a day.
    let cap = "1.40";
    let scenario = Scenario {
        seed: 2,
        live_batches: 3,
        internal_error_percent: 5,
        ..Scenario::default()
    };
    let cloud = ten_jobs(limits(3, cap), scenario).await;
    cloud.run().await;
    for job in cloud.jobs() {
        assert!(cloud.exists(&format!("{job}_SUCCESS")), "{job}");
    }
    // Gemini refused none, because the ledger never admitted a fourth batch.
    let created = cloud.gemini.batches_created();
    assert_eq!(cloud.wire.count(":batchGenerateContent"), created);
    assert!(created >= 2 * JOBS, "{created} batches");
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger.live.is_empty() && ledger.waiting.is_empty(),
        "{ledger:?}"
    );

    let costs = costs(&cloud);
    let mut days: BTreeMap<String, (Usd, BTreeSet<String>)> = BTreeMap::new();
    for batch in cloud.local.deps.submit.gemini.batches().await.unwrap() {
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
    // Each job gets a batch before any gets both.
    assert_eq!(days.values().next().unwrap().1.len(), JOBS, "{days:?}");
}

#[tokio::test]
async fn a_waiting_shard_states_its_reason() {
    let cloud = ten_jobs(limits(1, "100"), Scenario::default()).await;
    let waits: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&waits);
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        for job in cloud.jobs() {
            if let Some(status) = cloud.read(&format!("{job}job.json")).await {
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
async fn a_batch_above_a_lowered_daily_cap_waits_for_another_cap() {
    let cloud = planned().await;
    // An operator has lowered the cap since the job was planned.
    let deps = submit::deps::Deps {
        limits: limits(3, "0.01").into(),
        ..cloud.local.deps.submit.clone()
    };
    let deadline = cloud.now() + FUNCTION_TIMEOUT;
    assert!(
        !submit::handler::handle(&deps, cloud.deliver(SHARDS), deadline)
            .await
            .acknowledged()
    );
    let shard = state(&cloud).await;
    assert_eq!(ShardPhase::from(&shard.phase), ShardPhase::Planned);
    let reason = shard.waiting.unwrap();
    assert!(reason.contains("above the daily cap of $0.01"), "{reason}");
    assert_eq!(cloud.gemini.batches_created(), 0);
}

/// Returns the notes of the job's waiting shards.
async fn notes(cloud: &TestCloud, job: &str) -> anyhow::Result<Vec<String>> {
    let Some(status) = cloud.read(&format!("{job}job.json")).await else {
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
async fn of_two_jobs_under_one_daily_cap_one_waits_and_states_until_when() {
    // Each job has six images at about $0.021 with thoughts, so only one job fits into a day.
    let cloud = TestCloud::builder().limits(limits(100, "0.20")).build();
    for name in ["one", "two"] {
        cloud
            .put(
                &format!("inbox/{name}.jsonl"),
                another_run(name, &stones(6)),
            )
            .await;
    }
    let notes_seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&notes_seen);
    host::run(&cloud.local, WaitMode::Jump, pending(), async || {
        for job in cloud.jobs() {
            let notes = notes(&cloud, &job).await?;
            seen.lock().unwrap().extend(notes);
        }
        Ok(false)
    })
    .await
    .unwrap();
    let notes_seen = notes_seen.lock().unwrap().clone();
    let why = |note: &&String| note.contains("of the daily cap of $0.20 is spent or reserved");
    let when = "it is submitted at 2026-11-22T00:00:00Z, when the next day begins";
    let told: Vec<&String> = notes_seen.iter().filter(why).collect();
    assert!(
        !told.is_empty() && told.iter().all(|note| note.contains(when)),
        "{notes_seen:?}"
    );

    // The job started no later than stated, and the cost of each day stayed below the cap.
    let days: BTreeSet<String> = cloud
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
    let ledger = cloud.local.deps.submit.ledger.read().await.unwrap();
    assert!(
        ledger
            .spent
            .values()
            .all(|spent| *spent <= "0.20".parse().unwrap()),
        "{ledger:?}"
    );
    for job in cloud.jobs() {
        assert!(cloud.exists(&format!("{job}_SUCCESS")), "{job}");
    }
}

#[tokio::test]
async fn a_job_continues_on_the_same_day_once_batches_cost_less_than_reserved() {
    // The cap allows reservations for two batches, but not for three. Thoughts cost less than what
    // is reserved for them.
    let cloud = TestCloud::builder().limits(limits(100, "0.24")).build();
    for name in ["one", "two"] {
        cloud
            .put(
                &format!("inbox/{name}.jsonl"),
                another_run(name, &stones(6)),
            )
            .await;
    }
    cloud.run().await;
    let records = cloud.gemini.records().unwrap();
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
        "it had to wait until the first batch was settled"
    );
}
