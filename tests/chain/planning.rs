//! What stands beside a manifest, what its own words come back as, and manifests that buy nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use darkroom::chain::MANIFESTS;
use serde_json::{Value, json};
use tests::{World, wire::Trip};

use super::{acknowledged, step};

const SKUS: &str = "sku,product,color\nA-1,canvas sneaker,off white\nA-2,leather loafer,black\n";

async fn drop_described(world: &World, key: &str, manifest: &str, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    world
        .cloud
        .bucket
        .put_described(key, "text/csv", manifest.to_owned(), metadata)
        .await
        .unwrap();
}

async fn results(world: &World, job: &str) -> Vec<Value> {
    world.lines(&format!("{job}results.jsonl")).await.unwrap()
}

fn only_job(world: &World) -> String {
    let [job] = &world.jobs().unwrap()[..] else {
        panic!("{:?}", world.jobs())
    };
    job.clone()
}

fn has(world: &World, key: &str) -> bool {
    world.cloud.path_of(key).exists()
}

#[tokio::test]
async fn a_table_and_a_stored_template_make_images_for_somebody_who_writes_no_json() {
    let world = World::new().unwrap();
    world
        .put(
            "templates/acme/white-bg.json",
            r#"{"template":"{product} in {color} on white"}"#,
        )
        .await
        .unwrap();
    world
        .put("templates/other.txt", "never used")
        .await
        .unwrap();
    let metadata = [
        ("template", "white-bg"),
        ("key", "{sku}"),
        ("budget-usd", "1"),
        ("mtime", "1700000000"),
    ];
    drop_described(&world, "inbox/acme/fall/skus.csv", SKUS, &metadata).await;
    world.run().await.unwrap();

    let job = only_job(&world);
    let results = results(&world, &job).await;
    let said: Vec<(&str, &str)> = results
        .iter()
        .map(|line| {
            (
                line["key"].as_str().unwrap(),
                line["prompt"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("A-1", "canvas sneaker in off white on white"),
            ("A-2", "leather loafer in black on white")
        ]
    );
    assert_eq!(
        results[0]["vars"],
        json!({"sku": "A-1", "product": "canvas sneaker", "color": "off white"})
    );
    let lock = world.json(&format!("{job}plan.lock")).await.unwrap();
    assert_eq!(
        lock["templates"],
        json!({"white-bg": "templates/acme/white-bg.json"})
    );

    // Another template may change without making it another job. That one, or the metadata, can't.
    let drop = async |template: &str, other: &str, budget: &str| {
        world
            .put("templates/acme/white-bg.json", template.to_owned())
            .await
            .unwrap();
        world
            .put("templates/other.txt", other.to_owned())
            .await
            .unwrap();
        let metadata = [
            ("template", "white-bg"),
            ("key", "{sku}"),
            ("budget-usd", budget),
        ];
        drop_described(&world, "inbox/acme/fall/skus.csv", SKUS, &metadata).await;
        world.run().await.unwrap();
        world.jobs().unwrap().len()
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
async fn a_job_document_beside_the_manifest_counts_and_the_metadata_counts_before_it() {
    let world = World::new().unwrap();
    let document = json!({"job": {"name": "shop"}, "defaults": {"key": "{sku}", "prompt": "a shoe", "aspect_ratio": "4:5"}});
    world
        .put("inbox/skus.job.json", document.to_string())
        .await
        .unwrap();
    drop_described(&world, "inbox/skus.csv", SKUS, &[("aspect-ratio", "1:1")]).await;
    world.run().await.unwrap();
    let plan = world
        .lines(&format!("{}plan.jsonl", only_job(&world)))
        .await
        .unwrap();
    assert_eq!(
        (&plan[0]["aspect_ratio"], &plan[1]["key"]),
        (&json!("1:1"), &json!("A-2"))
    );
}

#[tokio::test]
async fn lines_of_other_services_come_back_under_their_own_ids() {
    let world = World::new().unwrap();
    let lines = [
        json!({"custom_id": "o-1", "method": "POST", "url": "/v1/images/generations",
               "body": {"model": "nano-banana-2", "prompt": "a door", "n": 2}}),
        json!({"recordId": "b-1", "modelInput": {"prompt": "a boat"}}),
        json!({"id": "f-1", "prompt": "a cup"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    world.put("inbox/lines.jsonl", lines).await.unwrap();
    world.run().await.unwrap();
    let results = results(&world, &only_job(&world)).await;
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
async fn the_columns_of_a_table_come_back_in_the_results() {
    let world = World::new().unwrap();
    world.put("inbox/goods.csv", GOODS).await.unwrap();
    world.run().await.unwrap();
    let job = only_job(&world);
    let results = results(&world, &job).await;
    // Every line has all of them, also the column in which nothing stands.
    assert_eq!(
        results[0]["vars"],
        json!({"produit": "Café Noir", "status": "=new", "notes": null, "prix": null})
    );
    assert_eq!(
        results[1]["vars"],
        json!({"produit": null, "status": "old", "notes": null, "prix": "3,5"})
    );

    let table = world
        .read(&format!("{job}results.csv"))
        .await
        .unwrap()
        .unwrap();
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
async fn items_of_unlike_members_make_lines_of_the_same() {
    let world = World::new().unwrap();
    let lines = [
        json!({"id": "a", "prompt": "a door", "vars": {"title": "Door", "shade": "red"}}),
        json!({"key": "b", "prompt": "a wall", "vars": {"brick": 7}}),
        json!({"custom_id": "c", "prompt": "a roof"}),
        json!({"key": "d", "request": {"contents": [{"parts": [{"text": "a gate"}]}]}}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    world.put("inbox/house.jsonl", lines).await.unwrap();
    world.run().await.unwrap();
    let results = results(&world, &only_job(&world)).await;
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
    let own: Vec<Value> = results
        .iter()
        .map(|line| json!([line["id"], line["custom_id"], line["vars"]["brick"]]))
        .collect();
    assert_eq!(
        json!(own),
        json!([
            ["a", null, null],
            [null, null, "7"],
            [null, "c", null],
            [null, null, null]
        ])
    );
}

#[tokio::test]
async fn a_job_whose_lock_lists_no_names_is_closed_with_the_values_that_each_line_has() {
    let world = World::new().unwrap();
    world.put("inbox/goods.csv", GOODS).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    let job = only_job(&world);
    let key = format!("{job}plan.lock");
    let mut lock = world.json(&key).await.unwrap();
    assert_eq!(
        lock["own_names"]["variables"],
        json!(["produit", "status", "notes", "prix"])
    );
    lock.as_object_mut().unwrap().remove("own_names");
    world.put(&key, lock.to_string()).await.unwrap();
    world.run().await.unwrap();

    assert!(has(&world, &format!("{job}_SUCCESS")));
    let results = results(&world, &job).await;
    assert_eq!(results[1]["vars"], json!({"status": "old", "prix": "3,5"}));
    let table = world
        .read(&format!("{job}results.csv"))
        .await
        .unwrap()
        .unwrap();
    assert!(table.lines().next().unwrap().ends_with(",cost_usd"));
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_cost_and_buys_nothing() {
    let world = World::new().unwrap();
    let manifest =
        json!({"job": {"mode": "dry_run"}, "items": [{"key": "a", "prompt": "a door", "n": 4}]});
    world
        .put("inbox/door.json", manifest.to_string())
        .await
        .unwrap();
    world.run().await.unwrap();
    let job = only_job(&world);
    let status = world.json(&format!("{job}job.json")).await.unwrap();
    assert_eq!(
        (&status["phase"], &status["plan"]["images"]),
        (&json!("estimated"), &json!(4))
    );
    assert!(
        status["plan"]["estimate"]["batch_usd"].as_f64().unwrap() > 0.05,
        "{status}"
    );
    assert!(has(&world, &format!("{job}_DRY_RUN")) && !has(&world, &format!("{job}plan.jsonl")));
    assert!(world.wire.sent().is_empty());
}

#[tokio::test]
async fn a_job_over_its_budget_is_rejected_before_gemini_is_asked_anything() {
    let world = World::new().unwrap();
    let items: Vec<Value> = (0..20)
        .map(|number| json!({"key": format!("pro-{number}"), "prompt": "a stone"}))
        .collect();
    let over = |budget: f64| {
        let defaults = json!({"model": "nano-banana-pro", "image_size": "1K"});
        json!({"job": {"budget_usd": budget}, "defaults": defaults, "items": items}).to_string()
    };
    world.put("inbox/pro.json", over(1.00)).await.unwrap();
    assert!(acknowledged(&step!(&world, plan, MANIFESTS)));
    world.run().await.unwrap();
    let job = only_job(&world);
    assert!(has(&world, &format!("{job}_REJECTED")));
    let report =
        std::fs::read_to_string(world.cloud.path_of(&format!("{job}validation.csv"))).unwrap();
    assert!(
        report.contains("over_budget") && report.contains("$1.34") && report.contains("$1.00"),
        "{report}"
    );
    assert!(world.wire.sent().is_empty());

    // With enough, the same images are made.
    world.put("inbox/pro.json", over(1.50)).await.unwrap();
    world.run().await.unwrap();
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn metadata_that_tools_write_says_nothing_and_makes_no_other_job() {
    let world = World::new().unwrap();
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
        drop_described(&world, "inbox/shoes.csv", items, tools).await;
        world.run().await.unwrap();
        let job = only_job(&world);
        assert!(has(&world, &format!("{job}_SUCCESS")));
        let validation = world
            .read(&format!("{job}validation.csv"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(validation.lines().count(), 1, "{validation}");
    }
    assert_eq!(world.gemini.batches_created(), 1);
}

#[tokio::test]
async fn metadata_dry_run_ignored_no_more() {
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
        ("zzz", "1", "leave it out"),
    ] {
        let world = World::new().unwrap();
        drop_described(
            &world,
            "inbox/shoes.csv",
            "prompt\nA red shoe\nA blue shoe\n",
            &[(name, value)],
        )
        .await;
        world.run().await.unwrap();
        let job = only_job(&world);
        let validation = world
            .read(&format!("{job}validation.csv"))
            .await
            .unwrap()
            .unwrap();
        assert!(has(&world, &format!("{job}_REJECTED")), "{name}");
        assert!(
            validation.contains("unknown_metadata") && validation.contains(advice),
            "{name}: {validation}"
        );
        assert!(world.wire.sent().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_manifest_is_opened_three_times() {
    let world = World::new().unwrap();
    world
        .put("templates/white-bg.txt", "{product} in {color} on white")
        .await
        .unwrap();
    let opens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opens);
    world.aws.decide(move |head| {
        if head.method == "GET" && head.uri.path().ends_with("/inbox/skus.csv") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Trip::Pass
    });

    let metadata = [("template", "white-bg"), ("key", "{sku}")];
    drop_described(&world, "inbox/skus.csv", SKUS, &metadata).await;
    world.run().await.unwrap();

    assert!(has(&world, &format!("{}_SUCCESS", only_job(&world))));
    // Once to identify the job, once to check the items, and once to write the plan.
    assert_eq!(opens.load(Ordering::Relaxed), 3);
}
