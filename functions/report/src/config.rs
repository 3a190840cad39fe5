//! What `report` is told by its environment.

use std::sync::Arc;

use darkroom::models::Catalog;
use runtime::{
    aws::Aws, bucket::Bucket, catalog_store::CatalogStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    rng::Rng,
};

use crate::handler::Deps;

/// The environment of `report`.
pub struct Config {
    /// `BUCKET`: where jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `REPORTS_QUEUE_URL`: the queue that triggers it.
    pub reports_queue: String,
}

impl Config {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`VariableError`] names the first that is missing or malformed.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            bucket: variables.required("BUCKET")?,
            service: variables.service(),
            reports_queue: variables.required("REPORTS_QUEUE_URL")?,
        })
    }

    /// The clients of a deployed function.
    ///
    /// # Errors
    /// None now; the form is that of every function.
    pub async fn deps(self) -> anyhow::Result<Deps> {
        let aws = Aws::from_env().await;
        let bucket = Bucket::new(aws.s3, self.bucket);
        let clock = Clock::system();
        let metrics = Metrics::to_cloudwatch(self.service, clock.clone());
        let catalog = Arc::new(Catalog::built_in());
        Ok(Deps {
            catalogs: CatalogStore::new(bucket.clone(), Arc::clone(&catalog)),
            states: ShardStore::new(
                bucket.clone(),
                clock.clone(),
                Rng::system(),
                metrics.clone(),
            ),
            bucket,
            reports: Queue::new(aws.sqs, self.reports_queue),
            clock,
            catalog,
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
            panic!("read without its queue")
        };
        assert!(
            problem.to_string().contains("REPORTS_QUEUE_URL"),
            "{problem}"
        );
    }
}
