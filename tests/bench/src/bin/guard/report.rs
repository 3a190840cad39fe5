//! The writer of reports: from the lines of a plan and of a chunk, as they are stored, to the lines
//! of the published files. It is the work of `report` apart from S3.

use bench::plan::{self, MODEL, shard_id};
use darkroom::{
    chunks::ChunkLine,
    cost::Usage,
    gallery::{Head, Page, Row, Sums},
    image_url::ImageBaseUrl,
    lane::Lane,
    models::Catalog,
    names::{BatchName, JobId, ObjectUri},
    object_keys,
    plan::{CustomNames, PlanLine},
    report::{self, Finished, OwnTable, ResultForm, ShardResults, Tally},
    results::{
        Reason, ResultLine, Status, StoredImage,
        image::{MediaType, Provenance},
    },
    state::{Demand, EndedBatch, Phase, Shard},
    status::{JobPhase, JobStatus},
    thumbnails::{Thumbnail, Thumbnails},
};
use jiff::Timestamp;

use crate::Work;

/// The number of images of the job.
pub(crate) const IMAGES: usize = 2_000;

/// One image in this many has failed.
const EVERY_FAILED: usize = 10;

const BUCKET: &str = "studio";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// `results.jsonl` and `results.csv`.
pub(crate) fn results() -> anyhow::Result<Work> {
    let stored = Stored::new()?;
    let form = ResultForm::new(CustomNames {
        keys: Vec::new(),
        variables: vec!["color".to_owned()],
    });
    Ok(Box::new(move || {
        let mut written = 0;
        stored.finish(|plan, finished| {
            let (line, row) = (form.line(plan, finished)?, form.row(finished)?);
            written += usize::from(!line.is_empty() && !row.is_empty());
            Ok(())
        })?;
        Ok(written)
    }))
}

/// `table.csv`.
pub(crate) fn table() -> anyhow::Result<Work> {
    let stored = Stored::new()?;
    let base_url: ImageBaseUrl = "https://cdn.example.com".parse()?;
    let table = OwnTable::new(&stored.job, 3, Some(base_url));
    Ok(Box::new(move || {
        let mut written = 0;
        stored.finish(|plan, finished| {
            let cells = [plan.item.as_str(), "Canvas Sneaker, \"low\"", "79.00"];
            written += usize::from(!table.row(&cells, Some(finished))?.is_empty());
            Ok(())
        })?;
        Ok(written)
    }))
}

/// `index.html`.
pub(crate) fn gallery() -> anyhow::Result<Work> {
    let stored = Stored::new()?;
    let thumbnails = stored.thumbnails();
    let manifest = ObjectUri {
        bucket: BUCKET.to_owned(),
        key: "inbox/shoes.csv".to_owned(),
    };
    let status = JobStatus::new(&stored.job, &manifest, JobPhase::Partial, NOW);
    let head = Head::of(&status, vec!["color".to_owned()], &stored.catalog);
    Ok(Box::new(move || {
        let (mut page, mut bytes) = Page::begin(&head);
        let mut written = 0;
        let tally = stored.finish(|plan, finished| {
            let row = Row::of_result(&head, plan, &finished.line, &thumbnails);
            bytes.extend(page.row(&row)?.unwrap_or_default());
            written += 1;
            Ok(())
        })?;
        let sums = Sums::new(
            tally.counts(),
            (0, 0),
            Default::default(),
            tally.provenance(),
        );
        bytes.extend(page.end(&sums)?);
        anyhow::ensure!(bytes.ends_with(b"</html>\n"), "the page has no end");
        Ok(written)
    }))
}

/// The documents of a job with one shard.
struct Stored {
    job: JobId,
    catalog: Catalog,
    shard: Shard,
    /// The lines of `plan.jsonl`.
    plan: Vec<Vec<u8>>,
    /// The lines of the chunk.
    chunk: Vec<Vec<u8>>,
}

impl Stored {
    fn new() -> anyhow::Result<Self> {
        let job = JobId::new("shoes-9cf485441ecdeefd");
        let demand = Demand {
            requests: u32::try_from(IMAGES)?,
            ..Demand::default()
        };
        let shard = Shard {
            phase: done(),
            ..Shard::planned(&job, shard_id(), MODEL, demand, (0, 0), NOW)
        };
        let (mut lines, mut chunk) = (Vec::new(), Vec::new());
        for (number, line) in (0..IMAGES).zip(1..) {
            let mut plan = plan::line(&format!("shoe-{number:04}"), line);
            plan.vars
                .insert("color".to_owned(), "off \"white\"".to_owned());
            let result = ChunkLine::Result(Box::new(result(&job, &plan, number)));
            lines.push(serde_json::to_vec(&plan)?);
            chunk.push(serde_json::to_vec(&result)?);
        }
        Ok(Self {
            job,
            catalog: Catalog::built_in(),
            shard,
            plan: lines,
            chunk,
        })
    }

    /// Reads all documents and passes each complete result to `write`, in the order of the plan.
    fn finish(
        &self,
        mut write: impl FnMut(&PlanLine, &Finished) -> anyhow::Result<()>,
    ) -> anyhow::Result<Tally> {
        let (mut results, mut tally) = (ShardResults::default(), Tally::default());
        results.begin(&self.shard, None);
        for line in &self.chunk {
            results.add(serde_json::from_slice(line)?);
        }
        for line in &self.plan {
            let plan: PlanLine = serde_json::from_slice(line)?;
            let finished = report::finish(&plan, &mut results, &self.catalog);
            tally.add(&plan, &finished);
            write(&plan, &finished)?;
        }
        tally.add_shard(MODEL, &results, &self.catalog);
        Ok(tally)
    }

    /// Returns the thumbnails of all images.
    fn thumbnails(&self) -> Thumbnails {
        let thumbnail = Thumbnail {
            width: 512,
            height: 512,
            bytes: 20_111,
        };
        Thumbnails {
            made: (0..IMAGES)
                .map(|number| (format!("shoe-{number:04}.png"), thumbnail))
                .collect(),
            ..Thumbnails::default()
        }
    }
}

/// The phase of a shard whose results were collected.
fn done() -> Phase {
    Phase::Done {
        ended: Some(EndedBatch {
            batch: BatchName::new("batches/guard"),
            attempt: 1,
            state: "SUCCEEDED".to_owned(),
            output: None,
            error: None,
            submitted_at: NOW,
            ended_at: NOW,
        }),
        chunks: Vec::new(),
        next: None,
        next_lane: Lane::Batch,
        succeeded: None,
        cost_usd: None,
    }
}

/// Returns the result of a request, as `collect` stores it.
fn result(job: &JobId, plan: &PlanLine, number: usize) -> ResultLine {
    let of = |status| ResultLine {
        model: Some(MODEL.to_owned()),
        model_version: Some(MODEL.to_owned()),
        response_id: Some(format!("r-{}", plan.key)),
        lane: Some(Lane::Batch),
        batch_name: Some(BatchName::new("batches/guard")),
        shard: Some(shard_id()),
        attempts: Some(1),
        ..ResultLine::new(plan.key.clone(), status)
    };
    if number.is_multiple_of(EVERY_FAILED) {
        return ResultLine {
            finish_reason: Some("IMAGE_SAFETY".to_owned()),
            error: Some(Reason {
                code: "IMAGE_SAFETY".to_owned(),
                message: "Unable to show the generated image.".to_owned(),
                retryable: false,
            }),
            ..of(Status::Blocked)
        };
    }
    let image = StoredImage {
        uri: ObjectUri {
            bucket: BUCKET.to_owned(),
            key: object_keys::image(job, &plan.path, MediaType::Png.extension()),
        },
        etag: format!("\"{number:032x}\""),
        mime_type: MediaType::Png,
        width: 1024,
        height: 1024,
        bytes: 1_800_000,
        provenance: Some(Provenance {
            iptc: true,
            c2pa: false,
        }),
    };
    ResultLine {
        image: Some(image),
        finish_reason: Some("STOP".to_owned()),
        usage: Some(Usage {
            prompt_tokens: 1290,
            output_image_tokens: 1290,
            output_text_tokens: 0,
            thought_tokens: 0,
        }),
        ..of(Status::Succeeded)
    }
}
