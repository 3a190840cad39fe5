//! The alarms: whether they exist, and whether their notifications are received.

use std::collections::BTreeSet;

use darkroom::chain::CHAIN;
use runtime::aws_call::{AwsCall, AwsCallError, Service, xml_texts};
use serde_json::{Value, json};

use super::{Stack, check_of_all, functions, unanswered};
use crate::command::doctor::report::{Check, Verdict, foreign};

/// The alarms about the metrics that the functions write.
const METRIC_ALARMS: [&str; 8] = [
    "ShardsHeldAlarm",
    "PoisonLinesAlarm",
    "PrepaymentDepletedAlarm",
    "StaleShardsAlarm",
    "ExtraBatchesAlarm",
    "OrphanBatchesAlarm",
    "BlockedJobsAlarm",
    "SweepsAlarm",
];

/// The alarms about each queue and each function.
const QUEUE_ALARMS: [&str; 2] = ["DeadLettersAlarm", "OldestMessageAlarm"];
const FUNCTION_ALARMS: [&str; 3] = [
    "ErrorsAlarm",
    "ThrottlesAlarm",
    "RecursiveInvocationsDroppedAlarm",
];

/// The most pages of alarms that are read. A page has a hundred.
const MAX_PAGES: usize = 20;

/// The most alarms that are named in a check.
const MAX_NAMED: usize = 5;

/// Checks the alarms and their subscribers.
pub(super) async fn checks(stack: &Stack<'_>) -> Vec<Check> {
    let names = names();
    let (check, expected) = ("alarms", format!("{} alarms", names.len()));
    let found = match find(stack).await {
        Ok(found) => found,
        Err(error) => {
            let permission = "cloudwatch:DescribeAlarms";
            return vec![unanswered(check, &expected, &error, permission)];
        }
    };
    // SAM adds a random suffix to the name, and Terraform does not.
    let of = |name: &str| {
        let whole = format!("{}-{name}", stack.name);
        let suffixed = format!("{whole}-");
        let mut alarms = found.iter();
        alarms.find(move |alarm| {
            let name = alarm["AlarmName"].as_str().unwrap_or_default();
            name == whole || name.starts_with(&suffixed)
        })
    };
    let missing = names.iter().filter(|name| of(name).is_none());
    let missing = missing.map(|name| format!("{name} is missing"));
    let follows = "Deploy the stack again.";
    let mut checks = vec![check_of_all(
        check,
        &expected,
        &shortened(missing.collect()),
        follows,
    )];

    let alarms: Vec<(&String, &Value)> = names
        .iter()
        .filter_map(|name| Some((name, of(name)?)))
        .collect();
    checks.push(subscribers(stack, &alarms).await);
    let on = alarms
        .iter()
        .filter(|(_, alarm)| alarm["StateValue"] == "ALARM");
    let on: Vec<String> = on.map(|(name, _)| (*name).clone()).collect();
    checks.push(if on.is_empty() {
        Check::expected("alarms that are on", "none")
    } else {
        Check::new(
            "alarms that are on",
            "none",
            shortened(on).join(", "),
            Verdict::Handled,
            "The runbook explains each. SweepsAlarm is on for the first hours of a stack.",
        )
    });
    checks
}

/// Returns the names of all alarms, without the name of the stack.
fn names() -> Vec<String> {
    let title = |name: &str| {
        let (first, rest) = name.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    let queues = QUEUE_ALARMS.iter().flat_map(|alarm| {
        let queues = CHAIN.iter();
        queues.map(move |source| title(source.queue) + alarm)
    });
    let functions = FUNCTION_ALARMS
        .iter()
        .flat_map(|alarm| functions::names().map(move |name| title(name) + alarm));
    let metrics = METRIC_ALARMS.iter().map(|name| (*name).to_owned());
    queues.chain(functions).chain(metrics).collect()
}

/// Returns the alarms whose names begin with that of the stack.
async fn find(stack: &Stack<'_>) -> Result<Vec<Value>, AwsCallError> {
    let mut found = Vec::new();
    let mut token = Value::Null;
    for _ in 0..MAX_PAGES {
        let mut input = json!({
            "AlarmNamePrefix": format!("{}-", stack.name),
            "MaxRecords": 100,
        });
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let target = "GraniteServiceVersion20100801.DescribeAlarms";
        let call = AwsCall::json(Service::CLOUDWATCH, target, &input);
        let mut answer = stack.aws.call_json(&call).await?;
        if let Some(alarms) = answer["MetricAlarms"].as_array_mut() {
            found.append(alarms);
        }
        token = answer["NextToken"].take();
        if token.is_null() {
            break;
        }
    }
    Ok(found)
}

/// Checks that each alarm has a recipient.
async fn subscribers(stack: &Stack<'_>, alarms: &[(&String, &Value)]) -> Check {
    let (check, expected) = ("recipients of alarms", "each alarm has one");
    let mut silent = Vec::new();
    let mut topics: BTreeSet<&str> = BTreeSet::new();
    for (name, alarm) in alarms {
        let actions = alarm["AlarmActions"].as_array();
        let actions: Vec<&str> = actions
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if actions.is_empty() || alarm["ActionsEnabled"] == false {
            silent.push(format!("{name} has none"));
        }
        topics.extend(actions.iter().filter(|action| action.contains(":sns:")));
    }
    let mut wrong = shortened(silent);
    for topic in topics {
        let name = topic.rsplit(':').next().unwrap_or_default();
        match has_subscriber(stack, topic).await {
            Ok(true) => {}
            Ok(false) => wrong.push(format!("no one has subscribed to {}", foreign(name))),
            Err(error) => {
                let permission = "sns:ListSubscriptionsByTopic";
                return unanswered(check, expected, &error, permission);
            }
        }
    }
    let follows = "Deploy with AlarmEmail or AlarmTopicArn, and confirm the e-mail from AWS. \
                   Until then, no one learns that a job has stopped.";
    check_of_all(check, expected, &wrong, follows)
}

/// Whether a topic has a subscription that was confirmed.
async fn has_subscriber(stack: &Stack<'_>, topic: &str) -> Result<bool, AwsCallError> {
    let call = AwsCall::form(
        Service::SNS,
        &[
            ("Action", "ListSubscriptionsByTopic"),
            ("Version", "2010-03-31"),
            ("TopicArn", topic),
        ],
    );
    let answer = stack.aws.call(&call).await?;
    let answer = String::from_utf8_lossy(&answer);
    // One that was not confirmed has the text PendingConfirmation instead of an ARN.
    let has_one = xml_texts(&answer, "SubscriptionArn").any(|arn| arn.starts_with("arn:"));
    Ok(has_one)
}

/// Returns the first texts, and how many more there are.
fn shortened(mut texts: Vec<String>) -> Vec<String> {
    if texts.len() > MAX_NAMED {
        let more = texts.len() - MAX_NAMED;
        texts.truncate(MAX_NAMED);
        texts.push(format!("{more} more"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarms_are_those_of_the_template() {
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/template.yaml");
        let template = std::fs::read_to_string(template).unwrap();
        let declared: BTreeSet<String> = template
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.strip_suffix("Alarm:"))
            .filter(|name| !name.starts_with(' '))
            .map(|name| format!("{name}Alarm"))
            .collect();
        assert_eq!(names().into_iter().collect::<BTreeSet<_>>(), declared);
    }
}
