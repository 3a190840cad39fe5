//! Synchronous calls: how long they may take.

use std::time::Duration;

use darkroom::lane::Lane;
use gemini::{ApiError, GenerateError};

/// How long an ordinary call may take. Images of 4K take up to 34 s (measured by others in October
/// 2026).
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a call of the flex tier may take. Google advises clients to wait for ten minutes or more
/// (<https://ai.google.dev/gemini-api/docs/flex-inference>, read 2026-11).
const FLEX_TIMEOUT: Duration = Duration::from_secs(600);

/// Returns the longest that a call in a lane may take.
pub fn timeout_of(lane: Lane) -> Duration {
    match lane {
        Lane::Flex => FLEX_TIMEOUT,
        Lane::Batch | Lane::Interactive => INTERACTIVE_TIMEOUT,
    }
}

/// Waits for a call and the whole of its answer.
///
/// # Errors
/// [`GenerateError::Unknown`] if that takes longer than `within`, and the errors of the call.
pub async fn complete<T>(
    within: Duration,
    call: impl Future<Output = Result<T, GenerateError>>,
) -> Result<T, GenerateError> {
    tokio::time::timeout(within, call)
        .await
        .unwrap_or_else(|_| {
            Err(GenerateError::Unknown(ApiError::Transient {
                message: format!("no complete answer within {} s", within.as_secs()),
                status: None,
                source: None,
            }))
        })
}
