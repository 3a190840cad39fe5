//! The `darkroom` command as users run it: as another process, with a folder and an exit code.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

mod aws_log;
mod check;
mod doctor;
mod doctor_stack;
mod images;
mod kill_and_resume;
mod memory;
mod rejected;
mod rerun;
mod review;
mod serve;
mod try_image;
mod upgrade;
mod watching;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// Returns the folder of the sample manifests.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/manifests")
}

/// The folder of one test, with its manifests and the output of the command.
struct Workspace(TempDir);

impl Workspace {
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

    /// Returns the command, which is not started yet.
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

    /// Runs another command on the folder.
    fn look(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
        command.args(arguments).arg("--out").arg(self.out());
        Run(command.stdin(Stdio::null()).output().unwrap())
    }

    /// Returns the folder of the only job.
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

    /// Returns the display names of all batches that the simulated Gemini has created.
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

    /// Returns every file below a folder of the output, with its content and its modification time.
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

/// The output and exit code of a command.
struct Run(Output);

impl Run {
    /// Returns the output. Fails the test and shows the output if the exit code is not `code`.
    #[track_caller]
    fn exits(self, code: i32) -> String {
        let output = format!(
            "{}{}",
            String::from_utf8_lossy(&self.0.stdout),
            String::from_utf8_lossy(&self.0.stderr)
        );
        assert_eq!(self.0.status.code(), Some(code), "{output}");
        output
    }
}

/// Returns all files below a folder, sorted.
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

/// Returns the keys of the lines of a plan or of results.
fn keys(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect()
}
