//! The hot path: requests the images of a shard, with a bounded number of calls in flight.

use std::{collections::HashMap, sync::Arc};

use darkroom::{
    chunks::{Chunk, ChunkLine},
    lane::Lane,
    names::{ObjectUri, RequestKey},
    requests::{PlacedReference, key_of},
    results::Pool,
    state::{Outcome, Shard},
};
use exchange::{
    calls::timeout_of,
    error::{InputError, RecordError},
    expectations::ShardExpectations,
    images::{self, Put},
    references,
    request_lines::RequestLines,
};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use gemini::GenerateError as CallError;
use jiff::SignedDuration;
use runtime::{bucket::Bucket, lines::Lines, metrics::Metric};
use tracing::warn;

use crate::{
    call::{Answered, call},
    error::GenerateError,
    finish::{End, finish},
    pause::Pause,
    session::Session,
};

/// How many times storing an image is tried. It was paid for, and the next invocation could only
/// request it again.
const MAX_STORES: u32 = 5;

/// A step of a key that has ended.
enum Event {
    /// Gemini has answered.
    Answered(RequestKey, Result<Box<Answered>, CallError>),
    /// The image and its chunk are stored, or can't be.
    Stored(RequestKey, Result<Box<ChunkLine>, RecordError>),
}

/// Requests the images that the shard lacks, and ends the shard once each key has its result.
///
/// # Errors
/// [`GenerateError`]; every call that was made has ended, and what could be stored is stored.
pub(crate) async fn request_images(
    session: &mut Session<'_, '_>,
) -> Result<Outcome, GenerateError> {
    let mut expectations = session.expectations().await?;
    let deps = session.deps;

    // References come first, because their file URIs are part of the requests.
    let shard = session.turn.shard().clone();
    let source = RequestLines::of(&deps.bucket, &deps.states, &shard).await?;
    let found = source.references().await?;
    let placed = references::place(deps.places(), &shard.job, found).await?;

    let pool = Pool::new(deps.limits.idle_bytes);
    let mut requests = Requests {
        source: &source,
        lines: source.open().await?,
        placed: &placed,
    };
    let mut in_flight: FuturesUnordered<LocalBoxFuture<'_, Event>> = FuturesUnordered::new();
    let mut pause: Option<Pause> = None;
    let mut problem: Option<GenerateError> = None;
    loop {
        // Begin as many calls as the limit allows. After an error, one call must succeed first.
        let limit = if session.is_after_error() {
            1
        } else {
            deps.limits.in_flight
        };
        if pause.is_none() && in_flight.len() < limit {
            let free = limit - in_flight.len();
            match begin(session, &mut requests, &expectations, free).await {
                Ok(Begun::Calls(calls)) => {
                    for (key, line) in calls {
                        let (model, lane) = (shard.model.as_str(), shard.lane);
                        let pool = Arc::clone(&pool);
                        let call = async move {
                            let answer = call(deps, model, lane, &key, &line, pool).await;
                            Event::Answered(key, answer.map(Box::new))
                        };
                        in_flight.push(call.boxed_local());
                    }
                }
                Ok(Begun::None(why)) => pause = Some(why),
                Err(error) => keep(&mut problem, &mut pause, error),
            }
        }

        // What has ended is recorded with the next claim, or here if there is none.
        let Some(event) = in_flight.next().await else {
            break;
        };
        match event {
            Event::Answered(key, Ok(answered)) => {
                session.succeeded();
                let Answered { line, lane } = *answered;
                let put = images::place(&shard, lane, &mut expectations, line);
                in_flight.push(store(&deps.bucket, &shard, key, put).boxed_local());
            }
            Event::Answered(key, Err(error)) => {
                match after_failed_call(session, &key, error).await {
                    Ok((line, why)) => {
                        match line {
                            Some(line) => {
                                expectations.see(&line);
                                session.add(&key, line);
                            }
                            None => session.unclaim(&key),
                        }
                        if let Some(why) = why
                            && pause.as_ref().is_none_or(|earlier| why.outranks(earlier))
                        {
                            pause = Some(why);
                        }
                    }
                    Err(error) => keep(&mut problem, &mut pause, error),
                }
            }
            Event::Stored(key, Ok(line)) => session.add(&key, *line),
            Event::Stored(_, Err(error)) => keep(&mut problem, &mut pause, error.into()),
        }
        if problem.is_none()
            && let Err(error) = session.save_if_changed().await
        {
            keep(&mut problem, &mut pause, error);
        }
    }

    if let Some(problem) = problem {
        return Err(problem);
    }
    match pause {
        Some(Pause::Cancelled) => finish(session, expectations, End::Cancelled).await,
        Some(Pause::NoCapacity) => finish(session, expectations, End::NoCapacity).await,
        Some(Pause::NothingLeft) | None => finish(session, expectations, End::Complete).await,
        _ if expectations.missing().is_empty() => {
            finish(session, expectations, End::Complete).await
        }
        Some(pause) => Ok(session.pause(&pause)),
    }
}

/// Keeps the first error. Calls in flight are paid for, so they are awaited before it is reported,
/// and no further call is begun.
fn keep(problem: &mut Option<GenerateError>, pause: &mut Option<Pause>, error: GenerateError) {
    warn!("requesting images failed: {error}");
    pause.get_or_insert(Pause::Failed(error.to_string()));
    problem.get_or_insert(error);
}

/// The requests of a shard that were not read yet.
struct Requests<'a> {
    source: &'a RequestLines<'a>,
    lines: Lines,
    placed: &'a HashMap<ObjectUri, PlacedReference>,
}

/// What [`begin`] has claimed.
enum Begun {
    /// These calls: keys and lines of the request file.
    Calls(Vec<(RequestKey, Vec<u8>)>),
    /// Nothing, for this reason.
    None(Pause),
}

/// Claims up to `free` keys that lack their result.
async fn begin(
    session: &mut Session<'_, '_>,
    requests: &mut Requests<'_>,
    expectations: &ShardExpectations,
    free: usize,
) -> Result<Begun, GenerateError> {
    if !has_time(session) {
        return Ok(Begun::None(Pause::TimeUp));
    }
    let mut next = Vec::new();
    while next.len() < free {
        let Some(line) = requests.lines.next().await.map_err(InputError::from)? else {
            break;
        };
        if !requests.source.wants(&line).map_err(InputError::from)? {
            continue;
        }
        let key = key_of(&line).map_err(InputError::from)?;
        if expectations.is_missing(&key) {
            let line = requests.source.placed(&line, requests.placed);
            next.push((key, line.map_err(InputError::from)?));
        }
    }
    if next.is_empty() {
        return Ok(Begun::None(Pause::NothingLeft));
    }

    // A user may have canceled the job in the meantime.
    if session.turn.cancel_requested_meanwhile().await? {
        return Ok(Begun::None(Pause::Cancelled));
    }
    let keys: Vec<RequestKey> = next.iter().map(|(key, _)| key.clone()).collect();
    session.claim(&keys).await?;
    Ok(Begun::Calls(next))
}

/// Whether a call that begins now can end, and be recorded, before Lambda ends the invocation.
fn has_time(session: &Session<'_, '_>) -> bool {
    let (deps, lane) = (session.deps, session.turn.shard().lane);
    let call = SignedDuration::try_from(timeout_of(lane)).unwrap_or(SignedDuration::MAX);
    deps.clock.now() + call + deps.limits.reserve <= session.turn.deadline()
}

/// Stores an image and the chunk with its result line.
async fn store(bucket: &Bucket, shard: &Shard, key: RequestKey, put: Put) -> Event {
    let stored = async {
        let line = put.run(bucket, MAX_STORES).await?.line;
        let chunk = Chunk::of_key(&key);
        images::write_chunk(bucket, shard, &chunk, std::slice::from_ref(&line)).await?;
        Ok(Box::new(line))
    };
    let stored = stored.await;
    Event::Stored(key, stored)
}

/// Decides after a call without an answer: the result of the key, if it has one now, and why no
/// further call is made, if that is so.
async fn after_failed_call(
    session: &mut Session<'_, '_>,
    key: &RequestKey,
    error: CallError,
) -> Result<(Option<ChunkLine>, Option<Pause>), GenerateError> {
    match error {
        // Gemini may have charged for the image. The key is requested again in the next round.
        CallError::Unknown(error) => {
            let what = format!("the answer was lost: {error}");
            let line = session.store_lost_answer(key, &what).await?;
            Ok((Some(line), Some(Pause::Failed(what))))
        }
        CallError::NoCapacity(error) if session.turn.shard().lane == Lane::Flex => {
            let why = if session.lacks_capacity() {
                Pause::NoCapacity
            } else {
                Pause::Failed(format!("the flex tier has no capacity: {error}"))
            };
            Ok((None, Some(why)))
        }
        CallError::NoCapacity(error) => Ok((None, Some(Pause::Failed(error.to_string())))),
        CallError::NotMade(error) => match Pause::after(&error) {
            Some(why) => {
                if matches!(why, Pause::Credit(_)) {
                    session.deps.metrics.count(Metric::PrepaymentDepleted);
                }
                Ok((None, Some(why)))
            }
            // Only this request is wrong.
            None => {
                session.succeeded();
                let line = session.store_reason(key, images::refused(&error)).await?;
                Ok((Some(line), None))
            }
        },
    }
}
