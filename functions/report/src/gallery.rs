//! Refreshes the page of a job while its images arrive, and after thumbnails were made.
//!
//! `close` writes the final page together with the results. Before that, the page follows
//! `job.json`: an invocation that has written `job.json` also refreshes the page, and if that would
//! be too early, its messages return later. So the page shows the last state even if the job then
//! waits for days. A page that can't be refreshed blocks nothing: the job continues, and the error
//! is logged.

use darkroom::{
    gallery::{Head, Sums},
    names::{JobId, ShardId},
    object_keys,
    report::{self, Tally},
    status::JobStatus,
};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    bucket::{Conditional, ObjectHead},
    deliveries::Disposition,
};

use crate::{
    changes::Changes,
    close::planned_with,
    deps::Deps,
    documents::{read_json, unreadable_state},
    error::ReportError,
    gallery_file::{GalleryFile, MEDIA_TYPE},
    plan_pass::{PlanPass, open_plan},
    throttle,
};

/// The largest job whose page is refreshed while it is open, in images. A refresh reads the plan,
/// all states and all chunks, which takes about a second for a job of this size, and the page is
/// kept in memory. The page of a larger job is written when it is closed; until then, `job.json`
/// shows its progress.
const MAX_OPEN_IMAGES: u64 = 20_000;

/// The size of a page beyond which it is not kept in memory, in bytes. Prompts of many kilobytes
/// reach it with fewer images.
const MAX_OPEN_BYTES: u64 = 32 << 20;

/// How long to wait if another invocation writes the page at the same time.
const CONTENDED: SignedDuration = SignedDuration::from_secs(5);

/// The number of records of thumbnails that are looked up at the same time.
const CONCURRENCY: usize = 16;

/// Why the page may have to be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This invocation has written a change to `job.json` that the page shows.
    Written,
    /// `job.json` shows everything, and was written at this time by S3's clock.
    Unchanged(Option<Timestamp>),
    /// The job is closed.
    Closed,
}

/// Refreshes the page of a job if it does not show everything.
///
/// # Errors
/// [`ReportError`] if thumbnails of a closed job can't be added now, so that their message returns.
pub(crate) async fn refresh(
    deps: &Deps,
    status: &JobStatus,
    changes: &Changes,
    cause: Cause,
) -> Result<Disposition, ReportError> {
    match try_refresh(deps, status, changes, cause).await {
        Err(error) if cause != Cause::Closed || matches!(error, ReportError::Blocked(_)) => {
            tracing::warn!("gallery not refreshed: {error}");
            Ok(Disposition::Done)
        }
        refreshed => refreshed,
    }
}

async fn try_refresh(
    deps: &Deps,
    status: &JobStatus,
    changes: &Changes,
    cause: Cause,
) -> Result<Disposition, ReportError> {
    // Without a plan or with a blocker, there is nothing new to show.
    let plan = status.plan.as_ref();
    let (images, shards) = plan.map_or((0, 0), |plan| (plan.images, plan.shards));
    let is_closed = cause == Cause::Closed;
    let is_shown = images > 0 && (is_closed || images <= MAX_OPEN_IMAGES);
    if !is_shown || status.blocker.is_some() {
        return Ok(Disposition::Done);
    }
    let ended = changes.shards.iter().copied().filter(|id| {
        let entry = status.shard(*id);
        entry.is_some_and(|entry| entry.phase.is_terminal())
    });
    let ended: Vec<_> = ended.collect();
    if matches!(cause, Cause::Unchanged(_)) && !changes.waited && ended.is_empty() {
        return Ok(Disposition::Done);
    }

    // The page is looked at before anything that it shows is read, and is replaced only in this
    // version. So an invocation that was overtaken never replaces a newer page.
    let page = deps.bucket.head(&object_keys::gallery(&status.job)).await?;
    let is_behind = match (cause, &page) {
        (Cause::Written, _) => true,
        // Messages that have waited may be those of an invocation that did not get to the page.
        (Cause::Unchanged(written), page) => {
            let shown = page.as_ref().and_then(|page| page.last_modified);
            changes.waited && shown.is_none_or(|shown| Some(shown) <= written)
        }
        (Cause::Closed, _) => false,
    };
    let lacks_thumbnails =
        !is_behind && lacks_thumbnails(deps, status, &ended, page.as_ref()).await?;
    if !is_behind && !lacks_thumbnails {
        return Ok(Disposition::Done);
    }
    let wait = page
        .as_ref()
        .and_then(|page| throttle::wait_before_refreshing(page, shards, deps.clock.now()));
    if let Some(wait) = wait {
        // If another invocation has written `job.json` since, its messages return.
        let returns = cause == Cause::Written || lacks_thumbnails;
        return Ok(if returns {
            Disposition::Later(wait)
        } else {
            Disposition::Done
        });
    }

    if is_closed {
        rewrite(deps, status).await?;
        return Ok(Disposition::Done);
    }
    replace(deps, &status.job, page.as_ref()).await
}

/// Whether thumbnails of these shards were made after the page was written, or at the same time.
async fn lacks_thumbnails(
    deps: &Deps,
    status: &JobStatus,
    shards: &[ShardId],
    page: Option<&ObjectHead>,
) -> Result<bool, ReportError> {
    let of = status.plan.as_ref().map_or(0, |plan| plan.shards);
    let heads: Vec<_> = stream::iter(shards)
        .map(async |shard| {
            let key = object_keys::thumbnails(&status.job, *shard);
            deps.bucket.head(&key).await
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    for head in heads {
        let made = head?.and_then(|head| head.last_modified);
        if made.is_some_and(|made| throttle::may_lack(page, of, made)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replaces the page of an open job with one that shows what is stored now.
async fn replace(
    deps: &Deps,
    job: &JobId,
    page: Option<&ObjectHead>,
) -> Result<Disposition, ReportError> {
    let status: JobStatus = read_json(deps, &object_keys::status(job)).await?;
    let Some(plan) = status.plan.as_ref().filter(|_| !status.phase.is_terminal()) else {
        // The job was closed in the meantime, and `close` has written the page.
        return Ok(Disposition::Done);
    };
    let images = plan.images;
    let (lock, deps) = planned_with(deps, job).await?;
    let deps = &deps;
    let head = Head::of(&status, lock.custom_names.variables, &deps.catalog);
    let mut file = GalleryFile::in_memory(head);
    let Some(sums) = write_rows(deps, &status, &mut file).await? else {
        tracing::info!(
            images,
            "gallery not refreshed: it is too large while the job is open"
        );
        return Ok(Disposition::Done);
    };

    let (key, bytes) = (object_keys::gallery(job), file.into_bytes(&sums)?);
    let written = match page {
        Some(page) => {
            let bucket = &deps.bucket;
            bucket.replace(&key, &page.etag, MEDIA_TYPE, bytes).await?
        }
        None => deps.bucket.create(&key, MEDIA_TYPE, bytes).await?,
    };
    Ok(match written {
        Conditional::Written(_) => Disposition::Done,
        Conditional::Refused => Disposition::Later(CONTENDED),
    })
}

/// Writes the page of a closed job again, with the thumbnails that were made since.
async fn rewrite(deps: &Deps, status: &JobStatus) -> Result<(), ReportError> {
    let job = &status.job;
    let (lock, deps) = planned_with(deps, job).await?;
    let deps = &deps;
    let head = Head::of(status, lock.custom_names.variables, &deps.catalog);
    let mut file = GalleryFile::stored(deps, head);
    match write_rows(deps, status, &mut file).await? {
        Some(sums) => file.finish(status.phase, &sums).await,
        None => Ok(()),
    }
}

/// Writes the rows of all images, and returns their sums. Returns `None` for a page that has become
/// too large for an open job.
async fn write_rows(
    deps: &Deps,
    status: &JobStatus,
    file: &mut GalleryFile,
) -> Result<Option<Sums>, ReportError> {
    let job = &status.job;
    let Some(plan) = &status.plan else {
        return Err(ReportError::NotPlanned(job.clone()));
    };
    // A plan that is missing ends the refresh before many states are read.
    let lines = open_plan(deps, job).await?;
    let chains = match deps.states.read_all(job, plan.shards).await {
        Ok(chains) => chains,
        Err(error) => return Err(unreadable_state(deps, error).await?),
    };
    let mut tally = Tally::default();
    let mut pass = PlanPass::begin(deps, job, lines, &chains);
    while let Some(line) = pass.next().await? {
        let shard = pass.shard(&line).await?;
        let finished = if shard.is_over {
            Some(report::finish(&line, &mut shard.results, &deps.catalog))
        } else {
            report::finish_if_settled(&line, &mut shard.results, &deps.catalog)
        };
        match finished {
            Some(finished) => {
                tally.add(&line, &finished);
                file.add_result(&line, &finished.line, &shard.thumbnails)
                    .await?;
            }
            None => file.add_open(&line, shard.is_held).await?,
        }
        if let Some(shard) = pass.leave(&line) {
            tally.add_shard(&line.model, &shard.results, &deps.catalog);
        }
        if !status.phase.is_terminal() && file.len() > MAX_OPEN_BYTES {
            return Ok(None);
        }
    }
    pass.check_count(plan.images)?;
    let cost = tally.cost(plan).actual_usd;
    Ok(Some(Sums::new(
        tally.counts(),
        file.open_rows(),
        cost,
        tally.provenance(),
    )))
}
