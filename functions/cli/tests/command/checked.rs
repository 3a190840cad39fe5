//! `darkroom check`: what a manifest would do and cost, for people and for programs.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Place, Run, samples};

fn check(manifest: &Path, more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
    Run(command
        .arg("check")
        .arg(manifest)
        .args(more)
        .output()
        .unwrap())
}

#[test]
fn each_model_and_size_is_a_row_and_all_of_them_a_total() {
    let said = check(&samples().join("catalog.csv"), &[]).exits(0);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines: Vec<Vec<String>> = said.lines().map(words).collect();
    let head = lines
        .iter()
        .position(|line| line.first().is_some_and(|word| word == "images"))
        .unwrap();
    let table: Vec<String> = lines[head..head + 5]
        .iter()
        .map(|line| line.join(" "))
        .collect();
    assert_eq!(
        table,
        [
            "images model size lane each total interactive saved warnings",
            "2 gemini-3-pro-image 1K batch $0.067 $0.1385 $0.277 $0.1385 0",
            "1 gemini-3-pro-image 2K batch $0.067 $0.0693 $0.1385 $0.0693 0",
            "24 gemini-nano-banana-2.1 1K batch $0.0168 $0.4196 $0.8392 $0.4196 0",
            "27 total $0.6274 $1.25 $0.6274 0",
        ],
        "{said}"
    );
    // Each column ends at one place.
    let widths: Vec<usize> = said
        .lines()
        .skip_while(|line| !line.contains("images  model"))
        .take(5)
        .map(str::len)
        .collect();
    assert!(
        widths.iter().all(|width| *width == widths[0]) && said.contains("Nothing was spent."),
        "{said}"
    );
}

#[test]
fn one_row_needs_no_total() {
    let place = Place::new();
    let said = check(
        &place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#),
        &[],
    )
    .exits(0);
    assert!(
        said.contains("$0.0168")
            && !said
                .lines()
                .any(|line| line.trim_start().starts_with("1  total")),
        "{said}"
    );
}

#[test]
fn problems_follow_the_table_and_count_in_its_rows() {
    let place = Place::new();
    let manifest = place.manifest(
        "odd.jsonl",
        "{\"prompt\":\"a stone\"}\n{\"key\":\"b\",\"prompt\":\"a stone\"}\n",
    );
    let said = check(&manifest, &[]).exits(0);
    let (row, problem) = (
        said.find("$0.0168").unwrap(),
        said.find("warning: line 1").unwrap(),
    );
    assert!(row < problem, "{said}");
    let offer = json(&manifest, 0);
    assert_eq!(
        (&offer["warnings"], &offer["rows"][0]["warnings"]),
        (&json!(1), &json!(1)),
        "{offer}"
    );
}

/// The JSON document of a manifest.
fn json(manifest: &Path, code: i32) -> Value {
    serde_json::from_str(&check(manifest, &["--json"]).exits(code)).unwrap()
}

#[test]
fn programs_get_one_document_with_the_names_that_are_published() {
    let offer = json(&samples().join("catalog.csv"), 0);
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names(&offer),
        "job accepted items images aliases rows total thinking errors warnings problems"
    );
    let row = &offer["rows"][2];
    assert_eq!(
        names(row),
        "model size lane each_usd warnings images total_usd interactive_total_usd saved_usd thinking"
    );
    assert_eq!(
        (&row["model"], &row["lane"], &row["images"]),
        (
            &json!("gemini-nano-banana-2.1"),
            &json!("batch"),
            &json!(24)
        )
    );
    assert_eq!(row["each_usd"], json!(0.0168));
    let sum = |name: &str| {
        offer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[name].as_f64().unwrap())
            .sum::<f64>()
    };
    for name in ["images", "total_usd", "interactive_total_usd", "saved_usd"] {
        assert!(
            (sum(name) - offer["total"][name].as_f64().unwrap()).abs() < 5e-6,
            "{name}: {offer}"
        );
    }
    assert_eq!(
        (&offer["accepted"], &offer["problems"]),
        (&json!(true), &json!([]))
    );
    let thinking = &offer["thinking"];
    assert_eq!(names(thinking), "min_tokens max_tokens min max");
    assert_eq!(
        (&thinking["min_tokens"], &thinking["max_tokens"]),
        (&json!(24 * 330 + 3 * 100), &json!(27 * 620))
    );
    // 7,920 and 300 tokens at $3.75 and $6.00 a million.
    assert_eq!(
        thinking["min"],
        json!({ "batch_usd": 0.0315, "interactive_usd": 0.063 })
    );
    assert_eq!(
        (
            &row["thinking"]["min_tokens"],
            &row["thinking"]["max_tokens"]
        ),
        (&json!(24 * 330), &json!(24 * 620))
    );
}

#[test]
fn thinking_is_a_line_of_its_own_for_each_model_that_thinks() {
    let said = check(&samples().join("catalog.csv"), &[]).exits(0);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("thinking"))
        .collect();
    assert_eq!(
        lines,
        [
            "thinking of gemini-3-pro-image, about 100 to 620 tokens an image: + $0.0018 to $0.0112",
            "thinking of gemini-nano-banana-2.1, about 330 to 620 tokens an image: + $0.0297 to $0.0558",
        ],
        "{said}"
    );
    let place = Place::new();
    let one = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let said = check(&one, &[]).exits(0);
    assert!(
        said.contains("\nthinking, about 330 to 620 tokens an image: + $0.0012 to $0.0023\n"),
        "{said}"
    );
    let first = place.manifest(
        "first.jsonl",
        r#"{"key":"a","prompt":"a stone","model":"gemini-2.5-flash-image"}"#,
    );
    let said = check(&first, &["--allow-retired-models"]).exits(0);
    assert!(!said.contains("\nthinking"), "it doesn't think: {said}");
}

#[test]
fn the_models_of_the_folder_count_for_what_is_shown() {
    let place = Place::new();
    let manifest = place.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let models = place.out().join("darkroom/stack/models.toml");
    fs::create_dir_all(models.parent().unwrap()).unwrap();
    let dearer = darkroom::models::Catalog::BUILT_IN.replace("batch = 0.0168", "batch = 0.0268");
    let out = place.out();
    let args = ["--out", out.to_str().unwrap()];

    fs::write(&models, &dearer).unwrap();
    assert!(check(&manifest, &args).exits(0).contains("$0.0268"));
    assert!(
        check(&manifest, &[]).exits(0).contains("$0.0168"),
        "another folder has other prices"
    );
    let said = place.run(&manifest, &[]).exits(0);
    assert!(said.contains("$0.0268"), "{said}");
    let plan: Value =
        serde_json::from_slice(&fs::read(place.job().join("job.json")).unwrap()).unwrap();
    assert_eq!(plan["plan"]["thinking"]["max_tokens"], json!(620), "{plan}");

    // A job keeps the prices that it was planned with.
    fs::write(&models, darkroom::models::Catalog::BUILT_IN).unwrap();
    assert!(check(&manifest, &args).exits(0).contains("$0.0268"));
    let other = place.manifest("other.jsonl", r#"{"key":"b","prompt":"a stone"}"#);
    assert!(check(&other, &args).exits(0).contains("$0.0168"));
    fs::write(&models, "model = 7").unwrap();
    let said = check(&other, &args).exits(3);
    assert!(said.contains("stack/models.toml"), "{said}");
}

#[test]
fn a_manifest_with_errors_has_problems_and_no_price() {
    let place = Place::new();
    let manifest = place.manifest(
        "bad.jsonl",
        "{\"key\":\"a\",\"prompt\":\"a stone\"}\n{\"key\":\"a\",\"prompt\":\"it\"}\n",
    );
    let said = check(&manifest, &[]).exits(2);
    assert!(
        said.contains("error: line 2")
            && said.contains("nothing would be bought")
            && !said.contains('$'),
        "{said}"
    );
    let offer = json(&manifest, 2);
    assert_eq!(
        (&offer["accepted"], &offer["errors"], &offer["rows"]),
        (&json!(false), &json!(1), &json!([]))
    );
    assert_eq!(
        (
            &offer["problems"][0]["line"],
            &offer["problems"][0]["severity"]
        ),
        (&json!(2), &json!("error"))
    );
    assert_eq!(
        (&offer["images"], &offer["total"]["total_usd"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn metadata_dry_run_ignored_no_more() {
    let place = Place::new();
    let manifest = place.manifest(
        "metadata-dry-run-ignored.csv",
        "prompt\nA red shoe\nA blue shoe\n",
    );
    for (metadata, advice) in [
        ("dry-run=true", "mode=dry_run"),
        ("estimate=1", "mode=dry_run"),
        ("budget=0.01", "budget-usd"),
        ("max-usd=5", "budget-usd"),
        ("count=2", "a column n"),
        ("resolution=2K", "image-size"),
        ("mtime=1700000000", "leave it out"),
    ] {
        let said = check(&manifest, &["--json", "--metadata", metadata]).exits(64);
        assert!(said.contains(advice), "{said}");
        assert!(
            place
                .run(&manifest, &["--metadata", metadata])
                .exits(64)
                .contains(advice)
        );
    }
    assert!(!place.out().exists(), "nothing was dropped");
}

#[test]
fn options_say_what_metadata_says() {
    let place = Place::new();
    let manifest = place.manifest("shoes.csv", "prompt\nA red shoe\nA blue shoe\n");
    let job = |more: &[&str]| {
        let said = check(&manifest, &[&["--json"], more].concat()).exits(0);
        serde_json::from_str::<Value>(&said).unwrap()["job"].clone()
    };
    assert_eq!(job(&["--dry-run"]), job(&["--metadata", "mode=dry_run"]));
    assert_eq!(
        job(&["--budget-usd", "5"]),
        job(&["--metadata", "Budget_USD=5"])
    );
    assert_ne!(job(&["--budget-usd", "5"]), job(&[]));
    assert!(
        check(&manifest, &["--budget-usd", "0.01"])
            .exits(2)
            .contains("over_budget")
    );
    let said = check(
        &manifest,
        &["--budget-usd", "5", "--metadata", "budget-usd=6"],
    )
    .exits(64);
    assert!(said.contains("--budget-usd says budget-usd=5"), "{said}");
    check(&manifest, &["--dry-run", "--metadata", "mode=run"]).exits(64);
    check(&manifest, &["--budget-usd", "five"]).exits(64);
}
