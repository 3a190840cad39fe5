//! The settings of a deployment.

use std::{fmt::Display, str::FromStr};

use darkroom::{
    image_url::ImageBaseUrl,
    job::{self, ShardLimits},
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    money::Usd,
    settings::{
        Bounds, CollectLimits, DailyCap, FLEX_PATIENCE_MINUTES, GENERATE_IN_FLIGHT, GenerateLimits,
        MaxLiveBatches, POLL_LONGEST_SECONDS, POLL_SHORTEST_SECONDS, PollBackoff, QuietPeriod,
        SHARD_INPUT_BYTES, SHARD_REQUESTS, SHARD_RESPONSE_BYTES, SHARD_TOKENS,
    },
};
use jiff::SignedDuration;
use seam::environment::{VariableError, Variables};

use crate::{
    event_targets::{EventTargets, SecretSource, WebhookTarget},
    lazy::Lazy,
};

/// The settings of a deployment. On Lambda they are read from the environment; on one machine the
/// host supplies them.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// The first part of the display names of this deployment's batches.
    pub stack: String,
    /// The settings of every job. They are part of a job's identity.
    pub job: job::JobSettings,
    /// The limits of the Gemini project. Some of them are from the built-in catalog, which takes
    /// time to parse.
    pub project: Lazy<ProjectLimits>,
    /// The paid tier of the Gemini project, from which the limits of further catalogs follow.
    pub tier: Tier,
    /// How long to wait, after a create call with unknown outcome, before looking for its batch.
    pub quiet_period: QuietPeriod,
    /// How long to wait between two status requests for a batch.
    pub poll_backoff: PollBackoff,
    /// How fast images of the synchronous lanes are requested.
    pub generate_limits: GenerateLimits,
    /// Where the objects of the bucket are served on the web, if they are. It is not part of a
    /// job's identity.
    pub image_base_url: Option<ImageBaseUrl>,
    /// Whether the deployment has a target for events. The functions that announce events need to
    /// know no more.
    pub announces_events: bool,
    /// Where `notify` sends events to.
    pub event_targets: EventTargets,
    /// How fast images are collected, and how often progress is recorded. No variable changes them.
    pub collect_limits: CollectLimits,
}

impl StackSettings {
    /// Reads the settings from the environment. Every variable has a default.
    ///
    /// # Errors
    /// [`VariableError`] names the first variable that can't be read.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        Ok(Self {
            stack: stack(variables)?,
            job: job(variables)?,
            project: project(variables)?,
            tier: tier(variables)?,
            quiet_period: quiet_period(variables)?,
            poll_backoff: poll_backoff(variables)?,
            generate_limits: generate_limits(variables)?,
            image_base_url: image_base_url(variables)?,
            announces_events: announces_events(variables)?,
            event_targets: event_targets(variables)?,
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
            requests: bounded(variables, "SHARD_REQUESTS", SHARD_REQUESTS)?
                .unwrap_or(defaults.shard.requests),
            input_bytes: bounded(variables, "SHARD_INPUT_BYTES", SHARD_INPUT_BYTES)?
                .unwrap_or(defaults.shard.input_bytes),
            response_bytes: bounded(variables, "SHARD_RESPONSE_BYTES", SHARD_RESPONSE_BYTES)?
                .unwrap_or(defaults.shard.response_bytes),
            tokens: bounded(variables, "SHARD_TOKENS", SHARD_TOKENS)?
                .unwrap_or(defaults.shard.tokens),
        },
    })
}

fn project(variables: &Variables) -> Result<Lazy<ProjectLimits>, VariableError> {
    let live_batches = variables.parsed("MAX_LIVE_BATCHES", MaxLiveBatches::default())?;
    let daily_usd = variables.optional_parsed::<DailyCap>("DAILY_CAP_USD")?;
    let tier = tier(variables)?;
    Ok(Lazy::new(move || ProjectLimits {
        live_batches,
        enqueued_tokens: Catalog::built_in().enqueued_tokens(tier),
        daily_usd: daily_usd.map(Usd::from),
        folders: FolderCaps::default(),
    }))
}

fn tier(variables: &Variables) -> Result<Tier, VariableError> {
    variables.parsed("GEMINI_TIER", Tier::default())
}

fn quiet_period(variables: &Variables) -> Result<QuietPeriod, VariableError> {
    variables.parsed("QUIET_PERIOD_MINUTES", QuietPeriod::default())
}

fn poll_backoff(variables: &Variables) -> Result<PollBackoff, VariableError> {
    let shortest = bounded(variables, "POLL_SHORTEST_SECONDS", POLL_SHORTEST_SECONDS)?
        .unwrap_or(PollBackoff::DEFAULT_SHORTEST_SECONDS);
    let longest = bounded(variables, "POLL_LONGEST_SECONDS", POLL_LONGEST_SECONDS)?
        .unwrap_or(PollBackoff::DEFAULT_LONGEST_SECONDS);
    // Both are within their bounds, so what is wrong here is their order.
    PollBackoff::from_seconds(shortest, longest).map_err(|_| VariableError::Malformed {
        name: "POLL_SHORTEST_SECONDS",
        problem: "it is larger than POLL_LONGEST_SECONDS".to_owned(),
    })
}

fn generate_limits(variables: &Variables) -> Result<GenerateLimits, VariableError> {
    let defaults = GenerateLimits::default();
    let patience = bounded(variables, "FLEX_PATIENCE_MINUTES", FLEX_PATIENCE_MINUTES)?;
    Ok(GenerateLimits {
        in_flight: bounded(variables, "GENERATE_IN_FLIGHT", GENERATE_IN_FLIGHT)?
            .unwrap_or(defaults.in_flight),
        flex_patience: patience.map_or(defaults.flex_patience, |minutes| {
            SignedDuration::from_mins(minutes.into())
        }),
        ..defaults
    })
}

fn image_base_url(variables: &Variables) -> Result<Option<ImageBaseUrl>, VariableError> {
    variables.optional_parsed("IMAGE_BASE_URL")
}

fn announces_events(variables: &Variables) -> Result<bool, VariableError> {
    variables.parsed("ANNOUNCE_EVENTS", false)
}

/// Reads where events are sent to. The command reads it alone, for the host of one machine.
///
/// # Errors
/// [`VariableError`] if the address of the webhook is invalid, or its secret is missing.
pub fn event_targets(variables: &Variables) -> Result<EventTargets, VariableError> {
    let url = variables.optional_parsed("WEBHOOK_URL")?;
    let (given, stored) = ("WEBHOOK_SECRET", "WEBHOOK_SECRET_PARAMETER");
    let secret = match (variables.optional(given), variables.optional(stored)) {
        (Some(_), Some(_)) => {
            return Err(VariableError::Malformed {
                name: stored,
                problem: format!("{given} is set too: set one of them"),
            });
        }
        (Some(secret), None) => Some(SecretSource::Given(secret)),
        (None, name) => name.map(SecretSource::Parameter),
    };
    Ok(EventTargets {
        bus: variables.optional("EVENT_BUS_NAME"),
        topic: variables.optional("EVENT_TOPIC_ARN"),
        // A receiver can't tell a request without a signature from one of anyone else.
        webhook: match url {
            None => None,
            Some(url) => Some(WebhookTarget {
                url,
                secret: secret.ok_or(VariableError::Missing(stored))?,
            }),
        },
    })
}

/// A variable that is a whole number within `bounds`, if it is set.
fn bounded<T: Copy + PartialOrd + Display + FromStr>(
    variables: &Variables,
    name: &'static str,
    bounds: Bounds<T>,
) -> Result<Option<T>, VariableError> {
    variables
        .optional(name)
        .map(|text| bounds.parse(&text))
        .transpose()
        .map_err(|error| VariableError::Malformed {
            name,
            problem: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use darkroom::{job::HttpsReferences, settings::MaxRounds};
    use jiff::SignedDuration;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<StackSettings, VariableError> {
        StackSettings::read(&variables.iter().copied().collect())
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
                max_rounds: MaxRounds::new(1).unwrap(),
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
            *settings.project,
            ProjectLimits {
                live_batches: MaxLiveBatches::new(7).unwrap(),
                enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::Two),
                daily_usd: Some("12.50".parse().unwrap()),
                folders: FolderCaps::default(),
            }
        );
        let defaults = read(&[("DAILY_CAP_USD", "")]).unwrap().project;
        assert_eq!(
            (defaults.daily_usd, defaults.live_batches.get()),
            (None, 100)
        );
    }

    #[test]
    fn the_address_of_images_is_empty_or_an_https_address() {
        let base = |value| read(&[("IMAGE_BASE_URL", value)]).map(|read| read.image_base_url);
        assert_eq!(base("").unwrap(), None);
        let address = "https://cdn.example.com";
        assert_eq!(base(address).unwrap(), Some(address.parse().unwrap()));
        let refusal = refusal(&[("IMAGE_BASE_URL", "http://cdn.example.com")]);
        assert!(
            refusal.contains("IMAGE_BASE_URL") && refusal.contains("https"),
            "{refusal}"
        );
    }

    #[test]
    fn events_have_no_target_by_default() {
        let settings = read(&[("WEBHOOK_SECRET_PARAMETER", "/darkroom/webhook")]).unwrap();
        assert!(!settings.announces_events);
        let EventTargets {
            bus,
            topic,
            webhook,
        } = settings.event_targets;
        assert!(bus.is_none() && topic.is_none() && webhook.is_none());
    }

    #[test]
    fn a_webhook_needs_exactly_one_secret() {
        let url = ("WEBHOOK_URL", "https://example.com/hooks");
        let (given, stored) = (
            ("WEBHOOK_SECRET", "whsec_canary"),
            ("WEBHOOK_SECRET_PARAMETER", "/a"),
        );
        assert!(read(&[url, given]).unwrap().event_targets.webhook.is_some());
        assert!(
            read(&[url, stored])
                .unwrap()
                .event_targets
                .webhook
                .is_some()
        );
        for (variables, problem) in [
            (vec![url], "WEBHOOK_SECRET_PARAMETER is not set"),
            (vec![url, given, stored], "set one of them"),
            (vec![("WEBHOOK_URL", "http://example.com"), given], "https"),
        ] {
            let refusal = refusal(&variables);
            assert!(
                refusal.contains(problem) && !refusal.contains("canary"),
                "{refusal}"
            );
        }
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
            read(&[("POLL_SHORTEST_SECONDS", "12")])
                .unwrap()
                .poll_backoff
                .shortest(),
            SignedDuration::from_secs(12)
        );
    }

    #[test]
    fn names_a_setting_that_is_out_of_bounds_and_its_bounds() {
        for (variable, value, bounds) in [
            ("QUIET_PERIOD_MINUTES", "0", "20 to 600"),
            ("POLL_SHORTEST_SECONDS", "1", "10 or more"),
            ("POLL_LONGEST_SECONDS", "1", "180 to 43000"),
            ("MAX_ROUNDS", "10", "1 to 9"),
            ("MAX_LIVE_BATCHES", "0", "1 to 100"),
            ("SHARD_REQUESTS", "0", "1 to 100000"),
            ("SHARD_TOKENS", "0", "10000 or more"),
            ("DAILY_CAP_USD", "0", "above zero"),
            (
                "POLL_SHORTEST_SECONDS",
                "901",
                "larger than POLL_LONGEST_SECONDS",
            ),
        ] {
            let refusal = refusal(&[(variable, value)]);
            assert!(
                refusal.contains(variable) && refusal.contains(bounds),
                "{refusal}"
            );
        }
    }

    #[test]
    fn names_a_setting_that_is_malformed() {
        let refusal = refusal(&[("SHARD_REQUESTS", "many")]);
        assert!(refusal.contains("SHARD_REQUESTS"), "{refusal}");
    }
}
