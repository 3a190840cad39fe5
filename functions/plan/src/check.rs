//! The second time that a manifest is opened: all its errors are found before anything is written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use darkroom::{
    batch_bounds::BatchBounds,
    job::ShardLimits,
    manifest::{
        self, Context, Copies, Diagnostic, Header, Lanes, Limits, Reading, Severity, Sidecar,
        SourceSet,
    },
    models::{AllowedModels, Catalog},
    plan::{CustomNames, CustomNamesCollector, Forecast, PlanSummary, PlannedShard, Sharder},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    deps::Deps,
    drop::Dropped,
    error::PlanError,
    references::{self, Used},
    terms::Terms,
    time::{TO_REJECT, TimeLimit},
};

/// The most batches of one job. Even with a hundred running at the same time they take a month, and
/// the state of each is written here, within one invocation.
const MAX_SHARDS: usize = 10_000;

/// From this number of images on, a check that runs out of time is blamed on the manifest's size.
/// Below it, the cause is more likely an outage.
const LARGE_MANIFEST_IMAGES: u64 = 10_000;

/// The result of checking a manifest.
pub(crate) enum Checked {
    /// The manifest can be planned.
    Good(Box<Good>),
    /// The manifest has errors.
    Bad(Box<Reading>),
}

/// A manifest without errors.
#[derive(Debug)]
pub(crate) struct Good {
    /// What holds for the whole manifest.
    pub(crate) header: Arc<Header>,
    /// Warnings, counts and costs.
    pub(crate) reading: Reading,
    /// The copies of references that are web addresses.
    pub(crate) copies: Copies,
    /// The shards that the manifest will be cut into.
    pub(crate) shards: Vec<PlannedShard>,
    /// The manifest's own names for keys and variables.
    pub(crate) custom_names: CustomNames,
}

impl Good {
    /// Sums up the whole job.
    pub(crate) fn summary(&self, deps: &Deps, terms: &Terms) -> PlanSummary {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let forecast = Forecast::of(&self.shards, deps.project.live_batches.get(), &terms.bounds);
        PlanSummary {
            forecast,
            ..PlanSummary::of(&self.reading, shards, terms.planned_at)
        }
    }
}

/// What a [`Context`] borrows, owned so that a blocking thread can hold it.
#[derive(Clone, Debug)]
pub(crate) struct ReadContext {
    bucket: String,
    catalog: Arc<Catalog>,
    default_model: String,
    on: Date,
    allow_retired_models: bool,
    sidecar: Sidecar,
    allowed_models: Option<AllowedModels>,
    allow_unknown_models: bool,
    copies: Option<Copies>,
    bounds: BatchBounds,
    limits: Limits,
    lanes: Option<Lanes>,
}

impl ReadContext {
    /// The context of `dropped` on the day when it was planned first. `copies` are empty until its
    /// references have been copied.
    pub(crate) fn new(deps: &Deps, dropped: &Dropped, terms: &Terms, copies: Copies) -> Self {
        Self {
            bucket: deps.bucket.name().to_owned(),
            catalog: Arc::clone(&deps.catalog),
            default_model: deps.settings.default_model.clone(),
            on: terms.planned_at.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: deps.settings.allow_retired_models,
            sidecar: dropped.sidecar.clone(),
            allowed_models: terms.allowed_models.clone(),
            allow_unknown_models: deps.settings.allow_unknown_models,
            copies: deps
                .settings
                .https_references
                .are_allowed()
                .then_some(copies),
            bounds: terms.bounds.clone(),
            limits: deps.limits,
            lanes: None,
        }
    }

    /// This context, with the lanes that a first reading has found.
    pub(crate) fn with_lanes(self, lanes: Lanes) -> Self {
        Self {
            lanes: Some(lanes),
            ..self
        }
    }

    /// Borrows the context in the library's form.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            bucket: &self.bucket,
            catalog: &self.catalog,
            default_model: &self.default_model,
            on: self.on,
            allow_retired_models: self.allow_retired_models,
            sidecar: &self.sidecar,
            allowed_models: self.allowed_models.as_ref(),
            allow_unknown_models: self.allow_unknown_models,
            copies: self.copies.as_ref(),
            bounds: &self.bounds,
            limits: self.limits,
            lanes: self.lanes.as_ref(),
        }
    }
}

/// Reads the manifest and checks every reference picture that it names.
///
/// If that takes too long because the manifest is large, and the plan is not locked yet, it is an
/// error of the manifest like any other, because another attempt would take as long.
///
/// # Errors
/// [`PlanError::TimeUp`] if time ran out for another reason, such as an outage of S3. The next
/// invocation tries again.
pub(crate) async fn check(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    deadline: Timestamp,
) -> Result<Checked, PlanError> {
    let time = TimeLimit::before(deadline, TO_REJECT, &deps.clock);
    if dropped.is_too_large {
        return Ok(Checked::Bad(Box::new(with_problems(
            Reading::default(),
            [too_large(deps.limits.manifest_bytes)],
        ))));
    }

    // The counter is shared, because it must survive a reading that fails.
    let images = Arc::new(AtomicU64::new(0));
    let (mut good, used) = match read(deps, dropped, terms, &time, &images).await {
        Err(PlanError::TimeUp)
            if !terms.are_locked && images.load(Ordering::Relaxed) >= LARGE_MANIFEST_IMAGES =>
        {
            return Ok(Checked::Bad(Box::new(with_problems(
                Reading::default(),
                [references::too_slow("reading it")],
            ))));
        }
        read => read?,
    };
    if good.shards.len() > MAX_SHARDS {
        good.reading = with_problems(good.reading, [too_many_shards(good.shards.len())]);
    }

    if terms.are_locked {
        // The references were checked before the lock was written. What was copied then is sent.
        good.copies = references::copies(deps, &dropped.job).await?;
    } else if let left @ 1.. = (deps.limits.problems as u64).saturating_sub(good.reading.errors) {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let (problems, copies) = references::check(deps, &dropped.job, used, most, &time).await?;
        (good.reading, good.copies) = (with_problems(good.reading, problems), copies);
    }
    Ok(if good.reading.errors > 0 {
        Checked::Bad(Box::new(good.reading))
    } else {
        Checked::Good(Box::new(good))
    })
}

/// Reads the items of the manifest, and collects the pictures that they refer to.
async fn read(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    time: &TimeLimit,
    images: &Arc<AtomicU64>,
) -> Result<(Good, Used), PlanError> {
    let context = ReadContext::new(deps, dropped, terms, Copies::new());
    let (sources, header) = (dropped.sources.clone(), Arc::clone(&dropped.header));
    let (shard, time): (ShardLimits, TimeLimit) = (deps.settings.shard.clone(), time.clone());
    let images = Arc::clone(images);
    tokio::task::spawn_blocking(move || {
        let source = time.bound(sources.manifest()?);
        let (mut used, mut custom_names) = (Used::default(), CustomNamesCollector::default());
        let mut sharder = Sharder::new(shard.clone(), context.bounds.clone());
        let reading = manifest::read(source, &header, &context.context(), |image| {
            used.note(&image);
            custom_names.note(&image);
            sharder.place_image(&image, &context.catalog);
            images.fetch_add(1, Ordering::Relaxed);
            // The source alone does not bound the time: a matrix makes many images of few bytes.
            time.check()
        })?;
        let custom_names = custom_names.finish(&reading.columns, reading.images);

        // Images whose lanes follow from the number of all images were assigned provisionally.
        if !reading.lanes.are_final() && reading.errors == 0 {
            let source = time.bound(sources.manifest()?);
            let context = context.with_lanes(reading.lanes.clone());
            sharder = Sharder::new(shard, context.bounds.clone());
            manifest::read(source, &header, &context.context(), |image| {
                sharder.place_image(&image, &context.catalog);
                time.check()
            })?;
        }
        Ok((
            Good {
                header,
                reading,
                copies: Copies::new(),
                shards: sharder.planned(),
                custom_names,
            },
            used,
        ))
    })
    .await?
}

/// Adds errors to a reading, and sorts all its problems by line.
fn with_problems(mut reading: Reading, problems: impl IntoIterator<Item = Diagnostic>) -> Reading {
    let before = reading.problems.len();
    reading.problems.extend(problems);
    reading.errors += (reading.problems.len() - before) as u64;
    reading.problems.sort_by_key(|problem| problem.line);
    reading
}

/// The error that reading the manifest would end with, if there were time for it.
fn too_large(most: u64) -> Diagnostic {
    let message = format!("the manifest is larger than {most} bytes: split it");
    Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: "manifest_too_large".to_owned(),
        message,
    }
}

fn too_many_shards(shards: usize) -> Diagnostic {
    let message = format!(
        "the manifest would become {shards} batches, and {MAX_SHARDS} are allowed: split it into \
         several manifests, or \
         raise the settings that make batches this small (SHARD_REQUESTS, SHARD_TOKENS, DAILY_CAP_USD)"
    );
    Diagnostic {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: "too_many_batches".to_owned(),
        message,
    }
}
