//! Requests that Gemini refuses to take: they fail alone, and the others are submitted at once.

use std::collections::{BTreeMap, HashMap};

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::RequestKey,
    object_keys,
    results::{Lane, Reason, ResultLine, Status},
    state::Shard,
};
use gemini::ApiError;
use jiff::SignedDuration;
use runtime::{deliveries::Disposition, shard_store::StoredShard};
use tracing::warn;

use crate::{
    attempt::{planned, refused_whole},
    handler::SubmitError,
    input::{self, InputError},
    work::Work,
};

/// The code of a request that Gemini refused to take.
const CODE: &str = "INVALID_ARGUMENT";

/// Gives the requests at these lines of the input file, counted from 1, their result, and has the
/// others submitted at once. `error` is the whole refusal.
pub(crate) async fn leave_out(
    work: &Work<'_>,
    stored: &StoredShard,
    attempt: u32,
    lines: &BTreeMap<u64, String>,
    error: &ApiError,
) -> Result<Disposition, SubmitError> {
    let shard = &stored.shard;
    let (keys, earlier) = match read(work, shard).await {
        Ok(read) => read,
        Err(problem) => {
            return work
                .retry(stored, planned(shard, attempt), &problem.to_string())
                .await;
        }
    };
    let named: HashMap<RequestKey, &String> = lines
        .iter()
        .filter_map(|(line, words)| {
            let place = usize::try_from(line.checked_sub(1)?).ok()?;
            Some((keys.get(place)?.clone(), words))
        })
        .collect();
    if named.is_empty() {
        return refused_whole(work, stored, attempt, error).await;
    }
    warn!(
        requests = named.len(),
        "Gemini refuses to take some requests; the others are submitted without them"
    );

    // The part is named after the attempt: an earlier one of the same name is of an attempt that
    // never came so far.
    let is_all = named.len() == keys.len();
    let results = keys
        .iter()
        .filter_map(|key| Some(result(shard, key, named.get(key)?)));
    let all: Vec<ChunkLine> = earlier.into_iter().chain(results).collect();
    let chunk = Chunk::refused(attempt, all.len());
    write(work, shard, &chunk, &all).await?;
    let next = Shard {
        refused: Some(chunk),
        refused_creates: 0,
        errors: 0,
        ..planned(shard, attempt)
    };
    if is_all {
        return work
            .end(
                stored,
                next.failed(CODE, "Gemini refused to take any of the requests"),
            )
            .await;
    }
    work.wait(stored, next, SignedDuration::ZERO).await
}

/// The keys of the input file's lines, and the results of requests that were refused before.
async fn read(
    work: &Work<'_>,
    shard: &Shard,
) -> Result<(Vec<RequestKey>, Vec<ChunkLine>), InputError> {
    Ok((
        input::keys(work.deps, shard).await?,
        input::refused(work.deps, shard).await?,
    ))
}

fn result(shard: &Shard, key: &RequestKey, words: &str) -> ChunkLine {
    let reason = Reason {
        code: CODE.to_owned(),
        message: format!("Gemini refused the request: {words}"),
        retryable: false,
    };
    ChunkLine::Result(Box::new(ResultLine {
        model: Some(shard.model.clone()),
        lane: Some(Lane::Batch),
        shard: Some(shard.shard),
        attempts: Some(u32::from(shard.shard.round)),
        error: Some(reason),
        ..ResultLine::new(key.clone(), Status::Failed)
    }))
}

async fn write(
    work: &Work<'_>,
    shard: &Shard,
    chunk: &Chunk,
    lines: &[ChunkLine],
) -> Result<(), SubmitError> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    let key = object_keys::chunk(&shard.job, shard.shard, chunk);
    work.deps
        .bucket
        .put(&key, "application/jsonl", bytes)
        .await?;
    Ok(())
}
