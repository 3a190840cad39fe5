//! A manifest file on this machine, and the reference pictures next to it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use darkroom::{
    batch_bounds::BatchBounds,
    folders::{Folder, Folders},
    job::JobSettings,
    manifest::{
        self, Context, Copies, Diagnostic, Header, Limits, Mode, OpenedManifest, PlannedImage,
        Reading, Severity, Sidecar, SourceSet,
    },
    models::Catalog,
    names::{JobId, ObjectUri},
    plan::{Forecast, Sharder},
};
use jiff::{Timestamp, tz::TimeZone};

use super::{ManifestArgs, SettingsArgs, sidecar::FolderSources};
use crate::cloud::BUCKET;

/// A manifest file and what determines its job.
#[derive(Debug)]
pub(super) struct ManifestFile {
    path: PathBuf,
    sources: FolderSources,
    header: Header,
    /// The folder of tenants that the manifest belongs to.
    folder: Option<Folder>,
    /// The key that the manifest gets in the bucket.
    pub(super) key: String,
    /// The job that the manifest becomes.
    pub(super) job: JobId,
    /// The metadata, the job document, and the templates that the manifest uses.
    pub(super) sidecar: Sidecar,
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
    /// its metadata, these settings and the defaults of its folder.
    pub(super) fn open(
        args: &ManifestArgs,
        settings: &JobSettings,
        folders: &Folders,
    ) -> anyhow::Result<Self> {
        // The file name becomes the key, and the key is part of the job's identity.
        let path = args.manifest.as_path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name =
            name.with_context(|| format!("the file name of {} is not valid", path.display()))?;
        let key = format!("inbox/{name}");

        // `plan` opens a manifest by the same routine, so the job is the same.
        let uri = ObjectUri {
            bucket: BUCKET.to_owned(),
            key,
        };
        let sources = FolderSources::new(path);
        let metadata = args.metadata().map_err(anyhow::Error::msg)?;
        let folder = folders.of(&uri.key).cloned();
        let defaults = folder.as_ref().and_then(|folder| folder.defaults.clone());
        let opened = OpenedManifest::open(&sources, &uri, metadata, defaults)?;
        Ok(Self {
            path: path.to_owned(),
            sources,
            job: opened.job_id(&uri, settings),
            key: uri.key,
            sidecar: opened.sidecar,
            header: opened.header,
            folder,
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
        let check = ManifestCheck {
            bucket: BUCKET,
            header: &self.header,
            sidecar: &self.sidecar,
            folder: self.folder.as_ref(),
            catalog,
            args,
            now,
        };
        check.run(&self.sources, |key| {
            let path = self.local_path(key);
            Ok((!path.is_file()).then(|| format!("there is no file {}", path.display())))
        })
    }
}

/// What a manifest is checked against.
pub(super) struct ManifestCheck<'a> {
    /// The bucket that the manifest is dropped into.
    pub(super) bucket: &'a str,
    pub(super) header: &'a Header,
    pub(super) sidecar: &'a Sidecar,
    /// The folder of tenants that the manifest belongs to.
    pub(super) folder: Option<&'a Folder>,
    pub(super) catalog: &'a Catalog,
    pub(super) args: &'a SettingsArgs,
    pub(super) now: Timestamp,
}

impl ManifestCheck<'_> {
    /// Checks a manifest as `plan` does. `missing` returns what is wrong with the reference picture
    /// of this key in the bucket, if it is missing; it is called once for each key.
    pub(super) fn run<S: SourceSet<Error = anyhow::Error>>(
        &self,
        sources: &S,
        missing: impl FnMut(&str) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<CheckedManifest> {
        // Web references are not fetched here. `plan` fetches them.
        let (catalog, args, header) = (self.catalog, self.args, self.header);
        let (settings, project, copies) = (args.settings(), args.limits(), Copies::new());
        let bounds = BatchBounds::of(&project, catalog, args.tier);
        let bounds = match self.folder {
            Some(folder) => bounds.in_folder(&folder.path, folder.caps),
            None => bounds,
        };
        let context = Context {
            bucket: self.bucket,
            catalog,
            default_model: &settings.default_model,
            on: self.now.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: settings.allow_retired_models,
            sidecar: self.sidecar,
            allowed_models: self.folder.and_then(|folder| folder.models.as_ref()),
            allow_unknown_models: settings.allow_unknown_models,
            copies: settings.https_references.are_allowed().then_some(&copies),
            bounds: &bounds,
            limits: Limits::default(),
            lanes: None,
        };

        // The reader gives out one image at a time, so memory use does not grow with the manifest.
        let mut sharder = Sharder::new(settings.shard.clone(), bounds.clone());
        let mut pictures = ReferencePictures::new(self.bucket, missing);
        let mut reading = manifest::read(sources.manifest()?, header, &context, |image| {
            sharder.place_image(&image, catalog);
            pictures.check(&image);
            Ok(())
        })?;

        // Images whose lanes follow from the number of all images were assigned provisionally.
        if !reading.lanes.are_final() && reading.errors == 0 {
            let context = Context {
                lanes: Some(&reading.lanes),
                ..context
            };
            sharder = Sharder::new(settings.shard.clone(), bounds.clone());
            manifest::read(sources.manifest()?, header, &context, |image| {
                sharder.place_image(&image, catalog);
                Ok(())
            })?;
        }

        // Missing pictures are added to the manifest's own problems, in the order of the lines.
        let forecast = Forecast::of(&sharder.planned(), project.live_batches.get(), &bounds);
        reading.errors += pictures.missing_keys.len() as u64;
        reading.problems.extend(pictures.problems()?);
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

/// The reference pictures of a manifest that are in its own bucket.
struct ReferencePictures<'a, F> {
    bucket: &'a str,
    /// Returns what is wrong with a picture, if it is missing.
    missing: F,
    found: BTreeSet<String>,
    missing_keys: BTreeSet<String>,
    /// Problems of missing pictures, up to the limit for the problems of a manifest.
    listed: Vec<Diagnostic>,
    /// Why the pictures could not be looked up.
    failure: Option<anyhow::Error>,
}

impl<'a, F: FnMut(&str) -> anyhow::Result<Option<String>>> ReferencePictures<'a, F> {
    fn new(bucket: &'a str, missing: F) -> Self {
        Self {
            bucket,
            missing,
            found: BTreeSet::new(),
            missing_keys: BTreeSet::new(),
            listed: Vec::new(),
            failure: None,
        }
    }

    /// Checks that the pictures of an image exist.
    fn check(&mut self, image: &PlannedImage) {
        for ObjectUri { bucket, key } in &image.refs {
            let is_known = self.found.contains(key) || self.missing_keys.contains(key);
            if bucket != self.bucket || is_known || self.failure.is_some() {
                continue;
            }
            let message = match (self.missing)(key) {
                Ok(Some(message)) => message,
                Ok(None) => {
                    self.found.insert(key.clone());
                    continue;
                }
                Err(error) => {
                    self.failure = Some(error);
                    continue;
                }
            };
            self.missing_keys.insert(key.clone());
            if self.listed.len() < Limits::default().problems {
                self.listed.push(Diagnostic {
                    line: image.line,
                    key: Some(image.item.clone()),
                    severity: Severity::Error,
                    code: "missing_reference".to_owned(),
                    message,
                });
            }
        }
    }

    /// Takes the problems of the missing pictures. If there are too many to list, the last problem
    /// gives the number of the others.
    fn problems(&mut self) -> anyhow::Result<Vec<Diagnostic>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut listed = std::mem::take(&mut self.listed);
        let more = self.missing_keys.len() - listed.len();
        if more > 0 {
            listed.push(Diagnostic {
                line: 1,
                key: None,
                severity: Severity::Error,
                code: "more_errors".to_owned(),
                message: format!("{more} more reference pictures are missing"),
            });
        }
        Ok(listed)
    }
}
