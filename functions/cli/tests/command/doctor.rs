//! `darkroom doctor --live`: what it finds out about a Gemini that behaves as documented, about one
//! of which every doubt is true, and about one that is hostile; and that it buys nothing twice.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Run, Workspace, files};

/// The API key, which must not be stored anywhere.
const KEY: &str = "canary-5up3r-53cr37";

/// A running `darkroom gemini`.
struct Gemini {
    process: Child,
    url: String,
    /// Open until the end, because the command prints more than its address.
    _output: BufReader<ChildStdout>,
}

impl Gemini {
    fn start(workspace: &Workspace, flags: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args(["gemini", "--port", "0", "--state"])
            .arg(workspace.0.path().join("gemini"))
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.trim().starts_with("http://127.0.0.1:") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "no address");
        }
        Self {
            process,
            url: line.trim().to_owned(),
            _output: output,
        }
    }
}

impl Drop for Gemini {
    fn drop(&mut self) {
        // The process may have ended already, if the test has failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A report: the verdict and what was seen, by the name of the check.
type Checks = BTreeMap<String, (String, String)>;

impl Workspace {
    fn doctor(&self, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .args(["doctor", "--live", "--out"])
            .arg(self.out())
            .args(more)
            .env("GEMINI_BASE_URL", url)
            .env("GEMINI_API_KEY", KEY)
            .stdin(Stdio::null());
        command
    }

    /// Runs the examination to its end, in as many runs as it takes, and returns the output of the
    /// last.
    fn examine(&self, gemini: &Gemini, code: i32) -> String {
        loop {
            let run = Run(self.doctor(&gemini.url, &["--yes"]).output().unwrap());
            if run.0.status.code() != Some(6) {
                return run.exits(code);
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    fn report(&self) -> Checks {
        let text = fs::read(self.out().join("report.json")).unwrap();
        let report: Value = serde_json::from_slice(&text).unwrap();
        let checks = report["checks"].as_array().unwrap().iter();
        checks
            .map(|check| {
                let member = |name: &str| check[name].as_str().unwrap().to_owned();
                (member("check"), (member("verdict"), member("seen")))
            })
            .collect()
    }

    fn gemini_state(&self, name: &str) -> PathBuf {
        self.0.path().join("gemini").join(name)
    }

    /// Returns the number of batches that were created.
    fn created(&self) -> usize {
        let batches = files(&self.gemini_state("batches"));
        let documents = batches.iter();
        documents
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .count()
    }

    /// Returns the number of single requests that were answered with an image.
    fn generated(&self) -> usize {
        let log = fs::read_to_string(self.gemini_state("requests.jsonl")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("\"generate-content\"") && line.contains("200"))
            .count()
    }
}

#[track_caller]
fn assert_check(checks: &Checks, name: &str, verdict: &str, seen: &str) {
    let (found, what) = checks
        .get(name)
        .unwrap_or_else(|| panic!("no check {name} in {checks:#?}"));
    assert_eq!(found, verdict, "{name}: {what}");
    assert!(what.contains(seen), "{name}: {what}");
}

#[test]
fn a_gemini_as_documented_passes_all_checks() {
    let workspace = Workspace::new();
    // The second batch is the one that is canceled.
    let flags = "--batch-seconds 2 --stuck-pending 2 --ranges";
    let gemini = Gemini::start(&workspace, flags);
    let output = workspace.examine(&gemini, 0);
    assert!(output.contains("report.md"), "{output}");

    let checks = workspace.report();
    // The simulated Gemini still has a model that Google has announced to shut down.
    let others = checks
        .iter()
        .filter(|(name, (verdict, _))| verdict != "expected" && *name != "retired models");
    let others: Vec<_> = others.collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_check(
        &checks,
        "size 4K 8:1",
        "expected",
        "12288 x 1536, image/jpeg",
    );
    assert_check(&checks, "refusal", "expected", "PROHIBITED_CONTENT");
    assert_check(&checks, "refusal", "expected", "promptFeedback.blockReason");
    assert_check(&checks, "cancel", "expected", "without an output");
    assert_check(&checks, "flex", "expected", "tier flex");
    assert_eq!((workspace.created(), workspace.generated()), (2, 1));

    // The images were paid for, and are kept. A complete examination makes no call.
    assert!(workspace.out().join("images/4k-strip.jpg").exists());
    drop(gemini);
    let mut elsewhere = workspace.doctor("http://127.0.0.1:9", &["--yes"]);
    let output = Run(elsewhere.output().unwrap()).exits(3);
    assert!(
        output.contains("choose another folder with --out"),
        "{output}"
    );
}

#[test]
fn every_doubt_that_is_true_is_named() {
    let workspace = Workspace::new();
    let flags = "--batch-seconds 1 --late-output 6s:1 --done late --list-lag 4..4 \
                 --forbidden-prompt error --wrong-size 100 --flex-capacity 0 \
                 --fault cancel-batch:404:100%";
    let gemini = Gemini::start(&workspace, flags);
    let output = workspace.examine(&gemini, 5);
    assert!(output.contains("FAILED"), "{output}");

    let checks = workspace.report();
    assert_check(
        &checks,
        "list of batches",
        "handled",
        "not in the first list",
    );
    assert_check(&checks, "output", "handled", "s after the state");
    assert_check(&checks, "done", "handled", "s after the state");
    assert_check(&checks, "range of a download", "handled", "ignored");
    assert_check(&checks, "refusal", "handled", "error.code");
    assert_check(&checks, "size 1K 1:1", "expected", "1024 x 1024");
    assert_check(&checks, "size 2K 16:9", "failed", "1376 x 768");
    assert_check(&checks, "tokens of 2K", "failed", "1120 for the image");
    assert_check(&checks, "tokens of 4K", "failed", "1120 for the image");
    assert_check(&checks, "cancel", "failed", "not found");
    assert_check(&checks, "flex", "unseen", "overloaded");
    assert_check(&checks, "key", "expected", "accepted");
}

#[test]
fn other_forms_of_doubt_are_told_apart() {
    let workspace = Workspace::new();
    let flags = "--batch-seconds 1 --inline-output 1 --forbidden-prompt drawn --wrong-ratio 100 \
                 --shape no-key:100 --fault generate-content:400:100% \
                 --fault create-batch:lost-reply:1 --done absent";
    let gemini = Gemini::start(&workspace, flags);
    workspace.examine(&gemini, 5);
    let checks = workspace.report();
    assert_check(&checks, "tier", "handled", "a list has the batch");
    assert_check(&checks, "range of a download", "handled", "not in a file");
    assert_check(
        &checks,
        "result lines",
        "failed",
        "4 lines, 0 of them unreadable, 0 of 4 keys",
    );
    assert_check(&checks, "size 2K 16:9", "failed", "no line");
    assert_check(&checks, "done", "handled", "never");
    assert_check(&checks, "flex", "failed", "invalid request");
    assert_eq!((workspace.created(), workspace.generated()), (2, 0));
}

#[test]
fn a_hostile_gemini_controls_neither_the_terminal_nor_the_report() {
    let workspace = Workspace::new();
    let flags = "--batch-seconds 1 --shape hostile-text:100 --fault list-models:empty:1 \
                 --fault list-batches:html:first-3 --fault get-batch:empty:first-2 \
                 --fault generate-content:400-hostile:100%";
    let gemini = Gemini::start(&workspace, flags);
    let mut output = workspace.examine(&gemini, 5);
    let checks = workspace.report();
    assert_check(&checks, "models", "unseen", "unexpected response");
    assert_check(&checks, "flex", "failed", "[link](javascript:alert(1))");
    assert_check(&checks, "model of the answers", "handled", "<script>");
    assert_check(
        &checks,
        "refusal",
        "expected",
        "response.promptFeedback.blockReason",
    );

    let report = fs::read_to_string(workspace.out().join("report.md")).unwrap();
    output.push_str(&report);
    output.push_str(&fs::read_to_string(workspace.out().join("report.json")).unwrap());
    let obeyed = |letter: char| letter != '\n' && letter.is_control() || letter == '\u{202e}';
    assert!(!output.contains(obeyed), "{output:?}");
    // Every row of the table is one line with five cells, and what was seen is in code spans.
    let rows: Vec<&str> = report
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), checks.len() + 2, "{report}");
    for row in &rows {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
        let outside: String = row.split('`').step_by(2).collect();
        assert!(!outside.contains(['<', '@', '[']), "{row}");
    }
}

#[test]
fn money_is_spent_only_after_consent() {
    let workspace = Workspace::new();
    let gemini = Gemini::start(&workspace, "--batch-seconds 1");
    let output = Run(workspace.doctor(&gemini.url, &[]).output().unwrap()).exits(4);
    assert!(output.contains("spend about $0.1"), "{output}");
    assert!(output.contains("--yes"), "{output}");
    assert_eq!((workspace.created(), workspace.generated()), (0, 0));
    assert!(!workspace.out().join("doctor.json").exists());

    let mut command = workspace.doctor(&gemini.url, &["--yes"]);
    let output = Run(command.env_remove("GEMINI_API_KEY").output().unwrap()).exits(3);
    assert!(output.contains("GEMINI_API_KEY"), "{output}");
}

#[test]
fn a_rejected_key_buys_nothing() {
    let workspace = Workspace::new();
    let flags = "--batch-seconds 1 --fault list-models:key-invalid:1 --stuck-pending 2 --ranges";
    let gemini = Gemini::start(&workspace, flags);
    let output = Run(workspace.doctor(&gemini.url, &["--yes"]).output().unwrap()).exits(5);
    assert!(output.contains("API key not valid"), "{output}");
    assert_eq!(workspace.created(), 0);
    // With a key that is accepted, the same examination continues, here in one run.
    let output = Run(workspace.doctor(&gemini.url, &["--wait"]).output().unwrap()).exits(0);
    assert!(!output.contains("API key not valid"), "{output}");
}

#[test]
fn a_killed_examination_continues_and_buys_nothing_twice() {
    type Moment = fn(&Workspace) -> bool;
    let moments: [Moment; 5] = [
        |workspace| workspace.out().join("doctor.json").exists(),
        |workspace| workspace.created() == 1,
        |workspace| workspace.created() == 2,
        |workspace| workspace.generated() == 1,
        |workspace| workspace.out().join("images").exists(),
    ];
    for (number, moment) in moments.iter().enumerate() {
        let workspace = Workspace::new();
        let gemini = Gemini::start(&workspace, "--batch-seconds 1 --stuck-pending 2 --ranges");
        let mut command = workspace.doctor(&gemini.url, &["--yes", "--wait"]);
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !moment(&workspace) && process.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        process.kill().unwrap();
        process.wait().unwrap();

        // The flex call may have been lost, which is the only check that may then fail.
        loop {
            let run = Run(workspace.doctor(&gemini.url, &["--yes"]).output().unwrap());
            match run.0.status.code() {
                Some(6) => thread::sleep(Duration::from_millis(300)),
                Some(0 | 5) => break,
                _ => panic!("moment {number}: {}", run.exits(0)),
            }
        }
        let checks = workspace.report();
        let failed = checks
            .iter()
            .filter(|(_, (verdict, _))| verdict == "failed");
        assert_eq!(failed.count(), 0, "moment {number}: {checks:#?}");
        for (name, (verdict, seen)) in &checks {
            assert!(
                verdict != "unseen" || name == "flex",
                "moment {number}: {name}: {seen}"
            );
        }
        assert_eq!(workspace.created(), 2, "moment {number}");
        assert!(workspace.generated() <= 1, "moment {number}");
    }
}

#[test]
fn the_key_is_stored_nowhere() {
    let workspace = Workspace::new();
    let gemini = Gemini::start(&workspace, "--batch-seconds 1 --ranges --stuck-pending 2");
    let output = workspace.examine(&gemini, 0);
    assert!(!output.contains(KEY));
    for path in files(&workspace.out()) {
        let content = fs::read(&path).unwrap();
        let found = content
            .windows(KEY.len())
            .any(|part| part == KEY.as_bytes());
        assert!(!found, "{}", path.display());
    }
}
