//! The cost of reporting as jobs grow.

use std::{sync::Mutex, time::Instant};

use darkroom::{
    job::{JobSettings, ShardLimits},
    settings::MaxRounds,
};
use gemini_sim::Scenario;
use serde_json::{Value, json};
use tests::{
    TestCloud,
    gallery::GalleryContent,
    made_job::{JobSpec, VARIABLES, make},
};

use super::{HEAP, count, markers, notify, watch};

/// The heap is shared by the whole process, so measurements run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A quarter of the function's memory. The stand-in for S3 counts as well.
const MAX_BYTES: usize = 64 << 20;

fn run<T>(test: impl Future<Output = T>) -> T {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// Closes a job of `items` items without images, whose manifest is a Shopify export, a tenth of which failed, and checks time and
/// memory.
async fn close(items: usize, models: usize) {
    let cloud = TestCloud::builder()
        .image_base_url("https://cdn.example.com")
        .build();
    let made = make(
        &cloud.local,
        JobSpec {
            items,
            models,
            shard_requests: 1_000,
            every_failed: 10,
        },
    )
    .await;
    let shards = made.shards.len() as u64;
    let requests = watch(&cloud);
    made.shards
        .iter()
        .rev()
        .for_each(|shard| notify(&cloud, &made.job, *shard));
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();

    let started = Instant::now();
    cloud.run().await;
    let seconds = started.elapsed().as_secs_f64();
    let peak = HEAP.peak_usage().saturating_sub(before);

    assert_eq!(markers(&cloud, &made.job), ["_PARTIAL"]);
    let results = cloud
        .lines(&format!("jobs/{}/results.jsonl", made.job))
        .await;
    let retry = cloud.lines(&format!("jobs/{}/retry.jsonl", made.job)).await;
    assert!(
        results
            .iter()
            .enumerate()
            .all(|(number, line)| line["line"] == number + 1),
        "not in manifest order"
    );
    let failed = results
        .iter()
        .filter(|line| line["status"] == "blocked")
        .map(|line| &line["key"]);
    assert!(
        failed.eq(retry.iter().map(|line| &line["key"])),
        "the retry manifest differs from the failed items"
    );
    assert_eq!((results.len(), retry.len()), (items, items / 10));
    assert!(
        results
            .iter()
            .all(|line| members(line).eq(members(&results[0]))),
        "a line lacks members that other lines have"
    );
    assert!(
        results
            .iter()
            .all(|line| members(&line["vars"]).count() == VARIABLES.len())
    );

    let text = cloud.text(&format!("jobs/{}/index.html", made.job)).await;
    let page = GalleryContent::read(&text);
    let keys = results.iter().map(|line| &line["key"]);
    assert!(
        keys.eq(page.rows.iter().map(|row| &row[0])),
        "the page has other rows"
    );
    let tables = [("table.csv", items + 1), ("shopify.csv", items + 1)];
    for (table, lines) in tables {
        let text = cloud.text(&format!("jobs/{}/{table}", made.job)).await;
        assert_eq!(text.lines().count(), lines, "{table}");
    }

    let states = count(&requests, "GET state.json");
    println!(
        "{items:>6} items of {models} models in {shards} shards: {:.2} s, {:.1} µs an item; {:.2} state reads a shard, \
         {} writes of job.json; peak {:.1} MiB; a page of {} bytes an item",
        seconds,
        seconds * 1e6 / items as f64,
        states as f64 / shards as f64,
        count(&requests, "PUT job.json"),
        peak as f64 / f64::from(1 << 20),
        text.len() / items,
    );
    // A state is read once because it has changed, and once to close the job.
    assert_eq!(states, 2 * shards);
    assert_eq!(
        (
            count(&requests, "GET plan.jsonl"),
            count(&requests, "GET chunk")
        ),
        (1, made.chunks)
    );
    assert_eq!(
        count(&requests, "GET request.jsonl"),
        shards,
        "a request file was read more than once"
    );
    assert!(peak <= MAX_BYTES, "{peak} bytes");
}

#[test]
fn closing_is_linear_in_the_images_and_flat_in_memory() {
    run(async {
        for items in [10_000, 50_000, 100_000] {
            close(items, 1).await;
        }
        for models in 2..=5 {
            close(20_000, models).await;
        }
        close(100_000, 5).await;
    });
}

/// Returns the names of an object's members.
fn members(object: &Value) -> impl Iterator<Item = &String> {
    object
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
}

/// Returns how often `report` reads the state of a shard on average while a job runs through the
/// whole chain, apart from refreshes of the page. Each of those reads every state once, and how many
/// there may be depends on the time that the job takes. Gemini refuses every image.
async fn reads_of_a_chain(shards: usize) -> f64 {
    let shard = ShardLimits {
        requests: 2,
        ..ShardLimits::default()
    };
    let settings = JobSettings {
        shard,
        max_rounds: MaxRounds::new(1).unwrap(),
        ..JobSettings::default()
    };
    let scenario = Scenario {
        refuse_percent: 100,
        ..Scenario::default()
    };
    let cloud = TestCloud::builder()
        .settings(settings)
        .scenario(scenario)
        .build();
    let requests = watch(&cloud);
    let item = |number| {
        json!({ "key": format!("stone-{number:04}"), "prompt": "a stone" }).to_string() + "\n"
    };
    cloud
        .put(
            "inbox/stones.jsonl",
            (0..2 * shards).map(item).collect::<String>(),
        )
        .await;
    cloud.run().await;
    let job = cloud.jobs().remove(0);
    assert!(cloud.exists(&format!("{job}_FAILED")));
    assert_eq!(
        cloud.json(&format!("{job}job.json")).await["shards"]
            .as_array()
            .unwrap()
            .len(),
        shards
    );

    // The plan is read by each refresh, and once to close the job.
    let refreshes = count(&requests, "GET plan.jsonl") - 1;
    assert!(
        refreshes <= 3 + 2 * shards as u64,
        "{refreshes} refreshes, although each shard starts reading once and ends once"
    );
    let by_messages = count(&requests, "GET state.json") - refreshes * shards as u64;
    let reads = by_messages as f64 / shards as f64;
    println!(
        "{shards:>6} shards through the whole chain: {reads:.2} state reads a shard, {:.2} of job.json, {:.2} writes of \
         it, and {refreshes} refreshes of the page",
        count(&requests, "GET job.json") as f64 / shards as f64,
        count(&requests, "PUT job.json") as f64 / shards as f64,
    );
    reads
}

#[test]
fn the_reads_of_a_state_do_not_depend_on_the_number_of_shards() {
    run(async {
        let few = reads_of_a_chain(10).await;
        let many = reads_of_a_chain(30).await;
        assert!(
            few >= 2.0 && many <= few * 1.2 + 1.0,
            "{few} of 10, {many} of 30"
        );
    });
}
