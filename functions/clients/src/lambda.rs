//! What Lambda tells a function about an invocation.

use jiff::Timestamp;

/// When Lambda ends the invocation. `milliseconds` is the context's deadline, counted from the Unix epoch.
pub fn deadline(milliseconds: u64) -> Timestamp {
    i64::try_from(milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
