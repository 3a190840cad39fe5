//! All services of a benchmark in one process, which `tests/bench/run` controls with lines.
//!
//! It first writes the addresses as one JSON object. `begin <dataset>` resets the tally and
//! prepares a shard for `collect`. `end` returns what was stored since. The response to each is one
//! line.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use aws_sim::credentials::Credentials;
use cli::{
    cloud::{BUCKET, Cloud, CloudConfig},
    time::Time,
};
use darkroom::{
    chain::{CHAIN, url_variable},
    names::JobId,
};
use gemini::{
    self, Gemini,
    key::{ApiKey, KeySource},
};
use seam::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    dataset::Dataset,
    downloads::Downloads,
    identity::{self, HOST},
    listen::listen,
    runtime_api::RuntimeApi,
    shard,
    sink::Sink,
};

/// Serves until standard input ends.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let (services, addresses) = Services::start(folder).await?;
    respond(&addresses)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut job = None;
    while let Some(line) = lines.next_line().await? {
        match (line.split_once(' '), &job) {
            (Some(("begin", dataset)), _) => {
                job = Some(services.begin(dataset).await?);
                respond(&json!({}))?;
            }
            (None, Some(job)) if line == "end" => respond(&services.outcome(job).await?)?,
            _ => anyhow::bail!("expected `begin <dataset>`, then `end`; got {line}"),
        }
    }
    Ok(())
}

/// Writes a line of JSON to standard output.
fn respond(answer: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}

struct Services {
    folder: PathBuf,
    cloud: Cloud,
    sink: Arc<Sink>,
    runtime_api: Arc<RuntimeApi>,
    clock: Clock,
}

impl Services {
    /// Starts all services. Returns their addresses as well.
    async fn start(folder: &Path) -> anyhow::Result<(Self, Value)> {
        let root = folder.join("cloud");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        let authority = folder.join("authority.pem");
        let tls = identity::acceptor(&authority)?;
        let (cloud, sink) = cloud(&root)?;
        let time = Time::system();
        let runtime_api = Arc::new(RuntimeApi::new(time.clock()));
        let downloads = Arc::new(Downloads {
            folder: folder.to_owned(),
        });
        let aws = format!(
            "https://{HOST}:{}",
            listen(Some(tls.clone()), Arc::clone(&sink) as _).await?
        );
        let mut environment: BTreeMap<String, String> = CHAIN
            .iter()
            .map(|source| {
                let url = format!("{aws}/000000000000/{}", source.queue);
                (url_variable(source.queue), url)
            })
            .collect();
        environment.insert("AWS_ACCESS_KEY_ID".to_owned(), ACCESS_KEY.to_owned());
        environment.insert("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET_KEY.to_owned());
        let addresses = json!({
            "gemini": format!("https://{HOST}:{}", listen(Some(tls), downloads).await?),
            "aws": aws,
            "environment": environment,
            "runtime_api": format!("{HOST}:{}", listen(None, Arc::clone(&runtime_api) as _).await?),
            "authority": authority,
            "bucket": BUCKET,
        });
        Ok((
            Self {
                folder: folder.to_owned(),
                cloud,
                sink,
                runtime_api,
                clock: time.clock(),
            },
            addresses,
        ))
    }

    /// Expects the images of `dataset`. Returns the job that `collect` works on.
    async fn begin(&self, dataset: &str) -> anyhow::Result<JobId> {
        let dataset = Dataset::new(&self.folder, dataset);
        let images = dataset.images()?;
        let job = JobId::new(format!("bench-{}", self.clock.now().as_nanosecond()));
        self.runtime_api
            .offer(shard::prepare(&self.cloud, &job, &dataset, &images).await?);
        self.sink.expect(images);
        Ok(job)
    }

    /// Returns what was stored, and the phase of the shard.
    async fn outcome(&self, job: &JobId) -> anyhow::Result<Value> {
        Ok(json!({ "tally": self.sink.tally(), "phase": shard::phase(&self.cloud, job).await? }))
    }
}

/// The credentials with which `collect` signs its requests.
const ACCESS_KEY: &str = "bench";
const SECRET_KEY: &str = "bench-secret";

/// Opens the stand-ins for S3 and SQS, for everything except images, behind the sink for images.
fn cloud(root: &Path) -> anyhow::Result<(Cloud, Arc<Sink>)> {
    // This process sends no request to Gemini. `collect` does so with its own client.
    let key = Arc::new(KeySource::fixed(ApiKey::new("unused")?));
    let gemini = Gemini::over_https(gemini::Settings::new(key))?;
    let mut stand_ins = None;
    let cloud = Cloud::open_with(
        root,
        Time::system(),
        gemini,
        CloudConfig {
            credentials: Some(Credentials::new(ACCESS_KEY, SECRET_KEY)?),
            ..CloudConfig::default()
        },
        |services| {
            stand_ins = Some(Arc::clone(&services));
            services
        },
    )?;
    Ok((
        cloud,
        Arc::new(Sink::new(stand_ins.context("a cloud without stand-ins")?)),
    ))
}
