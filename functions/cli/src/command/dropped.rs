//! A manifest on this machine: its bytes, what it asks for, and the pictures beside it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::{
    job::Settings,
    manifest::{
        self, Context, Copies, Diagnostic, Header, Limits, Mode, OpenedManifest, PlannedImage,
        Reading, Severity, Sidecar,
    },
    models::Catalog,
    names::{JobId, ObjectUri},
    plan::{BatchBounds, Forecast, RequestSize, Sharder},
};
use jiff::{Timestamp, tz::TimeZone};

use super::{ManifestArgs, SettingsArgs, sidecar::FolderSources};
use crate::cloud::BUCKET;

/// A manifest as a file.
#[derive(Debug)]
pub(super) struct Dropped {
    path: PathBuf,
    sources: FolderSources,
    header: Header,
    /// Where it goes in the bucket.
    pub(super) key: String,
    /// The job that dropping it means.
    pub(super) job: JobId,
    /// What stands beside it: metadata, the job document, and the templates that it uses.
    pub(super) sidecar: Sidecar,
}

/// What a manifest asks for.
#[derive(Debug)]
pub(super) struct Order {
    /// Problems, counts and costs, by model and size too.
    pub(super) reading: Reading,
    /// How long it takes, where that is longer than a day.
    pub(super) forecast: Option<Forecast>,
    /// Whether it asks for an estimate only.
    pub(super) is_dry_run: bool,
    /// The pictures of the local bucket that it refers to.
    pub(super) references: BTreeSet<String>,
}

impl Dropped {
    /// Finds the manifest, and the job that it means with its metadata and these settings.
    pub(super) fn open(args: &ManifestArgs, settings: &Settings) -> anyhow::Result<Self> {
        let path = args.manifest.as_path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no usable file name", path.display()))?;
        let key = format!("inbox/{name}");
        let uri = ObjectUri {
            bucket: BUCKET.to_owned(),
            key,
        };
        let sources = FolderSources::new(path);
        let metadata = args.metadata().map_err(anyhow::Error::msg)?;
        let opened = OpenedManifest::open(&sources, &uri, metadata)?;
        Ok(Self {
            path: path.to_owned(),
            sources,
            job: opened.job_id(&uri, settings),
            key: uri.key,
            sidecar: opened.sidecar,
            header: opened.header,
        })
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
    pub(super) fn read(
        &self,
        catalog: &Catalog,
        args: &SettingsArgs,
        now: Timestamp,
    ) -> anyhow::Result<Order> {
        // Nothing is fetched here: `plan` does that.
        let (settings, project, copies) = (args.settings(), args.limits(), Copies::new());
        let bounds = BatchBounds::of(&project, catalog, args.tier);
        let context = Context {
            bucket: BUCKET,
            catalog,
            default_model: &settings.default_model,
            on: now.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: settings.allow_retired_models,
            sidecar: &self.sidecar,
            allow_unknown_models: settings.allow_unknown_models,
            copies: settings.https_references.are_allowed().then_some(&copies),
            bounds: &bounds,
            limits: Limits::default(),
        };
        let header = &self.header;
        let mut sharder = Sharder::new(settings.shard.clone(), bounds.clone());
        let mut pictures = Pictures::default();
        let mut reading = manifest::read(self.sources.open()?, header, &context, |expected| {
            sharder.place(&expected.model, RequestSize::of(&expected, catalog));
            pictures.look_for(self, &expected);
            Ok(())
        })?;
        let forecast = Forecast::of(&sharder.planned(), project.live_batches, &bounds);
        reading.errors += pictures.missing.len() as u64;
        reading.problems.extend(pictures.problems());
        reading.problems.sort_by_key(|problem| problem.line);
        let is_dry_run = header.job().mode == Some(Mode::DryRun);
        Ok(Order {
            reading,
            forecast,
            is_dry_run,
            references: pictures.found,
        })
    }
}

/// The pictures that a manifest refers to in the local bucket, which are files in its own folder.
#[derive(Default)]
struct Pictures {
    found: BTreeSet<String>,
    missing: BTreeSet<String>,
    listed: Vec<Diagnostic>,
}

impl Pictures {
    /// Looks for those of an image.
    fn look_for(&mut self, dropped: &Dropped, expected: &PlannedImage) {
        for ObjectUri { bucket, key } in &expected.refs {
            if bucket != BUCKET || self.found.contains(key) || self.missing.contains(key) {
                continue;
            }
            if dropped.beside(key).is_file() {
                self.found.insert(key.clone());
                continue;
            }
            self.missing.insert(key.clone());
            if self.listed.len() < Limits::default().problems {
                self.listed.push(Diagnostic {
                    line: expected.line,
                    key: Some(expected.item.clone()),
                    severity: Severity::Error,
                    code: "missing_reference".to_owned(),
                    message: format!("there is no file {}", dropped.beside(key).display()),
                });
            }
        }
    }

    /// A problem for each that is missing, as many as a manifest's other problems are listed.
    fn problems(&mut self) -> Vec<Diagnostic> {
        let mut listed = std::mem::take(&mut self.listed);
        let more = self.missing.len() - listed.len();
        if more > 0 {
            listed.push(Diagnostic {
                line: 1,
                key: None,
                severity: Severity::Error,
                code: "more_errors".to_owned(),
                message: format!("{more} more pictures are missing"),
            });
        }
        listed
    }
}
