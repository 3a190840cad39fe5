//! Requests that Gemini refuses: they fail alone, and the others are submitted without them.

use std::collections::{BTreeMap, HashMap};

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::RequestKey,
    state::{Outcome, Shard},
};
use exchange::{
    error::InputError,
    images,
    request_lines::{self, RequestLines},
};
use gemini::ApiError;
use jiff::SignedDuration;
use tracing::warn;

use crate::{
    deps::Deps,
    error::SubmitError,
    replan::{planned, refused_as_a_whole},
};

/// Writes the results of the requests at these lines of the input file, counted from 1, and submits
/// the others at once. `error` is the whole refusal.
pub(crate) async fn leave_out(
    deps: &Deps,
    shard: &Shard,
    attempt: u32,
    lines: &BTreeMap<u64, String>,
    error: &ApiError,
) -> Result<Outcome, SubmitError> {
    let (keys, earlier) = match read(deps, shard).await {
        Ok(read) => read,
        Err(problem) => {
            let tried = planned(shard, attempt);
            return Ok(Outcome::retry(
                &tried,
                problem.to_string(),
                SignedDuration::ZERO,
            ));
        }
    };

    // Gemini names lines of the input file, and line numbers that it does not have prove nothing.
    let named: HashMap<RequestKey, &String> = lines
        .iter()
        .filter_map(|(line, message)| {
            let index = usize::try_from(line.checked_sub(1)?).ok()?;
            Some((keys.get(index)?.clone(), message))
        })
        .collect();
    if named.is_empty() {
        return Ok(refused_as_a_whole(shard, attempt, error, deps.clock.now()));
    }
    warn!(
        requests = named.len(),
        "Gemini refuses some requests; the others are submitted without them"
    );

    // The chunk is named after the attempt. One that exists under this name is of an invocation
    // that crashed before its state named the chunk, so it may be replaced.
    let is_all = named.len() == keys.len();
    let results = keys.iter().filter_map(|key| {
        let refused = images::refused(named.get(key)?);
        Some(images::without_image(shard, key.clone(), refused))
    });
    let all: Vec<ChunkLine> = earlier.into_iter().chain(results).collect();
    let chunk = Chunk::refused(attempt, all.len());
    images::write_chunk(&deps.bucket, shard, &chunk, &all).await?;

    let next = Shard {
        refused: Some(chunk),
        refused_creates: 0,
        errors: 0,
        ..planned(shard, attempt)
    };
    Ok(if is_all {
        Outcome::end(next.failed(images::REFUSED, "Gemini refused all of the requests"))
    } else {
        Outcome::wait(next, SignedDuration::ZERO)
    })
}

/// Reads the keys of the input file's lines, and the results of requests that were refused before.
async fn read(deps: &Deps, shard: &Shard) -> Result<(Vec<RequestKey>, Vec<ChunkLine>), InputError> {
    Ok((
        RequestLines::of(&deps.bucket, &deps.states, shard)
            .await?
            .keys()
            .await?,
        request_lines::refused(&deps.bucket, shard).await?,
    ))
}
