//! The queues and their dead letters.

use std::collections::HashMap;

use aws_sdk_sqs::{
    error::{ProvideErrorMetadata, SdkError},
    types::QueueAttributeName,
};
use darkroom::chain::{CHAIN, Source};
use runtime::aws;
use serde_json::Value;

use super::{Stack, check_of_all, policy};
use crate::command::doctor::report::{Check, Verdict, foreign};

/// The attributes of a queue, by their names.
type Attributes = HashMap<String, String>;

/// Checks each queue and its dead-letter queue.
pub(super) async fn checks(stack: &Stack<'_>) -> Vec<Check> {
    let (mut wrong, mut dead, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for source in &CHAIN {
        for queue in [source.queue.to_owned(), source.dead_letters()] {
            let name = format!("{}-{queue}", stack.name);
            let attributes = match attributes(&stack.clients.sqs, &name).await {
                Ok(Some(attributes)) => attributes,
                Ok(None) => {
                    wrong.push(format!("{name} is missing"));
                    continue;
                }
                Err(problem) => return vec![unanswered(&problem)],
            };
            if queue == source.queue {
                wrong.extend(wrong_with(stack.name, source, &attributes));
            } else {
                let messages = count(&attributes);
                if messages > 0 {
                    dead.push(format!("{messages} of {}", source.queue));
                }
            }
            let policy = attributes.get("Policy").map(String::as_str);
            if !policy::requires_tls(policy.unwrap_or_default()) {
                open.push(queue);
            }
        }
    }
    vec![
        check_of_all(
            "queues",
            "8, each with its dead-letter queue",
            &wrong,
            "Deploy the stack again.",
        ),
        check_of_all(
            "dead letters",
            "none",
            &dead,
            "Their jobs have stopped. The runbook explains DeadLettersAlarm; redriving is safe.",
        ),
        check_of_all(
            "TLS of the queues",
            "required",
            &open,
            "A policy was removed. Deploy the stack again.",
        ),
    ]
}

fn unanswered(problem: &str) -> Check {
    let follows = "Your credentials need the permissions sqs:GetQueueUrl and \
                   sqs:GetQueueAttributes.";
    Check::new(
        "queues",
        "8, each with its dead-letter queue",
        foreign(problem),
        Verdict::Unseen,
        follows,
    )
}

/// Returns the attributes of a queue. Returns none if there is no such queue.
async fn attributes(sqs: &aws_sdk_sqs::Client, name: &str) -> Result<Option<Attributes>, String> {
    let found = sqs.get_queue_url().queue_name(name).send().await;
    let url = match found {
        Ok(found) => found.queue_url.unwrap_or_default(),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(aws::describe(&error)),
    };
    let request = sqs.get_queue_attributes().queue_url(url);
    let request = request.attribute_names(QueueAttributeName::All);
    let answer = request
        .send()
        .await
        .map_err(|error| aws::describe(&error))?;
    let attributes = answer.attributes.unwrap_or_default().into_iter();
    let by_name = attributes.map(|(name, value)| (name.as_str().to_owned(), value));
    Ok(Some(by_name.collect()))
}

fn is_missing<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    code.is_some_and(|code| code.contains("NonExistentQueue") || code == "QueueDoesNotExist")
}

/// Returns what is wrong with a queue.
fn wrong_with(stack: &str, source: &Source, attributes: &Attributes) -> Option<String> {
    let queue = source.queue;
    let redrive = attributes.get("RedrivePolicy").map(String::as_str);
    let redrive: Value = serde_json::from_str(redrive.unwrap_or_default()).unwrap_or_default();
    let target = redrive["deadLetterTargetArn"].as_str().unwrap_or_default();
    let receives = &redrive["maxReceiveCount"];
    let receives = receives
        .as_u64()
        .or_else(|| receives.as_str()?.parse().ok());
    if !target.ends_with(&format!(":{stack}-{}", source.dead_letters())) {
        Some(format!("{queue} has no dead-letter queue of this stack"))
    } else if receives != Some(u64::from(source.max_receive_count)) {
        // A message that waits by its visibility uses a receive for each wait.
        Some(format!("{queue} allows another number of receives"))
    } else {
        None
    }
}

fn count(attributes: &Attributes) -> u64 {
    let number = |name: &str| attributes.get(name)?.parse::<u64>().ok();
    number("ApproximateNumberOfMessages").unwrap_or(0)
        + number("ApproximateNumberOfMessagesNotVisible").unwrap_or(0)
}
