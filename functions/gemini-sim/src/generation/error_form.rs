//! Errors in result lines that deviate from `google.rpc.Status`.
//!
//! Source: reports of clients that received HTTP codes, status names and texts where the schema has
//! a gRPC code.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{seeded_random::SeededRandom, wire::reply::INTERNAL_MESSAGE};

/// What an error line holds instead of a `google.rpc.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorForm {
    /// An HTTP code, a message, and the name of the status.
    Http,
    /// A string.
    Text,
    /// A message, and the gRPC code as a string.
    CodeText,
    /// A message, and the name of the status without a code.
    Status,
    /// Nothing: no members, an empty message, or a code with an empty message.
    Empty,
}

/// Errors as calls return them: the HTTP code, the name of the status, the message.
const ERRORS: [(u16, &str, &str); 5] = [
    (
        400,
        "INVALID_ARGUMENT",
        "Request contains an invalid argument.",
    ),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted (e.g. check quota).",
    ),
    (500, "INTERNAL", INTERNAL_MESSAGE),
    (
        503,
        "UNAVAILABLE",
        "The model is overloaded. Please try again later.",
    ),
    (
        504,
        "DEADLINE_EXCEEDED",
        "Deadline expired before operation could complete.",
    ),
];

impl ErrorForm {
    /// Returns the `error` member of the line. `random` selects among the variants of a form.
    pub(crate) fn error(self, random: &SeededRandom) -> Value {
        let place = usize::try_from(random.below(ERRORS.len() as u64)).unwrap_or(0);
        let (code, status, message) = ERRORS[place];
        match self {
            Self::Http => json!({"code": code, "message": message, "status": status}),
            Self::Text => json!(message),
            Self::CodeText => json!({"code": "13", "message": INTERNAL_MESSAGE}),
            Self::Status => json!({"message": message, "status": status}),
            Self::Empty => match random.below(3) {
                0 => json!({}),
                1 => json!({"message": ""}),
                _ => json!({"code": 13, "message": ""}),
            },
        }
    }
}
