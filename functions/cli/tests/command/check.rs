//! `darkroom check`: the problems and the price of a manifest, as text and as JSON.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Run, Workspace, samples};

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
fn prints_a_row_for_each_model_and_size_and_a_total() {
    let output = check(&samples().join("catalog.csv"), &[]).exits(0);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines: Vec<Vec<String>> = output.lines().map(words).collect();
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
        "{output}"
    );
    // All columns are aligned.
    let widths: Vec<usize> = output
        .lines()
        .skip_while(|line| !line.contains("images  model"))
        .take(5)
        .map(str::len)
        .collect();
    assert!(
        widths.iter().all(|width| *width == widths[0]) && output.contains("Nothing was spent."),
        "{output}"
    );
}

#[test]
fn prints_no_total_for_a_single_row() {
    let workspace = Workspace::new();
    let output = check(
        &workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#),
        &[],
    )
    .exits(0);
    assert!(
        output.contains("$0.0168")
            && !output
                .lines()
                .any(|line| line.trim_start().starts_with("1  total")),
        "{output}"
    );
}

#[test]
fn prints_problems_after_the_table_and_counts_them_in_its_rows() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "odd.jsonl",
        "{\"prompt\":\"a stone\"}\n{\"key\":\"b\",\"prompt\":\"a stone\"}\n",
    );
    let output = check(&manifest, &[]).exits(0);
    let (row, problem) = (
        output.find("$0.0168").unwrap(),
        output.find("warning: line 1").unwrap(),
    );
    assert!(row < problem, "{output}");
    let quote = json(&manifest, 0);
    assert_eq!(
        (&quote["warnings"], &quote["rows"][0]["warnings"]),
        (&json!(1), &json!(1)),
        "{quote}"
    );
}

/// Returns the JSON document of a manifest.
fn json(manifest: &Path, code: i32) -> Value {
    serde_json::from_str(&check(manifest, &["--json"]).exits(code)).unwrap()
}

#[test]
fn the_json_document_has_the_published_names() {
    let quote = json(&samples().join("catalog.csv"), 0);
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
        names(&quote),
        "job accepted items images aliases rows total thinking errors warnings problems"
    );
    let row = &quote["rows"][2];
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
        quote["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[name].as_f64().unwrap())
            .sum::<f64>()
    };
    for name in ["images", "total_usd", "interactive_total_usd", "saved_usd"] {
        assert!(
            (sum(name) - quote["total"][name].as_f64().unwrap()).abs() < 5e-6,
            "{name}: {quote}"
        );
    }
    assert_eq!(
        (&quote["accepted"], &quote["problems"]),
        (&json!(true), &json!([]))
    );
    let thinking = &quote["thinking"];
    assert_eq!(names(thinking), "min_tokens max_tokens min max");
    assert_eq!(
        (&thinking["min_tokens"], &thinking["max_tokens"]),
        (&json!(24 * 330 + 3 * 100), &json!(27 * 620))
    );
    // 7,920 and 300 tokens at $3.75 and $6.00 per million.
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
fn prints_a_line_for_each_model_that_thinks() {
    let output = check(&samples().join("catalog.csv"), &[]).exits(0);
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("thinking"))
        .collect();
    assert_eq!(
        lines,
        [
            "thinking by gemini-3-pro-image, about 100 to 620 tokens per image: + $0.0018 to $0.0112",
            "thinking by gemini-nano-banana-2.1, about 330 to 620 tokens per image: + $0.0297 to $0.0558",
        ],
        "{output}"
    );
    let workspace = Workspace::new();
    let one = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let output = check(&one, &[]).exits(0);
    assert!(
        output.contains("\nthinking, about 330 to 620 tokens per image: + $0.0012 to $0.0023\n"),
        "{output}"
    );
    let first = workspace.manifest(
        "first.jsonl",
        r#"{"key":"a","prompt":"a stone","model":"gemini-2.5-flash-image"}"#,
    );
    let output = check(&first, &["--allow-retired-models"]).exits(0);
    assert!(
        !output.contains("\nthinking"),
        "this model does not think: {output}"
    );
}

#[test]
fn uses_the_models_and_prices_of_the_folder() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let models = workspace.out().join("darkroom/stack/models.toml");
    fs::create_dir_all(models.parent().unwrap()).unwrap();
    let expensive = darkroom::models::Catalog::BUILT_IN.replace("batch = 0.0168", "batch = 0.0268");
    let out = workspace.out();
    let args = ["--out", out.to_str().unwrap()];

    fs::write(&models, &expensive).unwrap();
    assert!(check(&manifest, &args).exits(0).contains("$0.0268"));
    assert!(
        check(&manifest, &[]).exits(0).contains("$0.0168"),
        "another folder has other prices"
    );
    let output = workspace.run(&manifest, &[]).exits(0);
    assert!(output.contains("$0.0268"), "{output}");
    let plan: Value =
        serde_json::from_slice(&fs::read(workspace.job().join("job.json")).unwrap()).unwrap();
    assert_eq!(plan["plan"]["thinking"]["max_tokens"], json!(620), "{plan}");

    // A job keeps the prices that it was planned with.
    fs::write(&models, darkroom::models::Catalog::BUILT_IN).unwrap();
    assert!(check(&manifest, &args).exits(0).contains("$0.0268"));
    let other = workspace.manifest("other.jsonl", r#"{"key":"b","prompt":"a stone"}"#);
    assert!(check(&other, &args).exits(0).contains("$0.0168"));
    fs::write(&models, "model = 7").unwrap();
    let output = check(&other, &args).exits(3);
    assert!(output.contains("stack/models.toml"), "{output}");
}

#[test]
fn uses_the_folders_of_tenants_of_the_folder() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("one.jsonl", r#"{"key":"a","prompt":"a stone"}"#);
    let folders = workspace.out().join("darkroom/stack/folders.toml");
    fs::create_dir_all(folders.parent().unwrap()).unwrap();
    let out = workspace.out();
    let args = ["--out", out.to_str().unwrap()];
    let set = |settings: &str| {
        fs::write(
            &folders,
            format!("[[folder]]\npath = \"inbox/**\"\n{settings}\n"),
        )
        .unwrap();
    };

    set("models = [\"nano-banana-pro\"]");
    let output = check(&manifest, &args).exits(2);
    assert!(
        output.contains("is not allowed in inbox/**: use nano-banana-pro"),
        "{output}"
    );
    assert!(
        workspace
            .run(&manifest, &[])
            .exits(2)
            .contains("is not allowed")
    );
    set("monthly_cap_usd = 0.001");
    assert!(
        check(&manifest, &args)
            .exits(2)
            .contains("above the monthly cap of $0.001 of inbox/**")
    );
    set("monthly_cap = 1");
    let output = check(&manifest, &args).exits(3);
    assert!(
        output.contains("stack/folders.toml") && output.contains("line 3: "),
        "{output}"
    );

    // The command finds the job that `plan` makes.
    set("defaults = { model = \"nano-banana-pro\", image_size = \"2K\" }");
    let output = check(&manifest, &args).exits(0);
    assert!(output.contains("gemini-3-pro-image  2K"), "{output}");
    let job = workspace.run(&manifest, &[]).exits(0);
    let id = output.split("The job would be ").nth(1).unwrap();
    let id = id.split(". ").next().unwrap();
    assert!(job.contains(id), "{id}: {job}");
    assert!(
        !check(&manifest, &[]).exits(0).contains(id),
        "another folder has other defaults"
    );
}

#[test]
fn prints_problems_and_no_price_for_a_manifest_with_errors() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "bad.jsonl",
        "{\"key\":\"a\",\"prompt\":\"a stone\"}\n{\"key\":\"a\",\"prompt\":\"it\"}\n",
    );
    let output = check(&manifest, &[]).exits(2);
    assert!(
        output.contains("error: line 2")
            && output.contains("Nothing would be bought")
            && !output.contains('$'),
        "{output}"
    );
    let quote = json(&manifest, 2);
    assert_eq!(
        (&quote["accepted"], &quote["errors"], &quote["rows"]),
        (&json!(false), &json!(1), &json!([]))
    );
    assert_eq!(
        (
            &quote["problems"][0]["line"],
            &quote["problems"][0]["severity"]
        ),
        (&json!(2), &json!("error"))
    );
    assert_eq!(
        (&quote["images"], &quote["total"]["total_usd"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn rejects_misspelled_metadata_with_advice() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
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
        ("mtime=1700000000", "remove it"),
    ] {
        let output = check(&manifest, &["--json", "--metadata", metadata]).exits(64);
        assert!(output.contains(advice), "{output}");
        assert!(
            workspace
                .run(&manifest, &["--metadata", metadata])
                .exits(64)
                .contains(advice)
        );
    }
    assert!(!workspace.out().exists(), "no manifest was dropped");
}

#[test]
fn options_have_the_same_effect_as_metadata() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest("shoes.csv", "prompt\nA red shoe\nA blue shoe\n");
    let job = |more: &[&str]| {
        let output = check(&manifest, &[&["--json"], more].concat()).exits(0);
        serde_json::from_str::<Value>(&output).unwrap()["job"].clone()
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
    let output = check(
        &manifest,
        &["--budget-usd", "5", "--metadata", "budget-usd=6"],
    )
    .exits(64);
    assert!(
        output.contains("--budget-usd sets budget-usd=5"),
        "{output}"
    );
    check(&manifest, &["--dry-run", "--metadata", "mode=run"]).exits(64);
    check(&manifest, &["--budget-usd", "five"]).exits(64);
}

#[test]
fn prints_a_row_for_each_lane_at_its_price() {
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "lanes.csv",
        "key,prompt,model,lane\na,x,nano-banana-2,\nb,x,nano-banana-2,interactive\nc,x,nano-banana-pro,flex\n",
    );
    let output = check(&manifest, &[]).exits(0);
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| row.len() == 9 && row[1].starts_with("gemini-"))
        .collect();
    let row = |at: usize| rows[at].join(" ");
    assert_eq!(
        [row(0), row(1), row(2)],
        [
            "1 gemini-3-pro-image 1K flex $0.0672 $0.0672 $0.134 $0.0668 0",
            "1 gemini-nano-banana-2.1 1K batch $0.0168 $0.0168 $0.0336 $0.0168 0",
            "1 gemini-nano-banana-2.1 1K interactive $0.0336 $0.0336 $0.0336 $0.00 0",
        ],
        "{output}"
    );
    let quote = json(&manifest, 0);
    assert_eq!(
        (&quote["rows"][0]["lane"], &quote["rows"][2]["saved_usd"]),
        (&json!("flex"), &json!(0)),
        "{quote}"
    );
    assert_eq!((quote.get("lanes"), quote.get("proof")), (None, None));
}

#[test]
fn explains_the_lane_of_images_that_ask_for_auto() {
    let workspace = Workspace::new();
    let lines: String = (0..12)
        .map(|number| format!("k{number},a stone\n"))
        .collect();
    let manifest = workspace.manifest("auto.csv", &format!("key,prompt\n{lines}"));
    let auto = ["--metadata", "lane=auto,within=20m"];
    let output = check(&manifest, &auto).exits(0);
    assert!(
        output.contains("\nauto: 12 images within 20 min: interactive, +$0.2016 over batch\n"),
        "{output}"
    );
    let output = check(&manifest, &[&["--json"][..], &auto].concat()).exits(0);
    let quote: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        quote["lanes"],
        json!([{
            "model": "gemini-nano-banana-2.1", "lane": "interactive", "images": 12,
            "why": "12 images within 20 min: interactive, +$0.2016 over batch",
        }])
    );
    let output = check(&manifest, &["--metadata", "lane=auto"]).exits(0);
    assert!(
        output.contains("\nauto: 12 images without job.within: batch, the lowest price\n"),
        "{output}"
    );
}

#[test]
fn prints_what_a_proof_makes_now_and_what_is_held() {
    let output = check(&samples().join("proof.json"), &[]).exits(0);
    assert!(
        output.contains(
            "\nproof: 4 images now (interactive, about $0.1345), 16 held until approved (batch, about $0.2689)\n"
        ),
        "{output}"
    );
    let proof = json(&samples().join("proof.json"), 0)["proof"].clone();
    assert_eq!(
        (&proof["lane"], &proof["hold"], &proof["images"]),
        (&json!("interactive"), &json!(true), &json!(4))
    );
    assert_eq!(
        (&proof["rest"]["lanes"], &proof["rest"]["images"]),
        (&json!(["batch"]), &json!(16))
    );
    let workspace = Workspace::new();
    let manifest = workspace.manifest(
        "unheld.json",
        r#"{"job":{"proof":{"keys":["a"],"hold":false}},"items":[{"key":"a","prompt":"x"},{"key":"b","prompt":"x"}]}"#,
    );
    let output = check(&manifest, &[]).exits(0);
    assert!(output.contains("), 1 at the same time (batch"), "{output}");
}
