//! The `darkroom` command, as a person runs it: another process, a folder, an exit code.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod again;
mod checked;
mod images;
mod killed;
mod large;
mod rejected;
mod served;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// Where the sample manifests are.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/manifests")
}

/// A folder for one test: its manifests, and what the command makes of them.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// Writes a manifest.
    fn manifest(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The command, not yet started.
    fn command(&self, manifest: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command
            .arg("run")
            .arg(manifest)
            .arg("--out")
            .arg(self.out())
            .args(more);
        command.env_remove("GEMINI_API_KEY").stdin(Stdio::null());
        command
    }

    fn run(&self, manifest: &Path, more: &[&str]) -> Run {
        Run(self.command(manifest, more).output().unwrap())
    }

    /// The one job that the folder holds.
    fn job(&self) -> PathBuf {
        let jobs: Vec<PathBuf> = fs::read_dir(self.out().join("darkroom/jobs"))
            .unwrap()
            .map(|job| job.unwrap().path())
            .collect();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs[0].clone()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.job().join(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The batches that the simulated Gemini has ever made, by display name.
    fn batches(&self) -> Vec<String> {
        let folder = self.out().join(".darkroom/gemini/batches");
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let files = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"));
        files.map(|file| text_at(&file, "display_name")).collect()
    }

    /// Every file below a folder of the output, with its content and the time of its last change.
    fn snapshot(&self, below: &str) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        files(&self.out().join(below))
            .into_iter()
            .map(|path| {
                let changed = fs::metadata(&path).unwrap().modified().unwrap();
                let content = fs::read(&path).unwrap();
                (path, (content, changed))
            })
            .collect()
    }
}

/// How the command ended.
struct Run(Output);

impl Run {
    /// Fails the test, showing what the command said, unless it ended with `code`.
    #[track_caller]
    fn exits(self, code: i32) -> String {
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&self.0.stdout),
            String::from_utf8_lossy(&self.0.stderr)
        );
        assert_eq!(self.0.status.code(), Some(code), "{said}");
        said
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

fn text_at(file: &Path, name: &str) -> String {
    let document: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    document[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {document}"))
        .to_owned()
}

/// The keys of lines of results or of a plan.
fn keys(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect()
}
