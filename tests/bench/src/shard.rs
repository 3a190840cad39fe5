//! The shard that `collect` reads. Its batch has ended, and its output has not been read.

use anyhow::Context;
use cli::cloud::Cloud;
use darkroom::{
    chain::RESULTS,
    cost::Estimate,
    lane::Lane,
    messages::ShardMessage,
    money::Usd,
    names::{BatchName, FileName, JobId, ShardId},
    object_keys,
    plan::PlanLine,
    state::{BatchOutput, Demand, EndedBatch, Phase, Shard},
};
use runtime::{bucket::Bucket, shard_store::Cas};
use serde_json::json;

use crate::dataset::{Dataset, Expected};

/// The model of all requests.
const MODEL: &str = "gemini-2.5-flash-image";

/// Returns the only shard of a job.
fn shard_id() -> ShardId {
    ShardId::first(0)
}

/// Writes the plan and the state of a new job. Returns the event that makes `collect` read its
/// output.
pub(crate) async fn prepare(
    cloud: &Cloud,
    job: &JobId,
    dataset: &Dataset,
    images: &[Expected],
) -> anyhow::Result<String> {
    let plan_bytes = write_plan(&cloud.bucket, job, images).await?;
    let now = cloud.time.now();
    let ended = EndedBatch {
        batch: BatchName::new("batches/bench"),
        attempt: 1,
        state: "SUCCEEDED".to_owned(),
        output: Some(BatchOutput::File(FileName::new(format!(
            "files/{}",
            dataset.name()
        )))),
        error: None,
        submitted_at: now,
        ended_at: now,
    };
    let demand = Demand {
        requests: u32::try_from(images.len())?,
        ..Demand::default()
    };
    let planned = Shard::planned(job, shard_id(), MODEL, demand, (0, plan_bytes), now);
    let deadline = ended.kept_until();
    let ready = planned.enter(Phase::Ready { ended }, deadline);
    match cloud.deps.collect.states.create(ready).await? {
        Cas::Written(_) => event(job),
        Cas::Conflict => anyhow::bail!("there is a job {job} already"),
    }
}

/// Returns the current phase of the shard.
pub(crate) async fn phase(cloud: &Cloud, job: &JobId) -> anyhow::Result<&'static str> {
    let stored = cloud.deps.collect.states.read(job, shard_id()).await?;
    Ok(stored
        .with_context(|| format!("there is no job {job}"))?
        .shard
        .phase
        .name())
}

/// Writes the plan. Returns its size in bytes.
async fn write_plan(bucket: &Bucket, job: &JobId, images: &[Expected]) -> anyhow::Result<u64> {
    let mut plan = Vec::new();
    for (line, image) in (1..).zip(images) {
        let line = PlanLine {
            key: darkroom::names::RequestKey::new(&image.key),
            item: image.key.clone(),
            key_name: None,
            vars: std::collections::BTreeMap::new(),
            variant: 1,
            line,
            shard: shard_id(),
            model: MODEL.to_owned(),
            aspect_ratio: Some("1:1".to_owned()),
            image_size: None,
            thinking: None,
            path: image.key.clone(),
            prompt: Some("the shoe on white".to_owned()),
            refs: Vec::new(),
            lane: Lane::Batch,
            proof: false,
            estimate: Estimate {
                batch_usd: Usd::default(),
                interactive_usd: Usd::default(),
                lanes_usd: None,
            },
            retry: None,
        };
        serde_json::to_writer(&mut plan, &line)?;
        plan.push(b'\n');
    }
    let length = plan.len() as u64;
    bucket
        .put(&object_keys::plan(job), "application/jsonl", plan)
        .await?;
    Ok(length)
}

/// Returns an event of the queue `results`, as `collect` receives it from Lambda.
fn event(job: &JobId) -> anyhow::Result<String> {
    let event = json!({ "Records": [{
        "messageId": "059f36b4-87a3-44ab-83d2-661970000001",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": serde_json::to_string(&ShardMessage::new(job, shard_id()))?,
        "attributes": { "ApproximateReceiveCount": "1" },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{RESULTS}"),
        "awsRegion": "us-east-1",
    }]});
    Ok(event.to_string())
}
