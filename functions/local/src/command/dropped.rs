//! A manifest on this machine: its bytes, what it asks for, and the pictures beside it.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::{
    job::{Settings, job_id},
    manifest::{self, Beside, Context, Copies, Header, Limits, Problem, Reading, Severity},
    models::Catalogue,
    names::{JobId, ObjectUri},
};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use super::beside;
use crate::cloud::BUCKET;

/// A manifest as a file.
#[derive(Debug)]
pub(super) struct Dropped {
    path: PathBuf,
    /// Where it goes in the bucket.
    pub(super) key: String,
    /// The job that dropping it means.
    pub(super) job: JobId,
    /// What stands beside it: metadata, the job document, and the templates that it uses.
    pub(super) stands_beside: Beside,
}

/// What a manifest asks for.
#[derive(Debug)]
pub(super) struct Order {
    /// Problems, counts and costs, by model and size too.
    pub(super) reading: Reading,
    /// The pictures of the local bucket that it refers to.
    pub(super) references: BTreeSet<String>,
}

impl Dropped {
    /// Finds the manifest at `path`, and the job that it means with this metadata and these settings.
    pub(super) fn open(path: &Path, metadata: &[(String, String)], settings: &Settings) -> anyhow::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no usable file name", path.display()))?;
        let key = format!("inbox/{name}");
        let mut hash = Sha256::new();
        let mut file = open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).with_context(|| format!("can't read {}", path.display()))? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        let mut beside = beside::read(path, &key, metadata)?;
        let used = used_templates(path, &beside)?;
        beside.templates.retain(|name, _| used.contains(name));
        let job = job_id(BUCKET, &key, &hash.finalize().into(), settings, &beside);
        Ok(Self { path: path.to_owned(), key, job, stands_beside: beside })
    }

    /// The manifest's bytes.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("can't read {}", self.path.display()))
    }

    /// Where a picture of the bucket lies beside the manifest.
    pub(super) fn beside(&self, key: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(key)
    }

    /// Reads the manifest as `plan` will.
    pub(super) fn read(&self, catalogue: &Catalogue, settings: &Settings, now: Timestamp) -> anyhow::Result<Order> {
        // Nothing is fetched here: `plan` does that.
        let copies = Copies::new();
        let context = Context {
            bucket: BUCKET,
            catalogue,
            default_model: &settings.default_model,
            on: now.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: settings.allow_retired_models,
            beside: &self.stands_beside,
            allow_unknown_models: settings.allow_unknown_models,
            copies: settings.https_references.are_allowed().then_some(&copies),
            limits: Limits::default(),
        };
        let header = Header::read(open(&self.path)?, &context)?;
        let mut references = BTreeSet::new();
        let mut missing = BTreeSet::new();
        let mut problems = Vec::new();
        let mut reading = manifest::read(open(&self.path)?, &header, &context, |expected| {
            for ObjectUri { bucket, key } in &expected.refs {
                if bucket == BUCKET && references.insert(key.clone()) && !self.beside(key).is_file() {
                    missing.insert(key.clone());
                    problems.push(Problem {
                        line: expected.line,
                        key: Some(expected.item.clone()),
                        severity: Severity::Error,
                        code: "missing_reference".to_owned(),
                        message: format!("there is no file {} beside the manifest", self.beside(key).display()),
                    });
                }
            }
            Ok(())
        })?;
        reading.errors += problems.len() as u64;
        reading.problems.extend(problems);
        reading.problems.sort_by_key(|problem| problem.line);
        references.retain(|key| !missing.contains(key));
        Ok(Order { reading, references })
    }
}

/// The stored templates that a manifest names.
fn used_templates(path: &Path, beside: &Beside) -> anyhow::Result<BTreeSet<String>> {
    if beside.templates.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (catalogue, settings) = (Catalogue::built_in(), Settings::default());
    let context = Context {
        bucket: BUCKET,
        catalogue: &catalogue,
        default_model: &settings.default_model,
        // Which models are live changes no name of a template.
        on: jiff::civil::Date::MIN,
        allow_retired_models: true,
        allow_unknown_models: true,
        beside,
        copies: None,
        limits: Limits::default(),
    };
    let header = Header::read(open(path)?, &context)?;
    Ok(manifest::read(open(path)?, &header, &context, |_| Ok(()))?.templates)
}

fn open(path: &Path) -> anyhow::Result<fs::File> {
    fs::File::open(path).with_context(|| format!("can't open {}", path.display()))
}
