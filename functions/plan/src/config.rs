//! What `plan` is told by its environment.

use std::sync::Arc;

use darkroom::{
    job::{Settings, ShardLimits},
    ledger::ProjectLimits,
    manifest::Limits,
    models::{Catalog, Tier},
};
use runtime::{
    aws::Aws, bucket::Bucket, catalog_store::CatalogStore, metrics::Metrics, queue::Queue,
    shard_store::ShardStore,
};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    proxies::Proxies,
    rng::Rng,
};

use crate::{handler::Deps, web::Web};

/// The environment of `plan`.
#[derive(Debug)]
pub struct Config {
    /// `BUCKET`: where manifests and jobs are.
    pub bucket: String,
    /// `POWERTOOLS_SERVICE_NAME`: by which its metrics go. Default `darkroom`.
    pub service: String,
    /// `MANIFESTS_QUEUE_URL`: the queue that triggers it.
    pub manifests_queue: String,
    /// `SHARDS_QUEUE_URL`: where planned shards go.
    pub shards_queue: String,
    /// `DAILY_CAP_USD`, `GEMINI_TIER` and `MAX_LIVE_BATCHES`, as `submit` reads them: what batches
    /// are cut by.
    pub project: ProjectLimits,
    /// `GEMINI_TIER`: 1, 2 or 3. Default 1.
    pub tier: Tier,
    /// `DEFAULT_MODEL`, `ALLOW_RETIRED_MODELS`, `ALLOW_UNKNOWN_MODELS`, `HTTPS_REFERENCES` (`allow`
    /// or `refuse`), `MAX_ROUNDS`, `SHARD_REQUESTS`, `SHARD_INPUT_BYTES`, `SHARD_RESPONSE_BYTES`,
    /// `SHARD_TOKENS`: what holds for every job.
    pub settings: Settings,
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`: the proxies for reference pictures on the web.
    pub proxies: Proxies,
}

impl Config {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`VariableError`] names the first that is missing or malformed.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        let settings = Settings::default();
        let tier = variables.parsed("GEMINI_TIER", Tier::default())?;
        Ok(Self {
            project: ProjectLimits {
                live_batches: variables.parsed("MAX_LIVE_BATCHES", 100)?,
                enqueued_tokens: Catalog::built_in().enqueued_tokens(tier),
                daily_usd: variables.optional_parsed("DAILY_CAP_USD")?,
            },
            tier,
            proxies: Proxies::from_variables(variables)?,
            bucket: variables.required("BUCKET")?,
            service: variables.service(),
            manifests_queue: variables.required("MANIFESTS_QUEUE_URL")?,
            shards_queue: variables.required("SHARDS_QUEUE_URL")?,
            settings: Settings {
                default_model: variables.parsed("DEFAULT_MODEL", settings.default_model)?,
                allow_retired_models: variables
                    .parsed("ALLOW_RETIRED_MODELS", settings.allow_retired_models)?,
                allow_unknown_models: variables
                    .parsed("ALLOW_UNKNOWN_MODELS", settings.allow_unknown_models)?,
                https_references: variables
                    .parsed("HTTPS_REFERENCES", settings.https_references)?,
                max_rounds: variables.parsed("MAX_ROUNDS", settings.max_rounds)?,
                shard: ShardLimits {
                    requests: variables.parsed("SHARD_REQUESTS", settings.shard.requests)?,
                    input_bytes: variables
                        .parsed("SHARD_INPUT_BYTES", settings.shard.input_bytes)?,
                    response_bytes: variables
                        .parsed("SHARD_RESPONSE_BYTES", settings.shard.response_bytes)?,
                    tokens: variables.parsed("SHARD_TOKENS", settings.shard.tokens)?,
                },
            },
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
            states: ShardStore::new(bucket.clone(), clock.clone(), Rng::system(), metrics),
            bucket,
            manifests: Queue::new(aws.sqs.clone(), self.manifests_queue),
            shards: Queue::new(aws.sqs, self.shards_queue),
            clock,
            catalog,
            project: self.project,
            tier: self.tier,
            settings: self.settings,
            limits: Limits::default(),
            web: Web::over_https(self.proxies),
        })
    }
}

#[cfg(test)]
mod tests {
    use darkroom::job::HttpsReferences;

    use super::*;

    const NEEDED: [(&str, &str); 3] = [
        ("BUCKET", "b"),
        ("MANIFESTS_QUEUE_URL", "m"),
        ("SHARDS_QUEUE_URL", "s"),
    ];

    #[test]
    fn settings_have_defaults_and_are_read() {
        let variables: Variables = NEEDED.into_iter().chain([("MAX_ROUNDS", "1")]).collect();
        let config = Config::read(&variables).unwrap();
        assert_eq!(
            config.settings,
            Settings {
                max_rounds: 1,
                ..Settings::default()
            }
        );
    }

    #[test]
    fn what_the_project_allows_is_read_as_submit_reads_it() {
        let more = [
            ("DAILY_CAP_USD", "12.50"),
            ("GEMINI_TIER", "2"),
            ("MAX_LIVE_BATCHES", "7"),
        ];
        let variables: Variables = NEEDED.into_iter().chain(more).collect();
        let Config { project, tier, .. } = Config::read(&variables).unwrap();
        assert_eq!(
            (project.daily_usd, project.live_batches),
            (Some("12.50".parse().unwrap()), 7)
        );
        assert_eq!(
            (tier, project.enqueued_tokens),
            (Tier::Two, Catalog::built_in().enqueued_tokens(Tier::Two))
        );
        let without =
            Config::read(&NEEDED.into_iter().chain([("DAILY_CAP_USD", "")]).collect()).unwrap();
        assert_eq!(
            (without.project.daily_usd, without.project.live_batches),
            (None, 100)
        );
    }

    #[test]
    fn web_addresses_are_fetched_only_where_that_is_switched_on() {
        let https = |value| {
            let variables: Variables = NEEDED
                .into_iter()
                .chain([("HTTPS_REFERENCES", value)])
                .collect();
            Config::read(&variables).map(|config| config.settings.https_references)
        };
        assert_eq!(https("").unwrap(), HttpsReferences::Refuse);
        assert_eq!(https("refuse").unwrap(), HttpsReferences::Refuse);
        assert_eq!(https("allow").unwrap(), HttpsReferences::Allow);
        assert!(
            https("yes")
                .unwrap_err()
                .to_string()
                .contains("HTTPS_REFERENCES")
        );
    }

    #[test]
    fn a_malformed_setting_is_named() {
        let variables: Variables = NEEDED
            .into_iter()
            .chain([("SHARD_REQUESTS", "many")])
            .collect();
        let problem = Config::read(&variables).unwrap_err().to_string();
        assert!(problem.contains("SHARD_REQUESTS"), "{problem}");
    }
}
