//! What `submit` is told by its environment.

use darkroom::{
    ledger::ProjectLimits,
    models::{Catalog, Tier},
    money::Usd,
    state::QUIET_PERIOD,
};
use gemini::Gemini;
use jiff::SignedDuration;
use runtime::{
    aws::Aws, bucket::Bucket, ledger_store::LedgerStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore, upload_store::UploadStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::Deps;

/// The environment of `submit`.
pub struct Config {
    /// `BUCKET`: where manifests and jobs are.
    pub bucket: String,
    /// `STACK`: begins the display names of this deployment's batches. Default `darkroom`.
    pub stack: String,
    /// `MAX_LIVE_BATCHES`: batches that may be pending or running at once. Default 100, Google's
    /// own limit.
    pub live_batches: u32,
    /// `GEMINI_TIER`: 1, 2 or 3, by which Google limits the enqueued input tokens of each model.
    /// Default 1.
    pub tier: Tier,
    /// `DAILY_CAP_USD`: dollars that may be spent or reserved on one day (UTC). Default none.
    pub daily_usd: Option<Usd>,
    /// `QUIET_PERIOD_MINUTES`: how long nobody looks for a batch whose create call went unanswered.
    /// Default 30.
    pub quiet: SignedDuration,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `SHARDS_QUEUE_URL`: the queue that triggers it.
    pub shards_queue: String,
    /// `POLLS_QUEUE_URL`: where submitted shards go.
    pub polls_queue: String,
    /// `REPORTS_QUEUE_URL`: where changes are told.
    pub reports_queue: String,
    /// `GEMINI_API_KEY`, `GEMINI_BASE_URL` and `GEMINI_API_VERSION`.
    pub gemini: gemini::Settings,
}

impl Config {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`VariableError`] names the first that is missing or malformed.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            bucket: variables.required("BUCKET")?,
            stack: variables.parsed("STACK", "darkroom".to_owned())?,
            live_batches: variables.parsed("MAX_LIVE_BATCHES", 100)?,
            tier: variables.parsed("GEMINI_TIER", Tier::default())?,
            daily_usd: variables.optional_parsed("DAILY_CAP_USD")?,
            quiet: variables
                .optional_parsed("QUIET_PERIOD_MINUTES")?
                .map_or(QUIET_PERIOD, |minutes: u32| {
                    SignedDuration::from_mins(minutes.into())
                }),
            service: variables.service(),
            shards_queue: variables.required("SHARDS_QUEUE_URL")?,
            polls_queue: variables.required("POLLS_QUEUE_URL")?,
            reports_queue: variables.required("REPORTS_QUEUE_URL")?,
            gemini: runtime::parameter::gemini_settings(variables)?,
        })
    }

    /// The clients of a deployed function.
    ///
    /// # Errors
    /// When the Gemini settings can't be used.
    pub async fn deps(self) -> anyhow::Result<Deps> {
        let aws = Aws::from_env().await;
        let (clock, rng) = (Clock::system(), Rng::system());
        let bucket = Bucket::new(aws.s3, self.bucket);
        let metrics = Metrics::to_cloudwatch(self.service, clock.clone());
        Ok(Deps {
            states: ShardStore::new(bucket.clone(), clock.clone(), rng.clone(), metrics.clone()),
            ledger: LedgerStore::new(bucket.clone(), rng.clone()),
            references: UploadStore::new(bucket.clone(), rng),
            limits: ProjectLimits {
                live_batches: self.live_batches,
                enqueued_tokens: Catalog::built_in().enqueued_tokens(self.tier),
                daily_usd: self.daily_usd,
            },
            quiet: self.quiet,
            bucket,
            gemini: Gemini::over_https(self.gemini)?,
            shards: Queue::new(aws.sqs.clone(), self.shards_queue),
            polls: Queue::new(aws.sqs.clone(), self.polls_queue),
            reports: Queue::new(aws.sqs, self.reports_queue),
            clock,
            stack: self.stack,
            metrics,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let variables: Variables = [("BUCKET", "studio")].into_iter().collect();
        let Err(problem) = Config::read(&variables) else {
            panic!("read without its queues")
        };
        assert!(
            problem.to_string().contains("SHARDS_QUEUE_URL"),
            "{problem}"
        );
    }
}
