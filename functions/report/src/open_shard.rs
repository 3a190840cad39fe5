//! The results of one shard while lines of the plan refer to it.

use std::{collections::HashSet, io};

use darkroom::{
    names::{JobId, RequestKey},
    object_keys,
    plan::PlanLine,
    report::ShardResults,
    requests,
    state::{Phase, Shard},
    status::DocumentVersion,
    thumbnails::Thumbnails,
};
use runtime::shard_store::{Rounds, StoredShard};
use serde_json::value::RawValue;

use crate::{
    deps::Deps,
    documents::{DocumentLines, damaged, unreadable_state},
    error::ReportError,
    thumbnails,
};

/// A shard of which some lines of the plan are still to be read.
pub(crate) struct OpenShard<'a> {
    deps: &'a Deps,
    shard: &'a Shard,
    pub(crate) results: ShardResults,
    /// The thumbnails of its images so far.
    pub(crate) thumbnails: Thumbnails,
    /// Whether it has ended, so that every line has its final result.
    pub(crate) is_over: bool,
    /// Whether it waits for an approval.
    pub(crate) is_held: bool,
    /// The number of lines that are still to be read.
    left: u32,
    /// Its request file, if it was needed, at the position up to which it was read.
    requests: Option<DocumentLines<'a>>,
}

impl<'a> OpenShard<'a> {
    /// Reads the results of a shard and its rounds so far.
    pub(crate) async fn load(
        deps: &'a Deps,
        job: &JobId,
        chain: &'a Rounds,
    ) -> Result<Self, ReportError> {
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
            for chunk in shard.refused.iter().chain(shard.phase.chunks()) {
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
        let last = chain.shards().next_back();
        Ok(Self {
            deps,
            shard: first,
            results,
            thumbnails: thumbnails::of_shard(deps, chain).await,
            is_over: chain.are_over(),
            is_held: last.is_some_and(|last| last.phase.is_held()),
            left: first.demand.requests,
            requests: None,
        })
    }

    /// The model of its requests.
    pub(crate) fn model(&self) -> &str {
        &self.shard.model
    }

    /// Counts a line of the plan as read. Returns whether it was the last one.
    pub(crate) fn count_line(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// Returns the manifest line that requests this image alone. `plan` is the document that
    /// contains `line`.
    pub(crate) async fn retry(
        &mut self,
        line: &PlanLine,
        plan: &DocumentVersion,
    ) -> Result<Vec<u8>, ReportError> {
        match &line.retry {
            Some(item) => serde_json::to_vec(item).map_err(|error| io::Error::from(error).into()),
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
