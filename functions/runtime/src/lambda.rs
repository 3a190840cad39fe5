//! A function on Lambda: its events, and how long it has for each.

use std::{fmt::Display, mem};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::Timestamp;
use lambda_runtime::{Context, Error, LambdaEvent, Runtime, service_fn};
use serde::de::IgnoredAny;
use tracing::{Instrument, Span, info_span};

/// Gives every event that Lambda has for this function to `handle`, with the moment at which Lambda
/// ends the invocation.
///
/// # Errors
/// When Lambda's runtime API can't be reached.
pub async fn serve<D: Clone>(
    deps: D,
    handle: impl AsyncFn(&D, SqsEvent, Timestamp) -> SqsBatchResponse + Copy,
) -> Result<(), Error> {
    let mut cold_start = true;
    let answer = |event: LambdaEvent<SqsEvent>| {
        let span = invocation(mem::replace(&mut cold_start, false), &event.context);
        let (deps, deadline) = (deps.clone(), deadline(event.context.deadline));
        // Boxed: the futures of a whole function are deep.
        async move { Ok::<_, Error>(Box::pin(handle(&deps, event.payload, deadline)).await) }
            .instrument(span)
    };
    // Without the runtime's own span, which names the same things otherwise.
    Runtime::new(service_fn(answer)).run().await
}

/// Calls `handle` whenever Lambda's schedule does, with the moment at which Lambda ends the
/// invocation. What the schedule sends is not looked at.
///
/// # Errors
/// When Lambda's runtime API can't be reached.
pub async fn serve_schedule<D: Clone, T, E: Display>(
    deps: D,
    handle: impl AsyncFn(&D, Timestamp) -> Result<T, E> + Copy,
) -> Result<(), Error> {
    let mut cold_start = true;
    let answer = |event: LambdaEvent<IgnoredAny>| {
        let span = invocation(mem::replace(&mut cold_start, false), &event.context);
        let (deps, deadline) = (deps.clone(), deadline(event.context.deadline));
        async move {
            let done = Box::pin(handle(&deps, deadline)).await;
            done.map(drop)
                .map_err(|problem| Error::from(problem.to_string()))
        }
        .instrument(span)
    };
    Runtime::new(service_fn(answer)).run().await
}

fn invocation(cold_start: bool, context: &Context) -> Span {
    info_span!(
        "invocation",
        cold_start,
        function_arn = context.invoked_function_arn,
        function_request_id = context.request_id,
        xray_trace_id = context.xray_trace_id,
    )
}

/// `milliseconds` is the context's deadline, counted from the Unix epoch.
fn deadline(milliseconds: u64) -> Timestamp {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}
