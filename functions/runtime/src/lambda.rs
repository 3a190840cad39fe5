//! Connects a function to the runtime of AWS Lambda.

use std::{fmt::Display, mem};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::Timestamp;
use lambda_runtime::{Context, Error, LambdaEvent, Runtime, service_fn};
use serde::de::IgnoredAny;
use tracing::{Instrument, Span, info_span};

/// Calls `handle` with every event of this function, and with the time at which Lambda ends the
/// invocation.
///
/// # Errors
/// If Lambda's runtime API can't be reached.
pub async fn serve<D: Clone>(
    deps: D,
    handle: impl AsyncFn(&D, SqsEvent, Timestamp) -> SqsBatchResponse + Copy,
) -> Result<(), Error> {
    let mut cold_start = true;
    let answer = |event: LambdaEvent<SqsEvent>| {
        let span = invocation(mem::replace(&mut cold_start, false), &event.context);
        let (deps, deadline) = (deps.clone(), deadline(event.context.deadline));
        // Boxed, because the future of a whole function is large.
        async move { Ok::<_, Error>(Box::pin(handle(&deps, event.payload, deadline)).await) }
            .instrument(span)
    };
    // Without the runtime's own span, which has the same fields under other names.
    Runtime::new(service_fn(answer)).run().await
}

/// Calls `handle` whenever the schedule invokes this function, with the time at which Lambda ends the
/// invocation. The content of the event is ignored.
///
/// # Errors
/// If Lambda's runtime API can't be reached.
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

/// The span of an invocation, whose fields are in each of its log lines.
fn invocation(cold_start: bool, context: &Context) -> Span {
    info_span!(
        "invocation",
        cold_start,
        function_arn = context.invoked_function_arn,
        function_request_id = context.request_id,
        xray_trace_id = context.xray_trace_id,
    )
}

/// The time of a deadline in milliseconds since the Unix epoch.
fn deadline(milliseconds: u64) -> Timestamp {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}
