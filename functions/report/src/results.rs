//! Writes the results in manifest order, in one pass over the plan.

use std::io;

use darkroom::{
    gallery::Head,
    names::JobId,
    plan::{PlanLine, PlanSummary},
    report::{self, Finished, Links, ResultForm, Tally},
    results::Status,
    thumbnails::Thumbnails,
};
use runtime::{bucket::ObjectWriter, shard_store::Rounds};

use crate::{
    deps::Deps,
    error::ReportError,
    gallery_file::GalleryFile,
    own_table::OwnTables,
    plan_pass::{PlanPass, open_plan},
};

/// What the results of a job are written with.
pub(crate) struct Results<'a> {
    /// The summary of the plan.
    pub(crate) plan: &'a PlanSummary,
    /// The form of the result lines.
    pub(crate) form: ResultForm,
    /// What the gallery shows about the whole job. Its phase follows from the results.
    pub(crate) head: Head,
}

/// Writes `results.jsonl`, `results.csv` and `retry.jsonl`, and returns their sums, and the gallery,
/// which the caller finishes. The files become visible only after every line was written without an
/// error. Each result is passed to `own_tables` too, which the caller also finishes.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged.
pub(crate) async fn write_results(
    deps: &Deps,
    job: &JobId,
    results: Results<'_>,
    chains: &[Rounds],
    own_tables: &mut OwnTables<'_>,
) -> Result<(Tally, GalleryFile), ReportError> {
    let Results { plan, form, head } = results;
    let mut out = Files::new(deps, job, form, head).await?;
    let mut tally = Tally::default();
    let lines = open_plan(deps, job).await?;
    let mut pass = PlanPass::begin(deps, job, lines, chains);
    let version = pass.version().clone();
    while let Some(line) = pass.next().await? {
        // The line is completed, counted and written, with a manifest line to retry a failure.
        let shard = pass.shard(&line).await?;
        let finished = report::finish(&line, &mut shard.results, &deps.catalog);
        tally.add(&line, &finished);
        let retry = match finished.line.status {
            Status::Succeeded => None,
            _ => Some(shard.retry(&line, &version).await?),
        };
        out.write(&line, &finished, retry, &shard.thumbnails)
            .await?;
        own_tables.write(&line, &finished).await?;
        if let Some(shard) = pass.leave(&line) {
            tally.add_shard(&line.model, &shard.results, &deps.catalog);
        }
    }
    pass.check_count(plan.images)?;
    Ok((tally, out.finish().await?))
}

/// The files that are written line by line.
struct Files {
    form: ResultForm,
    results: ObjectWriter,
    table: ObjectWriter,
    retry: ObjectWriter,
    gallery: GalleryFile,
}

impl Files {
    async fn new(
        deps: &Deps,
        job: &JobId,
        form: ResultForm,
        head: Head,
    ) -> Result<Self, ReportError> {
        let links = Links::of(job);
        let mut table = deps.bucket.writer(&links.table, "text/csv; charset=utf-8");
        table.write(&form.header()?).await?;
        Ok(Self {
            form,
            results: deps.bucket.writer(&links.results, "application/jsonl"),
            table,
            retry: deps.bucket.writer(&links.retry, "application/jsonl"),
            gallery: GalleryFile::stored(deps, head),
        })
    }

    async fn write(
        &mut self,
        plan: &PlanLine,
        finished: &Finished,
        retry: Option<Vec<u8>>,
        thumbnails: &Thumbnails,
    ) -> Result<(), ReportError> {
        self.results
            .write(&self.form.line(plan, finished).map_err(io::Error::from)?)
            .await?;
        self.table.write(&self.form.row(finished)?).await?;
        if let Some(mut item) = retry {
            item.push(b'\n');
            self.retry.write(&item).await?;
        }
        self.gallery
            .add_result(plan, &finished.line, thumbnails)
            .await
    }

    /// Makes the files visible, except for the gallery.
    async fn finish(self) -> Result<GalleryFile, ReportError> {
        self.results.finish().await?;
        self.table.finish().await?;
        self.retry.finish().await?;
        Ok(self.gallery)
    }
}
