//! The results in manifest order: one pass over the plan, with each part and each request file read
//! once.
//!
//! The lines of a shard follow one another in the plan, and those of shards of other models may be
//! among them. So for each model one shard is open at a time: its results are in memory, and its
//! request file is read on where the last line of this shard ended.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    io,
};

use darkroom::{
    layout,
    names::{JobId, RequestKey, ShardId},
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
    handler::{ReportError, malformed},
};

/// Writes the result lines, the table and what to retry, and counts. Nothing is visible of it
/// before all of it is good.
pub(crate) async fn write_results(
    deps: &Deps,
    job: &JobId,
    images: u64,
    form: ResultForm,
    chains: &[Rounds],
) -> Result<Tally, ReportError> {
    let mut out = Files::new(deps, job, form).await?;
    let mut tally = Tally::default();
    // None for a shard all of whose lines were read.
    let mut open: HashMap<ShardId, Option<OpenShard<'_>>> = HashMap::new();
    let mut lines = DocumentLines::open(deps, &layout::plan(job)).await?;
    while let Some(line) = lines.next::<PlanLine>().await? {
        let shard = match open.entry(line.shard) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let Some(chain) = chain_of(chains, line.shard) else {
                    return Err(lines.damaged(&format!(
                        "line {} names a shard that is not there",
                        lines.line()
                    )));
                };
                entry.insert(Some(OpenShard::load(deps, job, chain).await?))
            }
        };
        let Some(shard) = shard else {
            return Err(lines.damaged(&format!(
                "line {} is one more than its shard has requests",
                lines.line()
            )));
        };
        if line.model != shard.shard.model {
            return Err(lines.damaged(&format!(
                "line {} names another model than its shard has",
                lines.line()
            )));
        }

        let finished = report::finish(&line, &mut shard.results, &deps.catalog);
        tally.add(&line, &finished);
        let retry = match finished.line.status {
            Status::Succeeded => None,
            _ => Some(shard.retry(&line, lines.version()).await?),
        };
        out.write(&line, &finished, retry).await?;
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

/// A shard some of whose images are still to come in the plan.
struct OpenShard<'a> {
    deps: &'a Deps,
    shard: &'a Shard,
    results: ShardResults,
    left: u32,
    /// Its request file, read as far as it was needed.
    requests: Option<DocumentLines<'a>>,
}

impl<'a> OpenShard<'a> {
    async fn load(deps: &'a Deps, job: &JobId, chain: &'a Rounds) -> Result<Self, ReportError> {
        let Some(StoredShard { shard: first, .. }) = chain.0.first() else {
            return Err(ReportError::NotPlanned(job.clone()));
        };
        let mut results = ShardResults::default();
        let mut read = Vec::new();
        for shard in chain.shards() {
            let keys = match &shard.phase {
                Phase::Failed(failed) if failed.may_be_billed => keys_of(deps, shard).await?,
                _ => None,
            };
            results.begin(shard, keys);
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
                        &layout::chunk(job, shard.shard, chunk),
                        chunk.lines,
                    )
                    .await?,
                );
            }
        }
        if let Some((round, lacking)) = results.incomplete_round() {
            let damage =
                format!("results of {lacking} requests are missing in it, in round {round}");
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

    /// The manifest line that asks for this image alone. `plan` is the document that `line` is of.
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

    /// The manifest line of a request too large for the plan, made of its line in the request file.
    /// The lines of the file are in the order of the plan, so those before it are not needed any
    /// more.
    async fn retry_of_request(
        &mut self,
        line: &PlanLine,
        plan: &DocumentVersion,
    ) -> Result<Vec<u8>, ReportError> {
        let requests = match &mut self.requests {
            Some(requests) => requests,
            none => {
                let key = layout::requests(&self.shard.job, self.shard.shard.number);
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
            "the request of the manifest's line {} is not where the plan has it",
            line.line
        );
        Err(damaged(
            self.deps,
            vec![requests.version().clone(), plan.clone()],
            &damage,
        ))
    }
}

/// The keys of a round that may be charged for and has no results.
async fn keys_of(deps: &Deps, shard: &Shard) -> Result<Option<HashSet<RequestKey>>, ReportError> {
    match deps.states.keys(shard).await {
        Ok(keys) => Ok(keys.map(|keys| keys.into_iter().collect())),
        Err(error) => Err(unreadable_state(deps, error).await?),
    }
}

/// Adds the lines of a part, of which `written` were written.
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

/// The three files that have a line per image.
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
