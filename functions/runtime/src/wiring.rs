//! How the functions' dependencies are built, on Lambda and on one machine.
//!
//! Each function builds its own `Deps` from a [`Wiring`]. On Lambda a part is read from the
//! environment when a function asks for it, so that a function needs only the variables of the parts
//! that it uses. On one machine the host supplies every part.

use std::sync::Arc;

use darkroom::{chain, models::Catalog};
use gemini::Gemini;
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    proxies::Proxies,
    rng::Rng,
};

use crate::{
    announcer::Announcer, aws::Aws, bucket::Bucket, catalog_store::CatalogStore,
    folder_store::FolderStore, lazy::Lazy, ledger_store::LedgerStore, metrics::Metrics,
    outbox_store::OutboxStore, parameter, queue::Queue, settings::StackSettings,
    shard_queues::ShardQueues, shard_store::ShardStore, upload_store::UploadStore,
};

/// The parts that functions share.
#[derive(Clone)]
pub struct Wiring {
    /// The bucket of manifests and jobs.
    pub bucket: Bucket,
    /// The time.
    pub clock: Clock,
    /// Write ids and jitter.
    pub rng: Rng,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
    /// The catalog that is built into the program.
    pub catalog: Lazy<Arc<Catalog>>,
    /// The settings of the deployment.
    pub settings: StackSettings,
    catalogs: CatalogStore,
    folders: FolderStore,
    sqs: Lazy<aws_sdk_sqs::Client>,
    services: Services,
}

/// The parts that the host of one machine supplies.
pub struct HostParts {
    /// The bucket of manifests and jobs.
    pub bucket: Bucket,
    /// A client of the queues.
    pub sqs: aws_sdk_sqs::Client,
    /// What precedes a queue's name in its URL, with the slash.
    pub queue_url_prefix: String,
    /// The Gemini client.
    pub gemini: Gemini,
    /// The time.
    pub clock: Clock,
    /// Write ids and jitter.
    pub rng: Rng,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
    /// The catalog that is built into the program.
    pub catalog: Arc<Catalog>,
    /// The settings of the deployment.
    pub settings: StackSettings,
}

/// Where the queues and the Gemini API are.
#[derive(Clone)]
enum Services {
    /// The environment variables have the URLs and the settings.
    Lambda(Variables),
    /// The host supplied them.
    Host {
        queue_url_prefix: String,
        gemini: Gemini,
    },
}

/// Why a function's dependencies can't be built. It is an error of the deployment.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// A variable is missing or can't be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The variable with the URL of a queue is missing.
    #[error("environment variable {0} is not set")]
    QueueUrl(String),
    /// No Gemini client can be built from the variables.
    #[error(transparent)]
    Gemini(#[from] gemini::SettingsError),
}

impl Wiring {
    /// The parts of a deployed function, whose environment is `variables`.
    ///
    /// # Errors
    /// [`WiringError`] when `BUCKET` is missing, or a setting can't be read.
    pub async fn on_lambda(variables: Variables) -> Result<Self, WiringError> {
        let aws = Aws::from_env().await;
        Self::from_variables(variables, aws)
    }

    fn from_variables(variables: Variables, aws: Aws) -> Result<Self, WiringError> {
        let bucket = Bucket::new(aws.s3, variables.required("BUCKET")?);
        let catalog = Lazy::new(|| Arc::new(Catalog::built_in()));
        let clock = Clock::system();
        Ok(Self {
            settings: StackSettings::read(&variables)?,
            metrics: Metrics::to_cloudwatch(variables.service(), clock.clone()),
            rng: Rng::system(),
            clock,
            catalogs: CatalogStore::new(bucket.clone(), catalog.clone()),
            folders: FolderStore::new(bucket.clone()),
            catalog,
            bucket,
            sqs: aws.sqs,
            services: Services::Lambda(variables),
        })
    }

    /// The parts of all functions on one machine.
    pub fn on_host(parts: HostParts) -> Self {
        let catalog = Lazy::from(parts.catalog);
        Self {
            catalogs: CatalogStore::new(parts.bucket.clone(), catalog.clone()),
            folders: FolderStore::new(parts.bucket.clone()),
            bucket: parts.bucket,
            clock: parts.clock,
            rng: parts.rng,
            metrics: parts.metrics,
            catalog,
            settings: parts.settings,
            sqs: parts.sqs.into(),
            services: Services::Host {
                queue_url_prefix: parts.queue_url_prefix,
                gemini: parts.gemini,
            },
        }
    }

    /// The queue of the chain with this name: see [`darkroom::chain`].
    ///
    /// # Errors
    /// [`WiringError::QueueUrl`] on Lambda, when the queue's variable is missing.
    pub fn queue(&self, name: &str) -> Result<Queue, WiringError> {
        let url = match &self.services {
            Services::Lambda(variables) => {
                let variable = chain::url_variable(name);
                variables
                    .optional(&variable)
                    .ok_or(WiringError::QueueUrl(variable))?
            }
            Services::Host {
                queue_url_prefix, ..
            } => format!("{queue_url_prefix}{name}"),
        };
        Ok(Queue::new(self.sqs.clone(), url))
    }

    /// The queues of all functions that move shards on, and of `report`.
    ///
    /// # Errors
    /// [`WiringError::QueueUrl`] on Lambda, when the variable of one of them is missing.
    pub fn shard_queues(&self) -> Result<ShardQueues, WiringError> {
        Ok(ShardQueues {
            shards: self.queue(chain::SHARDS)?,
            polls: self.queue(chain::POLLS)?,
            results: self.queue(chain::RESULTS)?,
            generations: self.queue(chain::GENERATIONS)?,
            reports: self.queue(chain::REPORTS)?,
        })
    }

    /// What announces events to `notify`, if the deployment has a target for them.
    ///
    /// # Errors
    /// [`WiringError::QueueUrl`] on Lambda, when the queue's variable is missing.
    pub fn announcer(&self) -> Result<Announcer, WiringError> {
        if !self.settings.announces_events {
            return Ok(Announcer::off());
        }
        let notifications = self.queue(chain::NOTIFICATIONS)?;
        Ok(Announcer::new(self.bucket.clone(), notifications))
    }

    /// A client of the Gemini API.
    ///
    /// # Errors
    /// [`WiringError`] on Lambda, when the API key is missing, or a client can't be built from the
    /// variables.
    pub fn gemini(&self) -> Result<Gemini, WiringError> {
        match &self.services {
            Services::Lambda(variables) => {
                let settings = parameter::gemini_settings(variables)?;
                Ok(Gemini::over_https(settings)?)
            }
            Services::Host { gemini, .. } => Ok(gemini.clone()),
        }
    }

    /// The proxies for connections to public hosts: on Lambda, those in the environment. The host
    /// has given them to what connects.
    ///
    /// # Errors
    /// [`WiringError`] on Lambda, when a variable can't be read.
    pub fn proxies(&self) -> Result<Proxies, WiringError> {
        match &self.services {
            Services::Lambda(variables) => Ok(Proxies::from_variables(variables)?),
            Services::Host { .. } => Ok(Proxies::default()),
        }
    }

    /// The shard states.
    pub fn shard_store(&self) -> ShardStore {
        ShardStore::new(
            self.bucket.clone(),
            self.clock.clone(),
            self.rng.clone(),
            self.metrics.clone(),
        )
    }

    /// The ledger.
    pub fn ledger_store(&self) -> LedgerStore {
        LedgerStore::new(self.bucket.clone(), self.rng.clone())
    }

    /// The records of sent events.
    pub fn outbox_store(&self) -> OutboxStore {
        OutboxStore::new(self.bucket.clone(), self.rng.clone())
    }

    /// The records of uploaded reference pictures.
    pub fn upload_store(&self) -> UploadStore {
        UploadStore::new(self.bucket.clone(), self.rng.clone())
    }

    /// The folders of tenants.
    pub fn folder_store(&self) -> FolderStore {
        self.folders.clone()
    }

    /// The catalogs of the deployment and of its jobs.
    pub fn catalog_store(&self) -> CatalogStore {
        self.catalogs.clone()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::BehaviorVersion;

    use super::*;

    fn wiring(variables: &[(&str, &str)]) -> Result<Wiring, WiringError> {
        let version = BehaviorVersion::latest();
        let s3 = aws_sdk_s3::Config::builder().behavior_version(version);
        let sqs = aws_sdk_sqs::Config::builder().behavior_version(version);
        let aws = Aws {
            s3: aws_sdk_s3::Client::from_conf(s3.build()).into(),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()).into(),
        };
        Wiring::from_variables(variables.iter().copied().collect(), aws)
    }

    /// The message of the error.
    fn refusal<T>(built: Result<T, WiringError>) -> String {
        built.err().map(|error| error.to_string()).unwrap()
    }

    #[test]
    fn names_a_missing_bucket() {
        assert_eq!(
            refusal(wiring(&[])),
            "environment variable BUCKET is not set"
        );
    }

    #[test]
    fn names_the_missing_variable_of_a_queue() {
        let wiring = wiring(&[("BUCKET", "studio"), ("POLLS_QUEUE_URL", "")]).unwrap();
        for (queue, variable) in [
            (chain::MANIFESTS, "MANIFESTS_QUEUE_URL"),
            (chain::SHARDS, "SHARDS_QUEUE_URL"),
            (chain::POLLS, "POLLS_QUEUE_URL"),
            (chain::RESULTS, "RESULTS_QUEUE_URL"),
            (chain::GENERATIONS, "GENERATIONS_QUEUE_URL"),
            (chain::REPORTS, "REPORTS_QUEUE_URL"),
            (chain::THUMBNAILS, "THUMBNAILS_QUEUE_URL"),
            (chain::CONTROLS, "CONTROLS_QUEUE_URL"),
            (chain::NOTIFICATIONS, "NOTIFICATIONS_QUEUE_URL"),
        ] {
            assert_eq!(
                refusal(wiring.queue(queue)),
                format!("environment variable {variable} is not set")
            );
        }
        let missing = refusal(wiring.shard_queues());
        assert!(missing.contains("SHARDS_QUEUE_URL"), "{missing}");
    }

    #[test]
    fn needs_the_variables_of_the_parts_that_are_asked_for_and_no_others() {
        let wiring = wiring(&[
            ("BUCKET", "studio"),
            ("REPORTS_QUEUE_URL", "https://queues/reports"),
        ])
        .unwrap();
        assert!(wiring.queue(chain::REPORTS).is_ok());
        let missing = refusal(wiring.gemini());
        assert!(missing.contains("GEMINI_API_KEY"), "{missing}");
    }
}
