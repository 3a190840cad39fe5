//! The canary: a job in dry-run mode, which passes through S3, its notification, a queue, a mapping
//! and a function, and buys nothing.

use std::time::{Duration, Instant};

use anyhow::Context;
use darkroom::{
    names::JobId,
    object_keys::{self, Marker},
};
use runtime::bucket::Bucket;

use crate::command::doctor::report::{Check, Verdict, foreign};

/// How long the job may take. A cold start and a queue take some seconds.
const MAX_WAIT: Duration = Duration::from_secs(180);

/// How often its marker is looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Drops the manifest, and waits for its marker.
pub(super) async fn check(bucket: &Bucket) -> Check {
    let (check, expected) = ("canary", "_DRY_RUN within 180 s");
    match run(bucket).await {
        Ok(Some((Marker::DryRun, job, took))) => Check::new(
            check,
            expected,
            format!("{} s, in jobs/{job}/", took.as_secs()),
            Verdict::Expected,
            "",
        ),
        Ok(Some((marker, job, _))) => Check::new(
            check,
            expected,
            format!("{}, in jobs/{job}/", marker.name()),
            Verdict::Failed,
            "The job's validation.csv gives the reason.",
        ),
        Ok(None) => Check::new(
            check,
            expected,
            "no marker",
            Verdict::Failed,
            "No manifest starts a job now. See the checks of notifications and mappings, the log \
             of plan, and the dead letters of manifests.",
        ),
        Err(error) => Check::new(
            check,
            expected,
            foreign(&format!("{error:#}")),
            Verdict::Unseen,
            "Your credentials need s3:PutObject for inbox/, s3:ListBucket, and s3:GetObject for \
             jobs/. To leave it out, add --no-canary.",
        ),
    }
}

/// Returns the marker of the job, its name and the time from the upload. Returns none if there is
/// no marker in time.
async fn run(bucket: &Bucket) -> anyhow::Result<Option<(Marker, JobId, Duration)>> {
    // The same content would be the same job, which has ended already.
    let id = getrandom::u64().context("no random number")?;
    let name = format!("doctor-{id:016x}");
    let manifest = format!(
        "{{\"manifest\":{{\"version\":1,\"job\":{{\"mode\":\"dry_run\"}}}}}}\n\
         {{\"key\":\"canary\",\"prompt\":\"A gray pebble, number {id}\"}}\n"
    );
    let key = format!("inbox/{name}.jsonl");
    let started = Instant::now();
    bucket
        .create(&key, "application/x-ndjson", manifest.into_bytes())
        .await
        .with_context(|| format!("can't write {key}"))?;
    let prefix = format!("jobs/{name}-");
    while started.elapsed() < MAX_WAIT {
        tokio::time::sleep(INTERVAL).await;
        let folders = bucket.folders(&prefix).await;
        let folders = folders.with_context(|| format!("can't list {prefix}"))?;
        let Some(rest) = folders.first() else {
            continue;
        };
        let job = JobId::new(format!("{name}-{}", rest));
        for marker in Marker::ALL {
            let key = object_keys::document(&job, marker.name());
            if bucket.head(&key).await?.is_some() {
                return Ok(Some((marker, job, started.elapsed())));
            }
        }
    }
    Ok(None)
}
