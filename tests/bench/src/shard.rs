//! The shard that `collect` reads. Its batch has ended, and its output has not been read.

use anyhow::Context;
use bench::plan::{self, MODEL, shard_id};
use cli::cloud::Cloud;
use darkroom::{
    chain::RESULTS,
    messages::ShardMessage,
    names::{BatchName, FileName, JobId},
    object_keys,
    state::{BatchOutput, Demand, EndedBatch, Phase, Shard},
};
use runtime::{bucket::Bucket, shard_store::Cas};
use serde_json::json;

use crate::dataset::{Dataset, Expected};

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
    let mut written = Vec::new();
    for (line, image) in (1..).zip(images) {
        let line = plan::line(&image.key, line);
        serde_json::to_writer(&mut written, &line)?;
        written.push(b'\n');
    }
    let length = written.len() as u64;
    bucket
        .put(&object_keys::plan(job), "application/jsonl", written)
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
