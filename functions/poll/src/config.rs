//! What `poll` is told by its environment.

use gemini::Gemini;
use jiff::SignedDuration;
use runtime::{
    aws::Aws, bucket::Bucket, ledger_store::LedgerStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::{Deps, PollBackoff};

/// The environment of `poll`.
pub struct Config {
    /// `BUCKET`: where jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `POLLS_QUEUE_URL`: the queue that triggers it.
    pub polls_queue: String,
    /// `RESULTS_QUEUE_URL`: where ended batches go.
    pub results_queue: String,
    /// `REPORTS_QUEUE_URL`: where changes are told.
    pub reports_queue: String,
    /// `POLL_SHORTEST_SECONDS` and `POLL_LONGEST_SECONDS`: how long a batch is left alone between
    /// two questions.
    pub waits: PollBackoff,
    /// `GEMINI_API_KEY`, `GEMINI_BASE_URL` and `GEMINI_API_VERSION`.
    pub gemini: gemini::Settings,
}

impl Config {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`VariableError`] names the first that is missing or malformed.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        let waits = PollBackoff::default();
        let seconds = |name, default: SignedDuration| {
            let seconds = variables.parsed(name, default.as_secs().unsigned_abs())?;
            Ok(SignedDuration::from_secs(
                i64::try_from(seconds).unwrap_or(i64::MAX),
            ))
        };
        Ok(Self {
            bucket: variables.required("BUCKET")?,
            service: variables.service(),
            polls_queue: variables.required("POLLS_QUEUE_URL")?,
            results_queue: variables.required("RESULTS_QUEUE_URL")?,
            reports_queue: variables.required("REPORTS_QUEUE_URL")?,
            waits: PollBackoff {
                shortest: seconds("POLL_SHORTEST_SECONDS", waits.shortest)?,
                longest: seconds("POLL_LONGEST_SECONDS", waits.longest)?,
            },
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
            ledger: LedgerStore::new(bucket.clone(), rng.clone()),
            states: ShardStore::new(bucket, clock.clone(), rng.clone(), metrics.clone()),
            gemini: Gemini::over_https(self.gemini)?,
            polls: Queue::new(aws.sqs.clone(), self.polls_queue),
            results: Queue::new(aws.sqs.clone(), self.results_queue),
            reports: Queue::new(aws.sqs, self.reports_queue),
            clock,
            rng,
            waits: self.waits,
            metrics,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 5] = [
        ("BUCKET", "studio"),
        ("POLLS_QUEUE_URL", "https://queues/polls"),
        ("RESULTS_QUEUE_URL", "https://queues/results"),
        ("REPORTS_QUEUE_URL", "https://queues/reports"),
        ("GEMINI_API_KEY", "k"),
    ];

    #[test]
    fn waits_are_a_minute_to_a_quarter_of_an_hour_unless_told() {
        let config = Config::read(&NEEDED.into_iter().collect()).unwrap();
        assert_eq!(config.waits, PollBackoff::default());
        let told = NEEDED
            .into_iter()
            .chain([("POLL_SHORTEST_SECONDS", "2")])
            .collect();
        assert_eq!(
            Config::read(&told).unwrap().waits.shortest,
            SignedDuration::from_secs(2)
        );
    }

    #[test]
    fn a_missing_variable_is_named() {
        let variables: Variables = [("BUCKET", "studio")].into_iter().collect();
        let Err(problem) = Config::read(&variables) else {
            panic!("read without its queues")
        };
        assert!(problem.to_string().contains("POLLS_QUEUE_URL"), "{problem}");
    }
}
