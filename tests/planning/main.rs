//! Planning a hundred thousand images takes flat memory, whatever the form of the manifest. The
//! speed is printed and not checked.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]
#![expect(clippy::print_stdout, reason = "the speed is shown with --nocapture")]

use std::{sync::Mutex, time::Instant};

use aws_lambda_events::event::sqs::SqsEvent;
use darkroom::chain::{FUNCTION_TIMEOUT, MANIFESTS};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use tests::TestCloud;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is shared by the whole process, so jobs run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

const IMAGES: usize = 100_000;

/// A quarter of the memory of the smallest `plan` function. The stand-in for S3 counts as well.
const MAX_BYTES: usize = 64 << 20;

/// Plans a manifest with the real function. Returns the job's status.
fn planned(name: &str, manifest: String) -> Value {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cloud = TestCloud::new();
        let bytes = manifest.len();
        cloud.put(&format!("inbox/{name}"), manifest).await;
        let [delivery] = &cloud.local.queues.receive(MANIFESTS, 1, None).unwrap()[..] else { panic!("no message") };
        let message = json!({
            "messageId": delivery.message_id, "receiptHandle": delivery.receipt_handle, "body": delivery.body,
        });
        let event: SqsEvent = serde_json::from_value(json!({"Records": [message]})).unwrap();

        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let started = Instant::now();
        let deadline = cloud.now() + FUNCTION_TIMEOUT;
        let answer = plan::handler::handle(&cloud.local.deps.plan, event, deadline).await;
        let seconds = started.elapsed().as_secs_f64();
        let peak = HEAP.peak_usage().saturating_sub(before);
        assert!(answer.batch_item_failures.is_empty(), "{answer:?}");

        let job = cloud.jobs().remove(0);
        let plan = std::fs::metadata(cloud.path_of(&format!("{job}plan.jsonl"))).unwrap().len();
        println!(
            "{name}: {:.1} MB planned at {:.1} MB/s of manifest, {:.1} MB/s of plan; peak {:.1} MiB",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / seconds,
            plan as f64 / 1e6 / seconds,
            peak as f64 / f64::from(1 << 20)
        );
        assert!(peak <= MAX_BYTES, "{peak} bytes");
        // A table's rows are stored with the plan.
        let rows = cloud.read(&format!("{job}rows.jsonl")).await;
        let rows = rows.map_or(0, |rows| rows.lines().count());
        assert_eq!(rows, if name.ends_with(".csv") { IMAGES + 1 } else { 0 });
        cloud.json(&format!("{job}job.json")).await
    })
}

#[test]
fn a_table_of_a_hundred_thousand_rows_is_planned_in_flat_memory() {
    let mut table = "key,prompt,aspect_ratio\n".to_owned();
    for number in 0..IMAGES {
        table += &format!(
            "SKU-{number:06},\"a canvas sneaker in off white, three-quarter view, pure white background\",4:5\n"
        );
    }
    let status = planned("skus.csv", table);
    assert_eq!(
        (&status["plan"]["images"], &status["plan"]["shards"]),
        (&json!(IMAGES), &json!(100))
    );
}

#[test]
fn a_matrix_of_a_hundred_thousand_images_is_planned_in_flat_memory() {
    let values = |what: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{what} {n}")).collect()
    };
    let manifest = json!({
        "templates": {"hero": "{product} in {scene}, {light}"},
        "matrix": {"template": ["hero"], "product": values("product", 100), "scene": values("scene", 50),
                   "light": values("light", 20)},
    });
    let status = planned("sweep.json", manifest.to_string());
    assert_eq!(status["plan"]["images"], json!(IMAGES));
}
