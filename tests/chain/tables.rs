//! The user's own table comes back with the results, and a Shopify export as a table that a store
//! imports.

mod export;
mod product_table;

use std::collections::BTreeMap;

use gemini_sim::Scenario;
use serde_json::json;
use tests::{BatchResponse, TestCloud};

use self::{
    export::{Form, export},
    product_table::{check, rows},
};

/// The columns that follow those of the user.
const RESULTS: [&str; 8] = [
    "image_uri",
    "image_path",
    "image_url",
    "status",
    "error",
    "width",
    "height",
    "cost_usd",
];

/// Uploads a manifest with a job document.
async fn drop_with(cloud: &TestCloud, name: &str, manifest: impl Into<Vec<u8>>, job: &str) {
    let stem = name.split('.').next().unwrap();
    cloud.put(&format!("inbox/{stem}.job.json"), job).await;
    cloud.put(&format!("inbox/{name}"), manifest).await;
}

/// Returns the rows of the job's `table.csv`, the header first.
async fn own_table(cloud: &TestCloud) -> Vec<Vec<String>> {
    let text = cloud.job().text("table.csv").await;
    rows(text.strip_prefix('\u{feff}').unwrap())
}

#[tokio::test]
async fn a_table_comes_back_with_one_row_for_each_image() {
    let table = "sep=;\n SKU ;prompt;n;Status\nA-1;\"a shoe\non white\";2;=draft\n;;;\n\
                 A-2;\"a \"\"boot\"\"\";;-\nsku;prompt;n;status\n";
    let cloud = TestCloud::builder()
        .image_base_url("https://cdn.example.com/")
        .build();
    let job = json!({"job": {"columns": {"key": "SKU"}}}).to_string();
    drop_with(&cloud, "shoes.csv", table, &job).await;
    cloud.run().await;

    let read = own_table(&cloud).await;
    let own: Vec<&[String]> = read.iter().map(|row| &row[..4]).collect();
    let shoe = ["A-1", "a shoe\non white", "2", "=draft"];
    assert_eq!(
        own,
        [
            [" SKU ", "prompt", "n", "Status"],
            shoe,
            shoe,
            ["", "", "", ""],
            ["A-2", "a \"boot\"", "", "-"],
            ["sku", "prompt", "n", "status"],
        ]
    );
    assert_eq!(
        read[0][4..],
        RESULTS.map(|name| if name == "status" {
            "result.status"
        } else {
            name
        })
    );

    // Each row has the result of one image.
    let job = cloud.job();
    let results = job.lines("results.jsonl").await;
    let made = [&read[1], &read[2], &read[4]];
    for (row, line) in made.into_iter().zip(&results) {
        let uri = line["image"]["uri"].as_str().unwrap();
        let path = &uri[uri.find("images/").unwrap()..];
        assert_eq!(
            (&row[4][..], &row[5][..], &row[7][..]),
            (uri, path, "succeeded")
        );
        assert_eq!(
            row[6],
            format!("https://cdn.example.com/jobs/{}/{path}", job.id())
        );
        assert_eq!(row[9], line["image"]["width"].to_string());
        assert_eq!(row[11], line["cost_usd"].to_string());
    }
    assert_eq!(results.len(), made.len());
    assert!(
        read[3][4..]
            .iter()
            .chain(&read[5][4..])
            .all(String::is_empty)
    );
    let links = &job.json("summary.json").await["links"];
    assert_eq!(links["own_table"], format!("jobs/{}/table.csv", job.id()));
    assert_eq!(links.get("shopify"), None);
}

#[tokio::test]
async fn a_missing_image_leaves_a_reason_in_its_row() {
    let cloud = TestCloud::builder()
        .scenario(Scenario {
            refuse_percent: 100,
            ..Scenario::default()
        })
        .build();
    cloud
        .put("inbox/one.tsv", "key\tprompt\na,b\ta stone\n")
        .await;
    cloud.run().await;
    let read = own_table(&cloud).await;
    let line = &cloud.job().lines("results.jsonl").await[0];
    let code = line["error"]["code"].as_str().unwrap();
    assert_eq!(read[1][..5], ["a,b", "a stone", "", "", ""]);
    assert_eq!(read[1][5], line["status"].as_str().unwrap());
    assert!(read[1][6].starts_with(code), "{read:?}");
}

#[tokio::test]
async fn only_a_table_has_a_table_and_its_manifest_may_be_gone_by_then() {
    let cloud = TestCloud::new();
    cloud
        .put("inbox/a.jsonl", r#"{"key": "a", "prompt": "b"}"#)
        .await;
    cloud.run().await;
    let job = cloud.job().id();
    assert!(!cloud.exists(&format!("jobs/{job}/table.csv")));
    assert!(!cloud.exists(&format!("jobs/{job}/rows.jsonl")));

    let cloud = TestCloud::new();
    cloud.put("inbox/b.csv", "key,prompt\na,b\n").await;
    assert!(cloud.plan().await.acknowledged());
    cloud.local.bucket.delete("inbox/b.csv").await.unwrap();
    cloud.run().await;
    assert_eq!(own_table(&cloud).await[1][..2], ["a", "b"]);
}

/// Planning is repeated from the lock, as after a crash, and a job of an earlier version is closed.
#[tokio::test]
async fn planning_again_writes_the_same_rows_and_an_earlier_plan_needs_none() {
    let cloud = TestCloud::new();
    let table = "key,prompt\na,\"x\ny\"\n\n,\nb,z\n";
    cloud.put("inbox/t.csv", table).await;
    assert!(cloud.plan().await.acknowledged());
    let job = cloud.job().id();
    let key = |name: &str| format!("jobs/{job}/{name}");
    let planned = cloud.text(&key("rows.jsonl")).await;
    assert_eq!(
        planned,
        "{\"line\":1,\"cells\":[\"key\",\"prompt\"]}\n{\"line\":2,\"cells\":[\"a\",\"x\\ny\"]}\n\
         {\"line\":5,\"cells\":[\"\",\"\"]}\n{\"line\":6,\"cells\":[\"b\",\"z\"]}\n"
    );
    for name in ["rows.jsonl", "plan.jsonl", "job.json"] {
        cloud.local.bucket.delete(&key(name)).await.unwrap();
    }
    cloud.put("inbox/t.csv", table).await;
    assert!(cloud.plan().await.acknowledged());
    assert_eq!(cloud.text(&key("rows.jsonl")).await, planned);

    // The plan of an earlier version.
    let mut lock = cloud.json(&key("plan.lock")).await;
    assert_eq!(
        lock.as_object_mut().unwrap().remove("has_rows"),
        Some(json!(true))
    );
    cloud.put(&key("plan.lock"), lock.to_string()).await;
    cloud.local.bucket.delete(&key("rows.jsonl")).await.unwrap();
    cloud.run().await;
    assert!(cloud.exists(&key("_SUCCESS")) && !cloud.exists(&key("table.csv")));
    let summary = cloud.json(&key("summary.json")).await;
    assert_eq!(
        (summary.get("notes"), summary["links"].get("own_table")),
        (None, None)
    );
}

#[tokio::test]
async fn rows_that_are_lost_or_damaged_leave_out_the_table_and_nothing_else() {
    for (damage, reason) in [
        (None, "is missing"),
        (Some(""), "no header"),
        (
            Some("{\"line\":1,\"cells\":[\"key\"]}\n"),
            "lacks the row of the manifest's line 2",
        ),
        (
            Some("{\"line\":1,\"cells\":[\"key\"]}\n{\"line\":2"),
            "can't be read",
        ),
    ] {
        let cloud = TestCloud::new();
        cloud.put("inbox/t.csv", "key,prompt\na,b\n").await;
        assert!(cloud.plan().await.acknowledged());
        let job = cloud.job().id();
        let key = |name: &str| format!("jobs/{job}/{name}");
        match damage {
            None => cloud.local.bucket.delete(&key("rows.jsonl")).await.unwrap(),
            Some(text) => cloud.put(&key("rows.jsonl"), text).await,
        }
        cloud.run().await;
        let summary = cloud.json(&key("summary.json")).await;
        let note = summary["notes"][0].as_str().unwrap();
        assert!(
            note.contains("table.csv") && note.contains(reason),
            "{note}"
        );
        assert!(cloud.exists(&key("_SUCCESS")) && !cloud.exists(&key("table.csv")));
        assert_eq!(cloud.lines(&key("results.jsonl")).await.len(), 1);
    }
}

/// Makes the images of an export of 200 products, and returns the exported rows and those of
/// `shopify.csv`.
async fn shop(form: Form, images: u32) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let text = export(form, 200);
    let cloud = TestCloud::builder()
        .image_base_url("https://cdn.example.com")
        .scenario(Scenario {
            seed: 3,
            refuse_percent: 10,
            ..Scenario::default()
        })
        .build();
    let key = form.names()[0].to_lowercase().replace(' ', "_");
    let job = json!({"defaults": {
        "key": format!("{{{key}}}"), "template": "Studio photo of {title}", "n": images,
    }});
    drop_with(&cloud, "shop.csv", text.as_bytes(), &job.to_string()).await;
    cloud.run().await;
    let problems = cloud.job().text("validation.csv").await;
    assert!(!problems.contains(",error,"), "{problems}");

    // `table.csv` has every row of the export, with as many copies as it has images.
    let exported = rows(&text);
    let mut own = own_table(&cloud).await;
    own.iter_mut()
        .for_each(|row| row.truncate(exported[0].len()));
    own.dedup();
    assert_eq!(own, exported);

    let written = cloud.job().text("shopify.csv").await;
    check(&text).unwrap();
    check(&written).unwrap();
    let summary = cloud.job().json("summary.json").await;
    assert!(summary["counts"]["succeeded"].as_u64().unwrap() >= 170 * u64::from(images));
    assert!(summary["counts"]["succeeded"] != summary["counts"]["expected"]);
    (exported, rows(&written))
}

/// Compares the table with the export, row for row. Returns the rows that were added.
fn assert_comes_back(form: Form, exported: &[Vec<String>], written: &[Vec<String>]) -> usize {
    let column = |number: usize| {
        let name = form.names()[number];
        exported[0]
            .iter()
            .position(|column| column == name)
            .unwrap()
    };
    let [handle, image, position, alt, variant] = [0, 1, 2, 3, 4].map(column);
    let mut replaced: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut written_rows = written.iter().peekable();
    let mut added = 0;
    for old in exported {
        // Rows that were added come after the rows of their product.
        while let Some(row) = written_rows.peek()
            && row[handle] != old[handle]
        {
            assert!(row[image].starts_with("https://cdn.example.com/jobs/"));
            added += 1;
            written_rows.next();
        }
        let new = written_rows.next().unwrap();
        let mut back = new.clone();
        if new[image] != old[image] {
            assert!(
                new[image].starts_with("https://cdn.example.com/jobs/"),
                "{new:?}"
            );
            replaced.insert((&old[handle], &old[image]), &new[image]);
            back[image].clone_from(&old[image]);
        }
        if new[variant] != old[variant] {
            let new_one = replaced.get(&(&old[handle][..], &old[variant][..]));
            assert_eq!(new_one, Some(&&new[variant][..]));
            back[variant].clone_from(&old[variant]);
        }
        if old[alt].is_empty() && !new[alt].is_empty() {
            back[alt].clear();
        }
        assert_eq!((&back, &new[position]), (old, &old[position]));
    }
    let made = replaced.len();
    assert!((170..=200).contains(&made), "{made} pictures were replaced");
    added + written_rows.count()
}

#[tokio::test]
async fn a_shopify_export_of_two_hundred_products_comes_back_row_for_row() {
    let (exported, written) = shop(Form::Older, 1).await;
    assert_eq!(assert_comes_back(Form::Older, &exported, &written), 0);
    assert_eq!(exported.len(), written.len());
}

#[tokio::test]
async fn further_images_become_further_rows_of_the_product() {
    let (exported, written) = shop(Form::Newer, 2).await;
    let added = assert_comes_back(Form::Newer, &exported, &written);
    assert!(added > 130, "{added}");
}

#[tokio::test]
async fn without_a_base_address_a_store_gets_no_table_and_the_summary_says_why() {
    let cloud = TestCloud::new();
    let job = json!({"defaults": {"key": "{handle}", "template": "a photo of {title}"}});
    let text = export(Form::Older, 2);
    drop_with(&cloud, "shop.csv", text.as_bytes(), &job.to_string()).await;
    cloud.run().await;
    let job = cloud.job();
    let summary = job.json("summary.json").await;
    let note = summary["notes"][0].as_str().unwrap();
    assert!(note.contains("ImageBaseUrl"), "{note}");
    assert!(!cloud.exists(&format!("jobs/{}/shopify.csv", job.id())));
    assert_eq!(own_table(&cloud).await.len(), rows(&text).len());
}
