//! A manifest file on this machine, and the reference pictures next to it.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::{
    batch_bounds::BatchBounds,
    job::JobSettings,
    manifest::{
        self, Beside, Context, Copies, Expected, Header, Limits, Mode, Problem, Reading, Severity,
    },
    models::Catalog,
    names::{JobId, ObjectUri},
    plan::job_id,
    plan::{Forecast, RequestSize, Sharder},
};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use super::{ManifestArgs, SettingsArgs, sidecar};
use crate::cloud::BUCKET;

/// A manifest file and what determines its job.
#[derive(Debug)]
pub(super) struct ManifestFile {
    path: PathBuf,
    /// The key that the manifest gets in the bucket.
    pub(super) key: String,
    /// The job that the manifest becomes.
    pub(super) job: JobId,
    /// The metadata, the job document, and the templates that the manifest uses.
    pub(super) sidecar: Beside,
}

/// What checking a manifest has found.
#[derive(Debug)]
pub(super) struct CheckedManifest {
    /// The problems, and the counts and costs in total and by model and size.
    pub(super) reading: Reading,
    /// How long the job takes, if that is longer than a day.
    pub(super) forecast: Option<Forecast>,
    /// Whether the manifest or its metadata requests a dry run.
    pub(super) is_dry_run: bool,
    /// The keys of the reference pictures in the local bucket.
    pub(super) references: BTreeSet<String>,
}

impl ManifestFile {
    /// Reads the manifest and what is next to it once, to determine the job that it becomes with
    /// its metadata and these settings.
    pub(super) fn open(args: &ManifestArgs, settings: &JobSettings) -> anyhow::Result<Self> {
        // The file name becomes the key, and the key is part of the job's identity.
        let path = args.manifest.as_path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.with_context(|| format!("the file name of {} is not valid", path.display()))?;
        let key = format!("inbox/{name}");

        // Hashed in pieces, so that `check` needs little memory for a large manifest.
        let mut hash = Sha256::new();
        let mut file = open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file
                .read(&mut buffer)
                .with_context(|| format!("can't read {}", path.display()))?
            {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }

        // Templates that the manifest does not use must not change the job.
        let mut sidecar = sidecar::read(path, &key, args.metadata().map_err(anyhow::Error::msg)?)?;
        let used = used_templates(path, &sidecar)?;
        sidecar.templates.retain(|name, _| used.contains(name));
        let job = job_id(BUCKET, &key, &hash.finalize().into(), settings, &sidecar);
        Ok(Self {
            path: path.to_owned(),
            key,
            job,
            sidecar,
        })
    }

    /// Returns the content of the manifest.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("can't read {}", self.path.display()))
    }

    /// Returns the path of the local file that becomes the object `key`: keys are relative to the
    /// manifest's folder.
    pub(super) fn local_path(&self, key: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(key)
    }

    /// Checks the manifest as `plan` does.
    pub(super) fn check(
        &self,
        catalog: &Catalog,
        args: &SettingsArgs,
        now: Timestamp,
    ) -> anyhow::Result<CheckedManifest> {
        // Web references are not fetched here. `plan` fetches them.
        let (settings, project, copies) = (args.settings(), args.limits(), Copies::new());
        let bounds = BatchBounds::of(&project, catalog, args.tier);
        let context = Context {
            bucket: BUCKET,
            catalog,
            default_model: &settings.default_model,
            on: now.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: settings.allow_retired_models,
            beside: &self.sidecar,
            allow_unknown_models: settings.allow_unknown_models,
            copies: settings.https_references.are_allowed().then_some(&copies),
            bounds: &bounds,
            limits: Limits::default(),
        };

        // The reader gives out one image at a time, so memory use does not grow with the manifest.
        let header = Header::read(open(&self.path)?, &context)?;
        let mut sharder = Sharder::new(settings.shard.clone(), bounds.clone());
        let mut pictures = ReferencePictures::default();
        let mut reading = manifest::read(open(&self.path)?, &header, &context, |expected| {
            sharder.place(&expected.model, RequestSize::of(&expected, catalog));
            pictures.check(self, &expected);
            Ok(())
        })?;

        // Missing pictures are added to the manifest's own problems, in the order of the lines.
        let forecast = Forecast::of(&sharder.planned(), project.live_batches, &bounds);
        reading.errors += pictures.missing.len() as u64;
        reading.problems.extend(pictures.problems());
        reading.problems.sort_by_key(|problem| problem.line);
        let is_dry_run = header.job().mode == Some(Mode::DryRun);
        Ok(CheckedManifest {
            reading,
            forecast,
            is_dry_run,
            references: pictures.found,
        })
    }
}

/// The reference pictures of a manifest that are in the local bucket. They are uploaded from files
/// in the manifest's folder.
#[derive(Default)]
struct ReferencePictures {
    found: BTreeSet<String>,
    missing: BTreeSet<String>,
    /// Problems of missing pictures, up to the limit for the problems of a manifest.
    listed: Vec<Problem>,
}

impl ReferencePictures {
    /// Checks that the pictures of an image exist.
    fn check(&mut self, manifest: &ManifestFile, expected: &Expected) {
        for ObjectUri { bucket, key } in &expected.refs {
            if bucket != BUCKET || self.found.contains(key) || self.missing.contains(key) {
                continue;
            }
            let path = manifest.local_path(key);
            if path.is_file() {
                self.found.insert(key.clone());
                continue;
            }
            self.missing.insert(key.clone());
            if self.listed.len() < Limits::default().problems {
                self.listed.push(Problem {
                    line: expected.line,
                    key: Some(expected.item.clone()),
                    severity: Severity::Error,
                    code: "missing_reference".to_owned(),
                    message: format!("there is no file {}", path.display()),
                });
            }
        }
    }

    /// Takes the problems of the missing pictures. If there are too many to list, the last problem
    /// gives the number of the others.
    fn problems(&mut self) -> Vec<Problem> {
        let mut listed = std::mem::take(&mut self.listed);
        let more = self.missing.len() - listed.len();
        if more > 0 {
            listed.push(Problem {
                line: 1,
                key: None,
                severity: Severity::Error,
                code: "more_errors".to_owned(),
                message: format!("{more} more reference pictures are missing"),
            });
        }
        listed
    }
}

/// Returns the names of the stored templates that a manifest uses.
fn used_templates(path: &Path, sidecar: &Beside) -> anyhow::Result<BTreeSet<String>> {
    if sidecar.templates.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(manifest::used_templates(
        open(path)?,
        open(path)?,
        BUCKET,
        sidecar,
    )?)
}

fn open(path: &Path) -> anyhow::Result<fs::File> {
    fs::File::open(path).with_context(|| format!("can't open {}", path.display()))
}
