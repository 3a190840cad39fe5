//! The event source mappings: what moves messages from the queues to the functions.

use darkroom::chain::{CHAIN, Source};
use runtime::aws_call::{AwsCall, AwsCallError, Service};
use serde_json::Value;

use super::{Stack, check_of_all, unanswered};
use crate::command::doctor::report::{Check, foreign};

/// Checks the mapping of each queue.
pub(super) async fn checks(stack: &Stack<'_>) -> Vec<Check> {
    let (check, expected) = (
        "event source mappings",
        "8, enabled, each message on its own",
    );
    let mut wrong = Vec::new();
    for source in &CHAIN {
        match problem_of(stack, source).await {
            Ok(None) => {}
            Ok(Some(problem)) => wrong.push(format!("{}: {problem}", source.queue)),
            // The check of the functions names the function as well.
            Err(error) if error.is_not_found() => {
                wrong.push(format!("{}: there is no function", source.queue));
            }
            Err(error) => {
                let permission = "lambda:ListEventSourceMappings";
                return vec![unanswered(check, expected, &error, permission)];
            }
        }
    }
    let follows = "Messages of such a queue stay where they are, and its jobs stop. Enable the \
                   mapping, or deploy the stack again.";
    vec![check_of_all(check, expected, &wrong, follows)]
}

/// Returns what is wrong with the mapping of a queue.
async fn problem_of(stack: &Stack<'_>, source: &Source) -> Result<Option<String>, AwsCallError> {
    let function = format!("{}-{}", stack.name, source.function.name());
    let path = ["2015-03-31", "event-source-mappings", ""];
    let call = AwsCall::get(
        Service::LAMBDA,
        &path,
        &[("FunctionName", function.as_str())],
    );
    let answer = stack.aws.call_json(&call).await?;
    let queue = format!(":{}-{}", stack.name, source.queue);
    let mappings = answer["EventSourceMappings"].as_array();
    let mut mappings = mappings.into_iter().flatten();
    let found = mappings.find(|mapping| {
        let queue_arn = mapping["EventSourceArn"].as_str();
        queue_arn.is_some_and(|arn| arn.ends_with(&queue))
    });
    Ok(match found {
        None => Some("there is none".to_owned()),
        Some(mapping) => wrong_with(mapping),
    })
}

fn wrong_with(mapping: &Value) -> Option<String> {
    let state = mapping["State"].as_str().unwrap_or("unknown");
    let types = mapping["FunctionResponseTypes"].as_array();
    let mut types = types.into_iter().flatten();
    if state != "Enabled" {
        Some(foreign(state))
    } else if !types.any(|kind| kind == "ReportBatchItemFailures") {
        Some("without ReportBatchItemFailures".to_owned())
    } else {
        None
    }
}
