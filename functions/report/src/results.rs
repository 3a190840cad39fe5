//! Writes the results in manifest order, in one pass over the plan. Each chunk and each request
//! file is read once.
//!
//! In the plan, the lines of a shard are in order, with lines of shards of other models in between.
//! So one shard per model is open at a time: its results are in memory, and its request file is
//! read from where the previous line of the shard ended.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    io,
};

use darkroom::{
    names::{JobId, RequestKey, ShardId},
    object_keys,
    plan::PlanLine,
    report::{self, Finished, Links, ResultForm, ShardResults, Tally},
    requests,
    results::Status,
    state::{Failed, Phase, Shard},
    status::DocumentVersion,
};
use runtime::{
    bucket::ObjectWriter,
    shard_store::{Rounds, StoredShard},
};
use serde_json::value::RawValue;

use crate::{
    deps::Deps,
    documents::{DocumentLines, damaged, unreadable_state},
    error::{ReportError, malformed},
};

/// Writes `results.jsonl`, `results.csv` and `retry.jsonl`, and returns their sums. The files
/// become visible only after every line was written without an error.
///
/// # Errors
/// [`ReportError::Blocked`] if a document is missing or damaged.
pub(crate) async fn write_results(
    deps: &Deps,
    job: &JobId,
    images: u64,
    form: ResultForm,
    chains: &[Rounds],
) -> Result<Tally, ReportError> {
    let mut out = Files::new(deps, job, form).await?;
    let mut tally = Tally::default();
    // The value is None for a shard whose lines were all read.
    let mut open: HashMap<ShardId, Option<OpenShard<'_>>> = HashMap::new();
    let mut lines = DocumentLines::open(deps, &object_keys::plan(job)).await?;
    while let Some(line) = lines.next::<PlanLine>().await? {
        // The first line of a shard loads its results.
        let shard = match open.entry(line.shard) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let Some(chain) = chain_of(chains, line.shard) else {
                    return Err(lines.damaged(&format!(
                        "line {} names a shard that does not exist",
                        lines.line()
                    )));
                };
                entry.insert(Some(OpenShard::load(deps, job, chain).await?))
            }
        };
        let Some(shard) = shard else {
            return Err(lines.damaged(&format!(
                "line {} exceeds the number of requests of its shard",
                lines.line()
            )));
        };
        if line.model != shard.shard.model {
            return Err(lines.damaged(&format!(
                "line {} names a different model than its shard",
                lines.line()
            )));
        }

        // The line is completed, counted and written, with a manifest line to retry a failure.
        let finished = report::finish(&line, &mut shard.results, &deps.catalog);
        tally.add(&line, &finished);
        let retry = match finished.line.status {
            Status::Succeeded => None,
            _ => Some(shard.retry(&line, lines.version()).await?),
        };
        out.write(&line, &finished, retry).await?;

        // The last line of a shard frees its results.
        shard.left = shard.left.saturating_sub(1);
        if shard.left == 0 {
            tally.add_shard(&line.model, &shard.results, &deps.catalog);
            open.insert(line.shard, None);
        }
    }
    lines.check_count(images)?;
    out.finish().await?;
    Ok(tally)
}

fn chain_of(chains: &[Rounds], id: ShardId) -> Option<&Rounds> {
    chains
        .get(usize::try_from(id.number).ok()?)
        .filter(|_| id.round == 1)
}

/// A shard of which some lines of the plan are still to be read.
struct OpenShard<'a> {
    deps: &'a Deps,
    shard: &'a Shard,
    results: ShardResults,
    /// The number of lines that are still to be read.
    left: u32,
    /// Its request file, if it was needed, at the position up to which it was read.
    requests: Option<DocumentLines<'a>>,
}

impl<'a> OpenShard<'a> {
    /// Reads the results of a shard and its rounds.
    async fn load(deps: &'a Deps, job: &JobId, chain: &'a Rounds) -> Result<Self, ReportError> {
        let Some(StoredShard { shard: first, .. }) = chain.0.first() else {
            return Err(ReportError::NotPlanned(job.clone()));
        };
        let mut results = ShardResults::default();
        let mut read = Vec::new();
        for shard in chain.shards() {
            // If a round failed with output that was not read, its keys may have been charged for.
            let keys = match &shard.phase {
                Phase::Failed(failed) if failed.may_be_billed => keys_of(deps, shard).await?,
                _ => None,
            };
            results.begin(shard, keys);

            // The requests that Gemini refused come first, as when they were written.
            let chunks = match &shard.phase {
                Phase::Done { chunks, .. } | Phase::Failed(Failed { chunks, .. }) => {
                    chunks.as_slice()
                }
                _ => &[],
            };
            for chunk in shard.refused.iter().chain(chunks) {
                read.push(
                    read_chunk(
                        deps,
                        &mut results,
                        &object_keys::chunk(job, shard.shard, chunk),
                        chunk.lines,
                    )
                    .await?,
                );
            }
        }

        // Each key of a finished round has a line in one of the chunks.
        if let Some((round, missing)) = results.incomplete_round() {
            let damage = format!("it lacks the results of {missing} requests of round {round}");
            return Err(damaged(deps, read, &damage));
        }
        Ok(Self {
            deps,
            shard: first,
            results,
            left: first.demand.requests,
            requests: None,
        })
    }

    /// Returns the manifest line that requests this image alone. `plan` is the document that
    /// contains `line`.
    async fn retry(
        &mut self,
        line: &PlanLine,
        plan: &DocumentVersion,
    ) -> Result<Vec<u8>, ReportError> {
        match &line.retry {
            Some(item) => serde_json::to_vec(item).map_err(malformed("the plan")),
            None => self.retry_of_request(line, plan).await,
        }
    }

    /// Returns the manifest line of a request that is too large for the plan, derived from its line
    /// in the request file. The file is in the order of the plan, so the lines before it are no
    /// longer needed.
    async fn retry_of_request(
        &mut self,
        line: &PlanLine,
        plan: &DocumentVersion,
    ) -> Result<Vec<u8>, ReportError> {
        let requests = match &mut self.requests {
            Some(requests) => requests,
            none => {
                let key = object_keys::requests(&self.shard.job, self.shard.shard.number);
                none.insert(DocumentLines::open(self.deps, &key).await?)
            }
        };
        while let Some(request) = requests.next_bytes().await? {
            match requests::key_of(&request) {
                Ok(key) if key == line.key => {
                    return native_item(&request, line)
                        .map_err(|error| requests.unreadable(&error));
                }
                Ok(_) => {}
                Err(requests::RequestLineError(error)) => return Err(requests.unreadable(&error)),
            }
        }
        let damage = format!(
            "the request of the manifest's line {} is not at its place in the request file",
            line.line
        );
        Err(damaged(
            self.deps,
            vec![requests.version().clone(), plan.clone()],
            &damage,
        ))
    }
}

/// Reads the keys of a round that may have been charged for and has no results.
async fn keys_of(deps: &Deps, shard: &Shard) -> Result<Option<HashSet<RequestKey>>, ReportError> {
    match deps.states.keys(shard).await {
        Ok(keys) => Ok(keys.map(|keys| keys.into_iter().collect())),
        Err(error) => Err(unreadable_state(deps, error).await?),
    }
}

/// Adds the lines of a chunk. `written` is the number of lines that were written.
async fn read_chunk(
    deps: &Deps,
    results: &mut ShardResults,
    key: &str,
    written: u64,
) -> Result<DocumentVersion, ReportError> {
    let mut lines = DocumentLines::open(deps, key).await?;
    while let Some(line) = lines.next().await? {
        results.add(line);
    }
    lines.check_count(written)?;
    Ok(lines.version().clone())
}

/// Converts a line of a request file into an item of a manifest.
fn native_item(line: &[u8], plan: &PlanLine) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Item<'a> {
        key: std::borrow::Cow<'a, str>,
        #[serde(default)]
        model: String,
        #[serde(default)]
        output: Output,
        #[serde(borrow)]
        request: &'a RawValue,
    }
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Output {
        path: String,
    }
    let item: Item<'_> = serde_json::from_slice(line)?;
    let (model, output) = (
        plan.model.clone(),
        Output {
            path: plan.path.clone(),
        },
    );
    serde_json::to_vec(&Item {
        model,
        output,
        ..item
    })
}

/// The three files that are written line by line.
struct Files {
    form: ResultForm,
    results: ObjectWriter,
    table: ObjectWriter,
    retry: ObjectWriter,
}

impl Files {
    async fn new(deps: &Deps, job: &JobId, form: ResultForm) -> Result<Self, ReportError> {
        let links = Links::of(job);
        let mut table = deps.bucket.writer(&links.table, "text/csv; charset=utf-8");
        table.write(&form.header().map_err(not_a_row)?).await?;
        Ok(Self {
            form,
            results: deps.bucket.writer(&links.results, "application/jsonl"),
            table,
            retry: deps.bucket.writer(&links.retry, "application/jsonl"),
        })
    }

    async fn write(
        &mut self,
        plan: &PlanLine,
        finished: &Finished,
        retry: Option<Vec<u8>>,
    ) -> Result<(), ReportError> {
        self.results
            .write(
                &self
                    .form
                    .line(plan, finished)
                    .map_err(malformed("a result"))?,
            )
            .await?;
        self.table
            .write(&self.form.row(finished).map_err(not_a_row)?)
            .await?;
        if let Some(mut item) = retry {
            item.push(b'\n');
            self.retry.write(&item).await?;
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), ReportError> {
        self.results.finish().await?;
        self.table.finish().await?;
        self.retry.finish().await?;
        Ok(())
    }
}

fn not_a_row(error: io::Error) -> ReportError {
    malformed("the table")(serde_json::Error::io(error))
}
