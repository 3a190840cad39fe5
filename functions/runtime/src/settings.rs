//! The settings of a deployment.

use darkroom::{
    job::{self, ShardLimits},
    ledger::ProjectLimits,
    models::{Catalog, Tier},
    settings::{CollectLimits, PollBackoff},
    state::QUIET_PERIOD,
};
use jiff::SignedDuration;
use seam::environment::{VariableError, Variables};

/// The settings of a deployment. On Lambda they are read from the environment; on one machine the
/// host supplies them.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// The first part of the display names of this deployment's batches.
    pub stack: String,
    /// The settings of every job. They are part of a job's identity.
    pub job: job::JobSettings,
    /// The limits of the Gemini project.
    pub project: ProjectLimits,
    /// The paid tier of the Gemini project, from which the limits of further catalogs follow.
    pub tier: Tier,
    /// How long to wait, after a create call with unknown outcome, before looking for its batch.
    pub quiet_period: SignedDuration,
    /// How long to wait between two status requests for a batch.
    pub poll_backoff: PollBackoff,
    /// How fast images are collected, and how often progress is recorded. No variable changes them.
    pub collect_limits: CollectLimits,
}

impl StackSettings {
    /// Reads the settings from the environment. Every variable has a default. `catalog` holds the
    /// limits of each tier.
    ///
    /// # Errors
    /// [`VariableError`] names the first variable that can't be read.
    pub fn read(variables: &Variables, catalog: &Catalog) -> Result<Self, VariableError> {
        Ok(Self {
            stack: stack(variables)?,
            job: job(variables)?,
            project: project(variables, catalog)?,
            tier: tier(variables)?,
            quiet_period: quiet_period(variables)?,
            poll_backoff: poll_backoff(variables)?,
            collect_limits: CollectLimits::default(),
        })
    }
}

// Each function below reads the setting that has its name: tests/template.py compares the variables
// here with those that the template gives to the functions that use the setting.

fn stack(variables: &Variables) -> Result<String, VariableError> {
    variables.parsed("STACK", "darkroom".to_owned())
}

fn job(variables: &Variables) -> Result<job::JobSettings, VariableError> {
    let defaults = job::JobSettings::default();
    Ok(job::JobSettings {
        default_model: variables.parsed("DEFAULT_MODEL", defaults.default_model)?,
        allow_retired_models: variables
            .parsed("ALLOW_RETIRED_MODELS", defaults.allow_retired_models)?,
        allow_unknown_models: variables
            .parsed("ALLOW_UNKNOWN_MODELS", defaults.allow_unknown_models)?,
        https_references: variables.parsed("HTTPS_REFERENCES", defaults.https_references)?,
        max_rounds: variables.parsed("MAX_ROUNDS", defaults.max_rounds)?,
        shard: ShardLimits {
            requests: variables.parsed("SHARD_REQUESTS", defaults.shard.requests)?,
            input_bytes: variables.parsed("SHARD_INPUT_BYTES", defaults.shard.input_bytes)?,
            response_bytes: variables
                .parsed("SHARD_RESPONSE_BYTES", defaults.shard.response_bytes)?,
            tokens: variables.parsed("SHARD_TOKENS", defaults.shard.tokens)?,
        },
    })
}

fn project(variables: &Variables, catalog: &Catalog) -> Result<ProjectLimits, VariableError> {
    Ok(ProjectLimits {
        live_batches: variables.parsed("MAX_LIVE_BATCHES", 100)?,
        enqueued_tokens: catalog.enqueued_tokens(tier(variables)?),
        daily_usd: variables.optional_parsed("DAILY_CAP_USD")?,
    })
}

fn tier(variables: &Variables) -> Result<Tier, VariableError> {
    variables.parsed("GEMINI_TIER", Tier::default())
}

fn quiet_period(variables: &Variables) -> Result<SignedDuration, VariableError> {
    let minutes: Option<u32> = variables.optional_parsed("QUIET_PERIOD_MINUTES")?;
    Ok(minutes.map_or(QUIET_PERIOD, |minutes| {
        SignedDuration::from_mins(minutes.into())
    }))
}

fn poll_backoff(variables: &Variables) -> Result<PollBackoff, VariableError> {
    let defaults = PollBackoff::default();
    let seconds = |name, default: SignedDuration| {
        let seconds: Option<u32> = variables.optional_parsed(name)?;
        Ok(seconds.map_or(default, |seconds| SignedDuration::from_secs(seconds.into())))
    };
    Ok(PollBackoff {
        shortest: seconds("POLL_SHORTEST_SECONDS", defaults.shortest)?,
        longest: seconds("POLL_LONGEST_SECONDS", defaults.longest)?,
    })
}

#[cfg(test)]
mod tests {
    use darkroom::job::HttpsReferences;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<StackSettings, VariableError> {
        StackSettings::read(&variables.iter().copied().collect(), &Catalog::built_in())
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        read(variables)
            .err()
            .map(|error| error.to_string())
            .unwrap()
    }

    #[test]
    fn job_settings_have_defaults_and_can_be_set() {
        assert_eq!(
            read(&[("MAX_ROUNDS", "1")]).unwrap().job,
            job::JobSettings {
                max_rounds: 1,
                ..job::JobSettings::default()
            }
        );
    }

    #[test]
    fn reads_the_limits_of_the_project() {
        let settings = read(&[
            ("DAILY_CAP_USD", "12.50"),
            ("GEMINI_TIER", "2"),
            ("MAX_LIVE_BATCHES", "7"),
        ])
        .unwrap();
        assert_eq!(settings.tier, Tier::Two);
        assert_eq!(
            settings.project,
            ProjectLimits {
                live_batches: 7,
                enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::Two),
                daily_usd: Some("12.50".parse().unwrap()),
            }
        );
        let defaults = read(&[("DAILY_CAP_USD", "")]).unwrap().project;
        assert_eq!((defaults.daily_usd, defaults.live_batches), (None, 100));
    }

    #[test]
    fn web_references_are_fetched_only_if_that_is_switched_on() {
        let https = |value| {
            read(&[("HTTPS_REFERENCES", value)]).map(|settings| settings.job.https_references)
        };
        assert_eq!(https("").unwrap(), HttpsReferences::Refuse);
        assert_eq!(https("refuse").unwrap(), HttpsReferences::Refuse);
        assert_eq!(https("allow").unwrap(), HttpsReferences::Allow);
        let refusal = refusal(&[("HTTPS_REFERENCES", "yes")]);
        assert!(refusal.contains("HTTPS_REFERENCES"), "{refusal}");
    }

    #[test]
    fn the_poll_backoff_has_defaults_and_can_be_set() {
        assert_eq!(read(&[]).unwrap().poll_backoff, PollBackoff::default());
        assert_eq!(
            read(&[("POLL_SHORTEST_SECONDS", "2")])
                .unwrap()
                .poll_backoff
                .shortest,
            SignedDuration::from_secs(2)
        );
    }

    #[test]
    fn names_a_setting_that_is_malformed() {
        let refusal = refusal(&[("SHARD_REQUESTS", "many")]);
        assert!(refusal.contains("SHARD_REQUESTS"), "{refusal}");
    }
}
