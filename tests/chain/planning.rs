//! The files next to a manifest, the columns and ids that its results repeat, and manifests that
//! buy nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tests::{BatchResponse, TestCloud, wire::FaultAction};

const SKUS: &str = "sku,product,color\nA-1,canvas sneaker,off white\nA-2,leather loafer,black\n";

/// Uploads a manifest with object metadata.
async fn drop_described(cloud: &TestCloud, key: &str, manifest: &str, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    cloud
        .local
        .bucket
        .put_described(key, "text/csv", manifest.to_owned(), metadata)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_table_and_a_stored_template_need_no_json() {
    let cloud = TestCloud::new();
    cloud
        .put(
            "templates/acme/white-bg.json",
            r#"{"template":"{product} in {color} on white"}"#,
        )
        .await;
    cloud.put("templates/other.txt", "never used").await;
    let metadata = [
        ("template", "white-bg"),
        ("key", "{sku}"),
        ("budget-usd", "1"),
        ("mtime", "1700000000"),
    ];
    drop_described(&cloud, "inbox/acme/fall/skus.csv", SKUS, &metadata).await;
    cloud.run().await;

    let job = cloud.only_job();
    let results = job.lines("results.jsonl").await;
    let prompts: Vec<(&str, &str)> = results
        .iter()
        .map(|line| {
            (
                line["key"].as_str().unwrap(),
                line["prompt"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        prompts,
        [
            ("A-1", "canvas sneaker in off white on white"),
            ("A-2", "leather loafer in black on white")
        ]
    );
    assert_eq!(
        results[0]["vars"],
        json!({"sku": "A-1", "product": "canvas sneaker", "color": "off white"})
    );
    let lock = job.json("plan.lock").await;
    assert_eq!(
        lock["templates"],
        json!({"white-bg": "templates/acme/white-bg.json"})
    );

    // A change of an unused template keeps the job; a change of the used one or of the metadata
    // makes a new job.
    let drop = async |template: &str, other: &str, budget: &str| {
        cloud
            .put("templates/acme/white-bg.json", template.to_owned())
            .await;
        cloud.put("templates/other.txt", other.to_owned()).await;
        let metadata = [
            ("template", "white-bg"),
            ("key", "{sku}"),
            ("budget-usd", budget),
        ];
        drop_described(&cloud, "inbox/acme/fall/skus.csv", SKUS, &metadata).await;
        cloud.run().await;
        cloud.jobs().len()
    };
    assert_eq!(
        drop(
            r#"{"template":"{product} in {color} on white"}"#,
            "changed",
            "1"
        )
        .await,
        1
    );
    assert_eq!(
        drop(
            r#"{"template":"{product} in {color} on grey"}"#,
            "changed",
            "1"
        )
        .await,
        2
    );
    assert_eq!(
        drop(
            r#"{"template":"{product} in {color} on grey"}"#,
            "changed",
            "2"
        )
        .await,
        3
    );
}

#[tokio::test]
async fn object_metadata_takes_precedence_over_the_job_document() {
    let cloud = TestCloud::new();
    let document = json!({"job": {"name": "shop"}, "defaults": {"key": "{sku}", "prompt": "a shoe", "aspect_ratio": "4:5"}});
    cloud.put("inbox/skus.job.json", document.to_string()).await;
    drop_described(&cloud, "inbox/skus.csv", SKUS, &[("aspect-ratio", "1:1")]).await;
    cloud.run().await;
    let plan = cloud.only_job().lines("plan.jsonl").await;
    assert_eq!(
        (&plan[0]["aspect_ratio"], &plan[1]["key"]),
        (&json!("1:1"), &json!("A-2"))
    );
}

#[tokio::test]
async fn lines_of_other_services_keep_their_ids_in_the_results() {
    let cloud = TestCloud::new();
    let lines = [
        json!({"custom_id": "o-1", "method": "POST", "url": "/v1/images/generations",
               "body": {"model": "nano-banana-2", "prompt": "a door", "n": 2}}),
        json!({"recordId": "b-1", "modelInput": {"prompt": "a boat"}}),
        json!({"id": "f-1", "prompt": "a cup"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    cloud.put("inbox/lines.jsonl", lines).await;
    cloud.run().await;
    let results = cloud.only_job().lines("results.jsonl").await;
    let ids: Vec<Value> = results
        .iter()
        .map(|line| {
            json!([
                line["key"],
                line["custom_id"],
                line["recordId"],
                line["id"],
                line["status"]
            ])
        })
        .collect();
    assert_eq!(
        json!(ids),
        json!([
            ["o-1.v01", "o-1", null, null, "succeeded"],
            ["o-1.v02", "o-1", null, null, "succeeded"],
            ["b-1", null, "b-1", null, "succeeded"],
            ["f-1", null, null, "f-1", "succeeded"],
        ])
    );
}

const GOODS: &str =
    "key,prompt,Produit,Status,Notes,Prix\nc-1,a cup,Café Noir,=new,,\nc-2,a mug,,old,,\"3,5\"\n";

#[tokio::test]
async fn the_columns_of_a_table_are_repeated_in_the_results() {
    let cloud = TestCloud::new();
    cloud.put("inbox/goods.csv", GOODS).await;
    cloud.run().await;
    let job = cloud.only_job();
    let results = job.lines("results.jsonl").await;
    // Every line has every column, even an empty one.
    assert_eq!(
        results[0]["vars"],
        json!({"produit": "Café Noir", "status": "=new", "notes": null, "prix": null})
    );
    assert_eq!(
        results[1]["vars"],
        json!({"produit": null, "status": "old", "notes": null, "prix": "3,5"})
    );

    let table = job.text("results.csv").await;
    let table = table.strip_prefix('\u{feff}').unwrap();
    let tails = [
        "cost_usd,produit,vars.status,notes,prix",
        ",Café Noir,'=new,,",
        ",,old,,\"3,5\"",
    ];
    assert_eq!(table.lines().count(), tails.len());
    for (line, tail) in table.lines().zip(tails) {
        assert!(line.ends_with(tail), "{line}");
    }
}

#[tokio::test]
async fn items_with_different_members_make_lines_with_the_same_members() {
    let cloud = TestCloud::new();
    let lines = [
        json!({"id": "a", "prompt": "a door", "vars": {"title": "Door", "shade": "red"}}),
        json!({"key": "b", "prompt": "a wall", "vars": {"brick": 7}}),
        json!({"custom_id": "c", "prompt": "a roof"}),
        json!({"key": "d", "request": {"contents": [{"parts": [{"text": "a gate"}]}]}}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    cloud.put("inbox/house.jsonl", lines).await;
    cloud.run().await;
    let results = cloud.only_job().lines("results.jsonl").await;
    let members = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for line in &results {
        assert_eq!(members(line), members(&results[0]));
        assert_eq!(members(&line["vars"]), members(&results[0]["vars"]));
    }
    let values: Vec<Value> = results
        .iter()
        .map(|line| json!([line["id"], line["custom_id"], line["vars"]["brick"]]))
        .collect();
    assert_eq!(
        json!(values),
        json!([
            ["a", null, null],
            [null, null, "7"],
            [null, "c", null],
            [null, null, null]
        ])
    );
}

#[tokio::test]
async fn a_job_without_names_in_its_lock_is_closed_with_the_values_of_each_line() {
    let cloud = TestCloud::new();
    cloud.put("inbox/goods.csv", GOODS).await;
    assert!(cloud.plan().await.acknowledged());
    let job = cloud.only_job();
    let key = job.key("plan.lock");
    let mut lock = cloud.json(&key).await;
    assert_eq!(
        lock["own_names"]["variables"],
        json!(["produit", "status", "notes", "prix"])
    );
    lock.as_object_mut().unwrap().remove("own_names");
    cloud.put(&key, lock.to_string()).await;
    cloud.run().await;

    assert!(job.has("_SUCCESS"));
    let results = job.lines("results.jsonl").await;
    assert_eq!(results[1]["vars"], json!({"status": "old", "prix": "3,5"}));
    let table = job.text("results.csv").await;
    assert!(table.lines().next().unwrap().ends_with(",cost_usd"));
}

#[tokio::test]
async fn a_dry_run_reports_its_estimate_and_buys_nothing() {
    let cloud = TestCloud::new();
    let manifest =
        json!({"job": {"mode": "dry_run"}, "items": [{"key": "a", "prompt": "a door", "n": 4}]});
    cloud.put("inbox/door.json", manifest.to_string()).await;
    cloud.run().await;
    let job = cloud.only_job();
    let status = job.json("job.json").await;
    assert_eq!(
        (&status["phase"], &status["plan"]["images"]),
        (&json!("estimated"), &json!(4))
    );
    assert!(
        status["plan"]["estimate"]["batch_usd"].as_f64().unwrap() > 0.05,
        "{status}"
    );
    assert!(job.has("_DRY_RUN") && !job.has("plan.jsonl"));
    assert!(cloud.wire.sent().is_empty());
}

#[tokio::test]
async fn a_job_over_its_budget_is_rejected_before_any_request_to_gemini() {
    let cloud = TestCloud::new();
    let items: Vec<Value> = (0..20)
        .map(|number| json!({"key": format!("pro-{number}"), "prompt": "a stone"}))
        .collect();
    let over = |budget: f64| {
        let defaults = json!({"model": "nano-banana-pro", "image_size": "1K"});
        json!({"job": {"budget_usd": budget}, "defaults": defaults, "items": items}).to_string()
    };
    cloud.put("inbox/pro.json", over(1.00)).await;
    assert!(cloud.plan().await.acknowledged());
    cloud.run().await;
    let job = cloud.only_job();
    assert!(job.has("_REJECTED"));
    let report = job.text("validation.csv").await;
    assert!(
        report.contains("over_budget") && report.contains("$1.34") && report.contains("$1.00"),
        "{report}"
    );
    assert!(cloud.wire.sent().is_empty());

    // A sufficient budget makes the same images.
    cloud.put("inbox/pro.json", over(1.50)).await;
    cloud.run().await;
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn metadata_that_tools_write_is_ignored_and_keeps_the_job() {
    let cloud = TestCloud::new();
    let items = "key,prompt\na,a red shoe\nb,a blue shoe\n";
    let rclone = [
        ("mtime", "2026-11-21T09:00:00Z"),
        ("mode", "100644"),
        ("uid", "0"),
        ("gid", "0"),
        ("btime", "x"),
    ];
    let s3fs = [
        ("mtime", "1700000000"),
        ("ctime", "1700000000"),
        ("atime", "1700000000"),
        ("mode", "33188"),
    ];
    for tools in [&rclone[..], &s3fs, &[]] {
        drop_described(&cloud, "inbox/shoes.csv", items, tools).await;
        cloud.run().await;
        let job = cloud.only_job();
        assert!(job.has("_SUCCESS"));
        let validation = job.text("validation.csv").await;
        assert_eq!(validation.lines().count(), 1, "{validation}");
    }
    assert_eq!(cloud.gemini.batches_created(), 1);
}

#[tokio::test]
async fn unknown_metadata_is_rejected_with_advice() {
    for (name, value, advice) in [
        ("dry-run", "true", "mode=dry_run"),
        ("dry_run", "true", "mode=dry_run"),
        ("dryrun", "1", "mode=dry_run"),
        ("estimate", "true", "mode=dry_run"),
        ("test", "true", "mode=dry_run"),
        ("budget", "0.01", "budget-usd"),
        ("max-usd", "5", "budget-usd"),
        ("max-cost", "5", "budget-usd"),
        ("limit", "5", "budget-usd"),
        ("n", "4", "a column n"),
        ("count", "4", "a column n"),
        ("size", "2K", "image-size"),
        ("resolution", "2K", "image-size"),
        ("ratio", "4:5", "aspect-ratio"),
        ("aspect", "4:5", "aspect-ratio"),
        ("zzz", "1", "remove it"),
    ] {
        let cloud = TestCloud::new();
        drop_described(
            &cloud,
            "inbox/shoes.csv",
            "prompt\nA red shoe\nA blue shoe\n",
            &[(name, value)],
        )
        .await;
        cloud.run().await;
        let job = cloud.only_job();
        let validation = job.text("validation.csv").await;
        assert!(job.has("_REJECTED"), "{name}");
        assert!(
            validation.contains("unknown_metadata") && validation.contains(advice),
            "{name}: {validation}"
        );
        assert!(cloud.wire.sent().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_manifest_is_opened_three_times() {
    let cloud = TestCloud::new();
    cloud
        .put("templates/white-bg.txt", "{product} in {color} on white")
        .await;
    let opens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opens);
    cloud.aws.decide(move |head| {
        if head.method == "GET" && head.uri.path().ends_with("/inbox/skus.csv") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        FaultAction::Pass
    });

    let metadata = [("template", "white-bg"), ("key", "{sku}")];
    drop_described(&cloud, "inbox/skus.csv", SKUS, &metadata).await;
    cloud.run().await;

    assert!(cloud.only_job().has("_SUCCESS"));
    // Once to identify the job, once to check the items, and once to write the plan.
    assert_eq!(opens.load(Ordering::Relaxed), 3);
}
