//! A bucket's notification configuration: which queue is notified of which new objects.
//!
//! A configuration is always replaced as a whole
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html>,
//! read 2026-11). The stand-in supports queues as the only targets and object creation as the only
//! event.

use s3s::{
    S3Result,
    dto::{
        FilterRule, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter,
        QueueConfiguration, S3KeyFilter,
    },
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::notification::Created;
use crate::queue::queue_arn;

/// A rule that applies to a bucket until its configuration is replaced through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRule {
    /// The bucket's name.
    pub bucket: String,
    /// The event, such as `s3:ObjectCreated:Put`, or `s3:ObjectCreated:*` for all of them.
    pub events: String,
    /// The prefix of the keys; empty for all keys.
    pub prefix: String,
    /// The suffix of the keys; empty for all keys.
    pub suffix: String,
    /// The name of the queue that is notified.
    pub queue: String,
}

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueRule {
    pub(super) id: String,
    events: Vec<String>,
    prefix: String,
    suffix: String,
    /// The queue's name.
    pub(super) queue: String,
}

impl From<NotificationRule> for QueueRule {
    fn from(rule: NotificationRule) -> Self {
        let NotificationRule {
            bucket: _,
            events,
            prefix,
            suffix,
            queue,
        } = rule;
        Self {
            id: "darkroom".to_owned(),
            events: vec![events],
            prefix,
            suffix,
            queue,
        }
    }
}

impl QueueRule {
    /// Parses the rules of a configuration in the form of the API.
    ///
    /// # Errors
    /// `InvalidArgument` for what S3 refuses as well: unknown events and filters, queue ARNs that
    /// are malformed or of another account, and overlapping rules. `NotImplemented` for topics,
    /// functions and event buses.
    pub(super) fn parse_all(configuration: NotificationConfiguration) -> S3Result<Vec<Self>> {
        let NotificationConfiguration {
            event_bridge_configuration,
            lambda_function_configurations,
            queue_configurations,
            topic_configurations,
        } = configuration;
        // A target that is silently ignored would lose notifications, so it is refused.
        if event_bridge_configuration.is_some()
            || !lambda_function_configurations
                .unwrap_or_default()
                .is_empty()
            || !topic_configurations.unwrap_or_default().is_empty()
        {
            return Err(s3_error!(
                NotImplemented,
                "Only queues are supported as notification targets."
            ));
        }
        let mut rules: Vec<Self> = Vec::new();
        for (number, configuration) in queue_configurations
            .unwrap_or_default()
            .into_iter()
            .enumerate()
        {
            let rule = Self::parse(configuration, number)?;
            if rules.iter().any(|other| other.overlaps(&rule)) {
                return Err(s3_error!(
                    InvalidArgument,
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                ));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn parse(configuration: QueueConfiguration, number: usize) -> S3Result<Self> {
        let QueueConfiguration {
            events,
            filter,
            id,
            queue_arn: arn,
        } = configuration;
        let queue = arn
            .strip_prefix(&queue_arn(""))
            .filter(|name| !name.is_empty());
        let queue = queue
            .ok_or_else(|| {
                s3_error!(
                    InvalidArgument,
                    "The ARN is not that of a queue in this account."
                )
            })?
            .to_owned();
        // A rule needs at least one event, and each must be known.
        let id = id.unwrap_or_else(|| format!("notification-{number}"));
        let events: Vec<_> = events.into_iter().map(String::from).collect();
        if events.is_empty()
            || events
                .iter()
                .any(|event| Created::ALL.iter().all(|created| !covers(event, *created)))
        {
            return Err(s3_error!(
                InvalidArgument,
                "A specified event is not supported for notifications."
            ));
        }
        // S3 accepts at most one prefix and one suffix, with names in any case.
        let (mut prefix, mut suffix) = (None, None);
        let filters = filter
            .and_then(|filter| filter.key)
            .and_then(|key| key.filter_rules)
            .unwrap_or_default();
        for FilterRule { name, value } in filters {
            let name = name
                .map(|name| name.as_str().to_ascii_lowercase())
                .unwrap_or_default();
            let part = match name.as_str() {
                FilterRuleName::PREFIX => &mut prefix,
                FilterRuleName::SUFFIX => &mut suffix,
                _ => {
                    return Err(s3_error!(
                        InvalidArgument,
                        "filter rule name must be either prefix or suffix"
                    ));
                }
            };
            if part.replace(value.unwrap_or_default()).is_some() {
                return Err(s3_error!(
                    InvalidArgument,
                    "Cannot specify more than one {} rule in a filter.",
                    name
                ));
            }
        }
        Ok(Self {
            id,
            events,
            prefix: prefix.unwrap_or_default(),
            suffix: suffix.unwrap_or_default(),
            queue,
        })
    }

    /// Returns the rule in the form of the API.
    pub(super) fn to_dto(&self) -> QueueConfiguration {
        let part = |name: &'static str, value: &str| FilterRule {
            name: Some(FilterRuleName::from_static(name)),
            value: Some(value.to_owned()),
        };
        let rules = vec![
            part(FilterRuleName::PREFIX, &self.prefix),
            part(FilterRuleName::SUFFIX, &self.suffix),
        ];
        QueueConfiguration {
            events: self.events.iter().cloned().map(Into::into).collect(),
            filter: Some(NotificationConfigurationFilter {
                key: Some(S3KeyFilter {
                    filter_rules: Some(rules),
                }),
            }),
            id: Some(self.id.clone()),
            queue_arn: queue_arn(&self.queue),
        }
    }

    /// Whether the rule matches a new object.
    pub(super) fn matches(&self, created: Created, key: &str) -> bool {
        self.events.iter().any(|event| covers(event, created))
            && key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
    }

    /// Whether one object can match both rules
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html>,
    /// read 2026-11).
    fn overlaps(&self, other: &Self) -> bool {
        let both = |created: &Created| {
            [self, other]
                .iter()
                .all(|rule| rule.events.iter().any(|event| covers(event, *created)))
        };
        let (prefix, suffix) = (self.prefix.as_str(), self.suffix.as_str());
        Created::ALL.iter().any(both)
            && (prefix.starts_with(&other.prefix) || other.prefix.starts_with(prefix))
            && (suffix.ends_with(&other.suffix) || other.suffix.ends_with(suffix))
    }
}

/// Whether a rule's event includes this way of creating an object.
fn covers(event: &str, created: Created) -> bool {
    let Some(event) = event.strip_prefix("s3:") else {
        return false;
    };
    event == "ObjectCreated:*" || event == created.name()
}

#[cfg(test)]
mod tests {
    use s3s::{S3ErrorCode, dto::Event};

    use super::*;

    fn configuration(events: &[&str], filters: &[(&str, &str)]) -> QueueConfiguration {
        let rule = |(name, value): &(&str, &str)| FilterRule {
            name: Some(FilterRuleName::from((*name).to_owned())),
            value: Some((*value).to_owned()),
        };
        let key = S3KeyFilter {
            filter_rules: Some(filters.iter().map(rule).collect()),
        };
        QueueConfiguration {
            events: events
                .iter()
                .map(|event| Event::from((*event).to_owned()))
                .collect(),
            filter: Some(NotificationConfigurationFilter { key: Some(key) }),
            id: None,
            queue_arn: queue_arn("queue"),
        }
    }

    fn parse(configurations: &[QueueConfiguration]) -> S3Result<Vec<QueueRule>> {
        let queue_configurations = Some(configurations.to_vec());
        QueueRule::parse_all(NotificationConfiguration {
            queue_configurations,
            ..NotificationConfiguration::default()
        })
    }

    #[test]
    fn rule_matches_by_event_prefix_and_suffix() {
        let matches = |event: &str, prefix: &str, suffix: &str| {
            let rules = parse(&[configuration(
                &[event],
                &[("Prefix", prefix), ("suffix", suffix)],
            )])
            .unwrap();
            rules[0].matches(Created::Put, "inbox/a b.json")
        };
        assert!(matches("s3:ObjectCreated:*", "inbox/", ".json"));
        assert!(matches("s3:ObjectCreated:Put", "", ""));
        assert!(!matches("s3:ObjectCreated:Copy", "", ""));
        assert!(!matches("s3:ObjectCreated:*", "outbox/", ""));
        assert!(!matches("s3:ObjectCreated:*", "", ".csv"));
    }

    #[test]
    fn rules_round_trip_through_the_api() {
        let events = ["s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"];
        let rules = parse(&[configuration(&events, &[("prefix", "inbox/")])]).unwrap();
        assert_eq!(parse(&[rules[0].to_dto()]).unwrap(), rules);
    }

    #[test]
    fn rules_that_can_match_the_same_object_overlap() {
        let rule = |event, prefix, suffix| {
            configuration(&[event], &[("prefix", prefix), ("suffix", suffix)])
        };
        let all = "s3:ObjectCreated:*";
        let inbox = rule(all, "inbox/", ".json");
        for apart in [rule(all, "outbox/", ".json"), rule(all, "inbox/a", ".csv")] {
            assert!(parse(&[inbox.clone(), apart]).is_ok());
        }
        let (put, copy) = (
            rule("s3:ObjectCreated:Put", "", ""),
            rule("s3:ObjectCreated:Copy", "", ""),
        );
        assert!(parse(&[put.clone(), copy]).is_ok());
        for other in [rule(all, "inbox/a", "s.json"), rule(all, "", ""), put] {
            assert_eq!(
                *parse(&[inbox.clone(), other]).unwrap_err().code(),
                S3ErrorCode::InvalidArgument
            );
        }
    }

    #[test]
    fn unsupported_events_filters_and_targets_are_refused() {
        let elsewhere = QueueConfiguration {
            queue_arn: "arn:aws:sns:x".to_owned(),
            ..configuration(&[], &[])
        };
        for refused in [
            configuration(&["s3:ObjectRemoved:*"], &[]),
            configuration(&["ObjectCreated:Put"], &[]),
            configuration(&[], &[]),
            configuration(&["s3:ObjectCreated:*"], &[("middle", "x")]),
            configuration(&["s3:ObjectCreated:*"], &[("prefix", "x"), ("prefix", "y")]),
            QueueConfiguration {
                events: configuration(&["s3:ObjectCreated:*"], &[]).events,
                ..elsewhere
            },
        ] {
            assert_eq!(
                *parse(&[refused]).unwrap_err().code(),
                S3ErrorCode::InvalidArgument
            );
        }
    }
}
