//! `darkroom try`: one image now, edits of it, and its request in a manifest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{Run, Workspace, samples};

impl Workspace {
    /// Runs `darkroom try` in the folder of the test.
    fn try_image(&self, arguments: &[&str]) -> Run {
        Run(self.try_command(arguments).output().unwrap())
    }

    fn try_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .arg("try")
            .args(arguments)
            .arg("--out")
            .arg(self.out())
            .current_dir(self.0.path())
            .env_remove("GEMINI_API_KEY")
            .stdin(Stdio::null());
        command
    }

    /// Copies a sample picture to `refs/` and returns its path as an argument.
    fn picture(&self, name: &str) -> String {
        fs::create_dir_all(self.path("refs")).unwrap();
        fs::copy(
            samples().join("refs").join(name),
            self.path("refs").join(name),
        )
        .unwrap();
        format!("refs/{name}")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the hashes of all requests that the simulated Gemini has logged with this call.
    fn hashes(&self, call: &str) -> Vec<String> {
        let log = self.out().join(".darkroom/gemini/requests.jsonl");
        let text = fs::read_to_string(log).unwrap();
        let entries = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|entry: &Value| entry["call"] == call && entry["status"] == 200);
        entries
            .map(|entry| entry["request_sha256"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Returns the record of a tried image.
    fn record(&self, number: u32) -> Value {
        let path = self.out().join(format!("try/{number:04}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Runs a manifest to its end, and returns the hashes of the requests in its batches.
    fn batch_lines(&self, manifest: &str) -> Vec<String> {
        self.run(&self.path(manifest), &[]).exits(0);
        self.hashes("batch-line")
    }
}

/// Returns the manifest line in the output of the command.
fn manifest_line(output: &str) -> &str {
    output
        .lines()
        .find(|line| line.starts_with("{\"key\":"))
        .unwrap_or_else(|| panic!("no manifest line in {output}"))
}

fn value(row: &str, output: &str) -> String {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix(row))
        .unwrap_or_else(|| panic!("no {row} in {output}"));
    line.trim().to_owned()
}

#[test]
fn the_printed_line_requests_the_same_bytes_in_a_batch() {
    let workspace = Workspace::new();
    let small = workspace.picture("bag.png");
    let output = workspace
        .try_image(&[
            "a \"stone\"\nin snow — 石",
            "--ratio",
            "16:9",
            "--size",
            "2K",
            "--ref",
            &small,
            "--model",
            "nano-banana-2",
            "--thinking",
            "high",
        ])
        .exits(0);
    let image = workspace.out().join("try/0001.jpg");
    assert!(
        output.contains(&image.display().to_string()) && image.exists(),
        "{output}"
    );
    assert!(value("size", &output).starts_with("2"), "{output}");
    assert_eq!(value("lane", &output), "interactive");
    assert!(value("price", &output).starts_with("$0."), "{output}");

    let line: Value = serde_json::from_str(manifest_line(&output)).unwrap();
    assert_eq!(
        line,
        serde_json::json!({
            "key": "try-0001", "prompt": "a \"stone\"\nin snow — 石", "model": "gemini-nano-banana-2.1",
            "aspect_ratio": "16:9", "image_size": "2K", "thinking": "high", "refs": ["refs/bag.png"],
        })
    );
    fs::write(workspace.path("one.jsonl"), manifest_line(&output)).unwrap();
    let sent = workspace.hashes("generate-content");
    assert_eq!(sent.len(), 1);
    assert_eq!(workspace.batch_lines("one.jsonl"), sent);
}

#[test]
fn an_edited_image_is_kept_byte_for_byte() {
    // The first picture is sent within the request, and the second is uploaded.
    for picture in [None, Some("bag.png"), Some("fox.png")] {
        let workspace = Workspace::new();
        let picture = picture.map(|name| workspace.picture(name));
        let with_picture = picture.iter().flat_map(|path| ["--ref", path]);
        let first: Vec<&str> = ["a stone"].into_iter().chain(with_picture).collect();
        workspace.try_image(&first).exits(0);
        workspace
            .try_image(&["--again", "make the background warmer"])
            .exits(0);
        let output = workspace
            .try_image(&["--again", "add \"moss\"\nand 石"])
            .exits(0);
        assert!(output.contains("--keep KEY"), "{output}");

        // The earlier turns are returned unchanged, with the signatures of their images.
        let (second, third) = (workspace.record(2), workspace.record(3));
        let contents = third["request"]["contents"].as_array().unwrap();
        let roles: Vec<&str> = contents
            .iter()
            .map(|turn| turn["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["user", "model", "user", "model", "user"]);
        assert_eq!(contents[1], workspace.record(1)["answer"]);
        assert_eq!(contents[3], second["answer"]);
        assert!(contents[3].to_string().contains("thoughtSignature"));
        assert_eq!(
            contents[4]["parts"],
            serde_json::json!([{"text": "add \"moss\"\nand 石"}])
        );

        let output = workspace
            .try_image(&["--keep", "stone", "--into", "kept.jsonl"])
            .exits(0);
        assert_eq!(
            output.contains("Gemini deletes"),
            picture.as_deref() == Some("refs/fox.png"),
            "{output}"
        );
        let sent = workspace.hashes("generate-content");
        assert_eq!(sent.len(), 3);
        assert_eq!(workspace.batch_lines("kept.jsonl"), [sent[2].clone()]);
        assert_eq!(workspace.lines("results.jsonl")[0]["key"], "stone");
    }
}

#[test]
fn an_edit_may_add_a_picture() {
    let workspace = Workspace::new();
    let picture = workspace.picture("bag.png");
    workspace.try_image(&["a stone"]).exits(0);
    workspace
        .try_image(&["--again", "put it into this bag", "--ref", &picture])
        .exits(0);
    let record = workspace.record(2);
    let parts = &record["request"]["contents"][2]["parts"];
    assert_eq!(parts[0]["text"], "put it into this bag");
    assert_eq!(parts[1]["inlineData"]["mimeType"], "image/png");
}

#[test]
fn a_kept_line_is_appended_with_its_pictures() {
    let workspace = Workspace::new();
    let picture = workspace.picture("loafer.png");
    workspace.try_image(&["a shoe", "--ref", &picture]).exits(0);

    // Another picture of the same name is in the folder of the manifest, which lacks a line break.
    let shop = workspace.path("shop");
    fs::create_dir_all(shop.join("refs")).unwrap();
    fs::copy(samples().join("refs/bag.png"), shop.join("refs/loafer.png")).unwrap();
    fs::write(
        shop.join("shoes.jsonl"),
        r#"{"key":"bag","prompt":"a bag","refs":["refs/loafer.png"]}"#,
    )
    .unwrap();
    let output = workspace
        .try_image(&["--keep", "shoe", "--into", "shop/shoes.jsonl"])
        .exits(0);
    assert!(
        output.contains("Added shoe to shop/shoes.jsonl"),
        "{output}"
    );
    let text = fs::read_to_string(shop.join("shoes.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(super::keys(&lines), ["bag", "shoe"]);
    let key = lines[1]["refs"][0].as_str().unwrap();
    assert!(
        key.starts_with("refs/loafer-") && text.ends_with('\n'),
        "{text}"
    );
    assert_eq!(
        fs::read(shop.join(key)).unwrap(),
        fs::read(workspace.path(&picture)).unwrap()
    );
    assert_eq!(
        workspace.batch_lines("shop/shoes.jsonl")[1],
        workspace.hashes("generate-content")[0]
    );

    // A key can be used once.
    let output = workspace
        .try_image(&["--keep", "shoe", "--into", "shop/shoes.jsonl"])
        .exits(2);
    assert!(output.contains("duplicate"), "{output}");
    assert_eq!(fs::read_to_string(shop.join("shoes.jsonl")).unwrap(), text);
}

#[test]
fn a_manifest_that_would_change_the_request_is_refused() {
    let workspace = Workspace::new();
    workspace.try_image(&["a stone"]).exits(0);
    let keep = |name: &str, text: &str| {
        let path = workspace.manifest(name, text);
        let output = workspace
            .try_image(&["--keep", "stone", "--into", name])
            .exits(3);
        assert_eq!(fs::read_to_string(path).unwrap(), text);
        output
    };
    let defaults = r#"{"manifest":{"defaults":{"aspect_ratio":"16:9"}}}
{"key":"a","prompt":"a leaf"}
"#;
    let output = keep("defaults.jsonl", defaults);
    assert!(output.contains("change the request"), "{output}");
    let output = keep("table.csv", "key,prompt\na,a leaf\n");
    assert!(output.contains("JSON Lines"), "{output}");
}

#[test]
fn flex_is_served_at_half_price_and_kept_without_its_tier() {
    let workspace = Workspace::new();
    let arguments = ["a stone", "--model", "gemini-3-pro-image", "--lane", "flex"];
    let output = workspace.try_image(&arguments).exits(0);
    assert_eq!(value("lane", &output), "flex");
    assert!(value("price", &output).starts_with("$0.0"), "{output}");
    assert!(!manifest_line(&output).contains("flex"));
    assert!(workspace.record(1)["request"]["serviceTier"].is_null());

    let output = workspace.try_image(&["a stone", "--lane", "flex"]).exits(2);
    assert!(
        output.contains("lane flex") && output.contains("Nothing was bought"),
        "{output}"
    );
    let mut full = arguments.to_vec();
    full.extend(["--flex-capacity", "0"]);
    let output = Workspace::new().try_image(&full).exits(3);
    assert!(output.contains("--lane interactive"), "{output}");
}

#[test]
fn a_refusal_prints_its_reason_and_is_not_edited() {
    let workspace = Workspace::new();
    let output = workspace
        .try_image(&["a stone", "--refuse", "100"])
        .exits(1);
    assert!(output.contains("No image: "), "{output}");
    assert!(value("price", &output).starts_with('$'), "{output}");
    let output = workspace.try_image(&["--again", "warmer"]).exits(3);
    assert!(output.contains("there is no image in"), "{output}");
    let output = workspace
        .try_image(&["--keep", "a", "--into", "a.jsonl"])
        .exits(3);
    assert!(output.contains("there is no image in"), "{output}");
}

#[test]
fn a_failed_call_says_what_was_bought() {
    for (fault, expected) in [
        (
            "429-minute",
            &["quota", "asks to wait", "Nothing was bought"][..],
        ),
        ("429", &["does not name a time", "Nothing was bought"]),
        ("key-invalid", &["API key not valid", "Nothing was bought"]),
        ("503", &["no capacity", "Nothing was bought"]),
        (
            "lost-reply",
            &["the answer was lost", "may have made the image", "$0."],
        ),
        ("cut", &["the answer was lost", "may have made the image"]),
        ("500", &["the answer was lost", "may have made the image"]),
    ] {
        let workspace = Workspace::new();
        let rule = format!("generate-content:{fault}:1");
        let output = workspace.try_image(&["a stone", "--fault", &rule]).exits(3);
        for text in expected {
            assert!(output.contains(text), "{fault}: {output}");
        }
        assert!(!Path::new(&workspace.out().join("try/0001.jpg")).exists());
        workspace.try_image(&["a stone"]).exits(0);
    }
}

#[test]
fn a_wrong_request_is_rejected_before_anything_is_bought() {
    let workspace = Workspace::new();
    for (arguments, code) in [
        (&["a stone", "--ratio", "5:7"][..], 2),
        (&["a stone", "--model", "dall-e-3"], 2),
        (&["", "--size", "1K"], 2),
        (&["a stone", "--ref", "nowhere.png"], 3),
        (&[], 64),
        (&["a stone", "--again", "warmer"], 64),
        (&["--again", "warmer", "--size", "2K"], 64),
        (&["--keep", "a"], 64),
        (&["a stone", "--lane", "batch"], 64),
    ] {
        workspace.try_image(arguments).exits(code);
    }
    assert!(!workspace.out().join(".darkroom/gemini").exists());
}

#[test]
fn the_real_gemini_requires_a_key_and_consent_here_too() {
    let workspace = Workspace::new();
    let arguments = ["a stone", "--gemini", "live"];
    let output = workspace.try_image(&arguments).exits(3);
    assert!(output.contains("GEMINI_API_KEY"), "{output}");
    let mut command = workspace.try_command(&arguments);
    let output = Run(command
        .env("GEMINI_API_KEY", "canary-1234")
        .output()
        .unwrap())
    .exits(4);
    assert!(
        output.contains("--yes") && output.contains("about $0.0") && !output.contains("canary"),
        "{output}"
    );
    workspace.try_image(&["a stone"]).exits(0);
    let output = workspace.try_image(&arguments).exits(3);
    assert!(output.contains("contains simulated images"), "{output}");
}
