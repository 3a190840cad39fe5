//! Approving and canceling a job from the page, and what that costs.

use darkroom::{
    money::Usd,
    names::JobId,
    object_keys,
    state::Shard,
    status::{JobStatus, ShardPhase},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Response, StatusCode};
use seam::transport::Body;

use super::answer::{failure, json};
use crate::{
    command::{check::count, job_view::JobView, stack::Stack},
    controls::ControlAction,
};

/// How many states are read to find out what a decision costs. The amounts of a larger job are not
/// given.
const MAX_STATES: usize = 1_000;

/// How many states are read concurrently.
const CONCURRENCY: usize = 16;

/// Images and the most that they can cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Part {
    images: u64,
    /// None if it is not known.
    at_most: Option<Usd>,
}

/// Writes the user's request to approve or cancel a job.
///
/// # Errors
/// Returns an error if the bucket can't be read or written.
pub(super) async fn control(
    stack: &Stack,
    job: &JobId,
    action: ControlAction,
) -> anyhow::Result<Response<Body>> {
    let Some(status) = stack.status(job).await? else {
        return Ok(failure(StatusCode::NOT_FOUND, "there is no such job"));
    };
    // A request that can't have an effect would look as if it had one.
    let view = JobView::new(&status);
    let refusal = match action {
        _ if view.ended => Some("the job has already ended"),
        ControlAction::Approve if view.decision.is_none() => Some("nothing waits for an approval"),
        ControlAction::Approve | ControlAction::Cancel => None,
    };
    if let Some(reason) = refusal {
        return Ok(failure(StatusCode::CONFLICT, reason));
    }
    stack.control(job, action).await?;
    let answer = serde_json::json!({ "requested": action.name(), "job": job });
    Ok(json(StatusCode::ACCEPTED, &answer))
}

/// Returns what approving and canceling a job would cost, in words.
///
/// # Errors
/// Returns an error if the bucket can't be read.
pub(super) async fn decision(stack: &Stack, job: &JobId) -> anyhow::Result<Response<Body>> {
    let Some(status) = stack.status(job).await? else {
        return Ok(failure(StatusCode::NOT_FOUND, "there is no such job"));
    };
    let view = JobView::new(&status);
    let held = part(stack, &status, |phase| phase == ShardPhase::Held).await?;
    let requested = part(stack, &status, is_requested).await?;
    let answer = serde_json::json!({
        "approve": view.decision.as_ref().map(|decision| approval(held, decision.is_proof)),
        "cancel": (!view.ended).then(|| cancellation(&view, held, requested)),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// Whether the images of a shard in this phase may already be charged.
fn is_requested(phase: ShardPhase) -> bool {
    match phase {
        ShardPhase::Creating
        | ShardPhase::Recovering
        | ShardPhase::Submitted
        | ShardPhase::Ready
        | ShardPhase::Collecting
        | ShardPhase::Generating => true,
        ShardPhase::Planned
        | ShardPhase::Uploading
        | ShardPhase::Held
        | ShardPhase::Done
        | ShardPhase::Failed
        | ShardPhase::Cancelled => false,
    }
}

/// Sums up the shards in some phases. The most that they can cost is in their states.
async fn part(
    stack: &Stack,
    status: &JobStatus,
    is_counted: fn(ShardPhase) -> bool,
) -> anyhow::Result<Part> {
    let shards = || status.shards.iter().filter(|entry| is_counted(entry.phase));
    let images = shards().map(|entry| u64::from(entry.requests)).sum();
    let keys = shards().map(|entry| object_keys::state(&status.job, entry.shard));
    let keys: Vec<String> = keys.collect();
    if keys.len() > MAX_STATES {
        return Ok(Part {
            images,
            at_most: None,
        });
    }
    let states: Vec<Option<Shard>> = stream::iter(keys)
        .map(|key| async move { stack.document::<Shard>(&key).await })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let costs: Option<Vec<Usd>> = states
        .into_iter()
        .map(|state| state.map(|state| state.demand.usd))
        .collect();
    Ok(Part {
        images,
        at_most: costs.map(|costs| costs.into_iter().sum()),
    })
}

fn approval(held: Part, is_proof: bool) -> String {
    let images = count(held.images, "image");
    let cost = held.at_most.map_or_else(
        || "They cost money.".to_owned(),
        |usd| format!("They cost at most {usd}."),
    );
    if is_proof {
        format!("Approving the proof makes the other {images}. {cost}")
    } else {
        format!(
            "Approving continues with {images} that may have been bought already. {cost} Read why \
             they are held before you approve."
        )
    }
}

fn cancellation(view: &JobView, held: Part, requested: Part) -> String {
    let mut text = format!(
        "Canceling ends the job. {} of {} are finished and are kept.",
        view.finished,
        count(view.images, "image")
    );
    if requested.images > 0 {
        let most = requested
            .at_most
            .map_or_else(String::new, |usd| format!(", at most {usd}"));
        text.push_str(&format!(
            " {} already requested. Gemini charges for those that it has made{most}.",
            were(requested.images)
        ));
    }
    if held.images > 0 {
        text.push_str(&format!(" {} held and cost nothing.", were(held.images)));
    }
    text
}

/// Returns a number of images with its verb: `1 image was`, `2 images were`.
fn were(images: u64) -> String {
    let verb = if images == 1 { "was" } else { "were" };
    format!("{} {verb}", count(images, "image"))
}
