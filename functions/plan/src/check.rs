//! The first reading of a manifest: all its problems, before anything is written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use darkroom::{
    batch_bounds::BatchBounds,
    job::ShardLimits,
    manifest::{self, Beside, Context, Copies, Header, Limits, Problem, Reading, Severity},
    models::Catalog,
    plan::{
        CustomNames, CustomNamesCollector, Forecast, PlanSummary, PlannedShard, RequestSize,
        Sharder,
    },
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    deps::Deps,
    drop::Dropped,
    handler::PlanError,
    references::{self, Used},
    terms::Terms,
    time::{TO_REJECT, TimeLimit},
};

/// Batches of one job, at the most. So many take a month even where a hundred run at the same time,
/// and each has a state that is written here, within one invocation.
const MAX_SHARDS: usize = 10_000;

/// So many images at the least were read where it is the manifest that takes long, and not an
/// outage.
const MANY: u64 = 10_000;

/// What checking a manifest found.
pub(crate) enum Checked {
    /// It can be planned.
    Good(Box<Good>),
    /// It has errors.
    Bad(Reading),
}

/// A manifest without errors.
#[derive(Debug)]
pub(crate) struct Good {
    /// What holds for the whole manifest.
    pub(crate) header: Header,
    /// Warnings, counts and costs.
    pub(crate) reading: Reading,
    /// Where references by web address were copied to.
    pub(crate) copies: Copies,
    /// The shards that it will be cut into.
    pub(crate) shards: Vec<PlannedShard>,
    /// The names that it gives to values of its own.
    pub(crate) custom_names: CustomNames,
}

impl Good {
    /// What is known about the whole job.
    pub(crate) fn summary(&self, deps: &Deps, terms: &Terms) -> PlanSummary {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let forecast = Forecast::of(&self.shards, deps.project.live_batches, &terms.bounds);
        PlanSummary {
            forecast,
            ..PlanSummary::of(&self.reading, shards, terms.planned_at)
        }
    }
}

/// Owned, so that a blocking thread can have it.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    bucket: String,
    catalog: Arc<Catalog>,
    default_model: String,
    on: Date,
    allow_retired_models: bool,
    beside: Beside,
    allow_unknown_models: bool,
    copies: Option<Copies>,
    bounds: BatchBounds,
    limits: Limits,
}

impl Setting {
    /// What manifests are read with on the day of `planned_at`, with what was dropped with this
    /// one, once its references were copied.
    pub(crate) fn new(
        deps: &Deps,
        planned_at: Timestamp,
        bounds: &BatchBounds,
        beside: &Beside,
        copies: Copies,
    ) -> Self {
        Self {
            bucket: deps.bucket.name().to_owned(),
            catalog: deps.catalog.clone(),
            default_model: deps.settings.default_model.clone(),
            on: planned_at.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: deps.settings.allow_retired_models,
            beside: beside.clone(),
            allow_unknown_models: deps.settings.allow_unknown_models,
            copies: deps
                .settings
                .https_references
                .are_allowed()
                .then_some(copies),
            bounds: bounds.clone(),
            limits: deps.limits,
        }
    }

    /// The same, as the library takes it.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            bucket: &self.bucket,
            catalog: &self.catalog,
            default_model: &self.default_model,
            on: self.on,
            allow_retired_models: self.allow_retired_models,
            beside: &self.beside,
            allow_unknown_models: self.allow_unknown_models,
            copies: self.copies.as_ref(),
            bounds: &self.bounds,
            limits: self.limits,
        }
    }
}

/// Reads the manifest, and looks at every reference picture it names. Where that takes too long
/// because there is so much of it, and the plan isn't locked yet, that is an error of the manifest
/// as any other: trying again would take as long.
///
/// # Errors
/// [`PlanError::TimeUp`] where time is up for another reason, such as an outage of S3: the next
/// invocation tries again.
pub(crate) async fn check(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    deadline: Timestamp,
) -> Result<Checked, PlanError> {
    let time = TimeLimit::before(deadline, TO_REJECT, &deps.clock);
    if dropped.is_too_large {
        return Ok(Checked::Bad(with_problems(
            Reading::default(),
            [too_large(deps.limits.manifest_bytes)],
        )));
    }
    let images = Arc::new(AtomicU64::new(0));
    let (mut good, used) = match read(deps, dropped, terms, &time, &images).await {
        Err(PlanError::TimeUp) if !terms.are_locked && images.load(Ordering::Relaxed) >= MANY => {
            return Ok(Checked::Bad(with_problems(
                Reading::default(),
                [references::too_slow("reading it")],
            )));
        }
        read => read?,
    };
    if good.shards.len() > MAX_SHARDS {
        good.reading = with_problems(good.reading, [too_many_shards(good.shards.len())]);
    }
    if terms.are_locked {
        // They were looked at before the lock was written; what was copied is sent.
        good.copies = references::copies(deps, &dropped.job).await?;
    } else if let left @ 1.. = (deps.limits.problems as u64).saturating_sub(good.reading.errors) {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let (problems, copies) = references::check(deps, &dropped.job, used, most, &time).await?;
        (good.reading, good.copies) = (with_problems(good.reading, problems), copies);
    }
    Ok(if good.reading.errors > 0 {
        Checked::Bad(good.reading)
    } else {
        Checked::Good(Box::new(good))
    })
}

/// Reads the manifest, and notes the pictures it refers to.
async fn read(
    deps: &Deps,
    dropped: &Dropped,
    terms: &Terms,
    time: &TimeLimit,
    images: &Arc<AtomicU64>,
) -> Result<(Good, Used), PlanError> {
    let setting = Setting::new(
        deps,
        terms.planned_at,
        &terms.bounds,
        &dropped.beside,
        Copies::new(),
    );
    let for_header = time.bound(dropped.reader(deps).await?);
    let for_items = time.bound(dropped.reader(deps).await?);
    let (shard, time): (ShardLimits, TimeLimit) = (deps.settings.shard.clone(), time.clone());
    let images = Arc::clone(images);
    tokio::task::spawn_blocking(move || {
        let context = setting.context();
        let header = Header::read(for_header, &context)?;
        let (mut used, mut custom_names) = (Used::default(), CustomNamesCollector::default());
        let mut sharder = Sharder::new(shard, setting.bounds.clone());
        let reading = manifest::read(for_items, &header, &context, |expected| {
            used.note(&expected);
            custom_names.note(&expected);
            sharder.place(
                &expected.model,
                RequestSize::of(&expected, &setting.catalog),
            );
            images.fetch_add(1, Ordering::Relaxed);
            // A matrix makes many images of few bytes.
            time.check()
        })?;
        let custom_names = custom_names.finish(&reading.columns, reading.images);
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

/// The reading with more errors in it, in order of their lines.
fn with_problems(mut reading: Reading, problems: impl IntoIterator<Item = Problem>) -> Reading {
    let before = reading.problems.len();
    reading.problems.extend(problems);
    reading.errors += (reading.problems.len() - before) as u64;
    reading.problems.sort_by_key(|problem| problem.line);
    reading
}

/// What reading it would say, were there time to.
fn too_large(most: u64) -> Problem {
    let message = format!("the manifest is larger than {most} bytes: split it");
    Problem {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: "manifest_too_large".to_owned(),
        message,
    }
}

fn too_many_shards(shards: usize) -> Problem {
    let message = format!(
        "the manifest would become {shards} batches, and {MAX_SHARDS} are allowed: drop several manifests, or raise what \
         cuts it so small (SHARD_REQUESTS, SHARD_TOKENS, DAILY_CAP_USD)"
    );
    Problem {
        line: 1,
        key: None,
        severity: Severity::Error,
        code: "too_many_batches".to_owned(),
        message,
    }
}
