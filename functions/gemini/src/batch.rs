//! A batch as Gemini describes it: a long-running operation. The parser accepts missing members and
//! several spellings.
//!
//! ```json
//! {"name":"batches/4m85","done":true,
//!  "metadata":{"model":"models/…","displayName":"…","state":"BATCH_STATE_SUCCEEDED",
//!              "output":{"responsesFile":"files/batch-4m85"},
//!              "batchStats":{"requestCount":"9","successfulRequestCount":"9"}},
//!  "response":{"responsesFile":"files/batch-4m85"}}
//! ```

use std::fmt;

use darkroom::names::{BatchName, FileName};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::ApiError,
    refusal::sanitize,
    wire::{Status, count, or_default, time},
};

/// One batch, in the state that a response of Gemini reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The name that Google assigned.
    pub name: BatchName,
    /// The name from the create request. Empty if the response has none.
    pub display_name: String,
    /// `models/…`. Empty if the response has none.
    pub model: String,
    /// The state of the batch.
    pub state: BatchState,
    /// The operation has ended. This is independent of `state`.
    pub done: bool,
    /// The file with the results. A failed, expired or canceled batch may have one too.
    pub output_file: Option<FileName>,
    /// Whether the response itself contains results, which
    /// [`Gemini::inline_results`](super::Gemini::inline_results) reads. If there is an output file
    /// too, that file contains all of them.
    pub inline_output: bool,
    /// Why the batch did not succeed, if Google reports a reason.
    pub error: Option<Status>,
    /// How many requests are complete.
    pub stats: BatchStats,
    /// The time of the create request.
    pub create_time: Option<Timestamp>,
    /// The time at which the batch ended.
    pub end_time: Option<Timestamp>,
}

impl Batch {
    /// Whether the batch has ended and cannot change any more.
    pub fn is_terminal(&self) -> bool {
        self.done || self.state.is_terminal()
    }
}

/// The number of a batch's requests in each state. Google omits zeros, and may omit all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchStats {
    /// Requests in the input file.
    #[serde(rename = "requestCount", deserialize_with = "count")]
    pub request: u64,
    /// Requests with a response.
    #[serde(rename = "successfulRequestCount", deserialize_with = "count")]
    pub successful: u64,
    /// Requests with an error.
    #[serde(rename = "failedRequestCount", deserialize_with = "count")]
    pub failed: u64,
    /// Requests that have not been processed.
    #[serde(rename = "pendingRequestCount", deserialize_with = "count")]
    pub pending: u64,
}

/// The state of a batch. On the wire it is `BATCH_STATE_…`; Google's pages and SDKs write
/// `JOB_STATE_…`, so both are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// Not started.
    Pending,
    /// In progress.
    Running,
    /// Ended with results; single requests may have failed.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because a cancellation was requested.
    Cancelled,
    /// Ended because it did not finish within 48 hours.
    Expired,
    /// A state that this client does not recognize, as written; empty if the response has none.
    /// It does not count as terminal.
    Unknown(String),
}

impl BatchState {
    /// Whether the state is final.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired => true,
            Self::Pending | Self::Running | Self::Unknown(_) => false,
        }
    }

    fn from_wire(text: &str) -> Self {
        let state = text
            .strip_prefix("BATCH_STATE_")
            .or_else(|| text.strip_prefix("JOB_STATE_"));
        match state {
            Some("PENDING") => Self::Pending,
            Some("RUNNING") => Self::Running,
            Some("SUCCEEDED") => Self::Succeeded,
            Some("FAILED") => Self::Failed,
            Some("CANCELLED") => Self::Cancelled,
            Some("EXPIRED") => Self::Expired,
            Some(_) | None => Self::Unknown(sanitize(text)),
        }
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "BATCH_STATE_PENDING",
            Self::Running => "BATCH_STATE_RUNNING",
            Self::Succeeded => "BATCH_STATE_SUCCEEDED",
            Self::Failed => "BATCH_STATE_FAILED",
            Self::Cancelled => "BATCH_STATE_CANCELLED",
            Self::Expired => "BATCH_STATE_EXPIRED",
            Self::Unknown(text) => text,
        })
    }
}

/// The members of `google.longrunning.Operation` that are used here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Operation {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    done: bool,
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    response: Output,
    error: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    display_name: String,
    #[serde(deserialize_with = "or_default")]
    model: String,
    state: Option<String>,
    #[serde(deserialize_with = "or_default")]
    output: Output,
    #[serde(deserialize_with = "or_default")]
    batch_stats: BatchStats,
    #[serde(deserialize_with = "time")]
    create_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    end_time: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Output {
    responses_file: Option<String>,
    /// `{"inlinedResponses":[…]}`. The results were removed while the response was read, but a
    /// list that contained some is not empty.
    #[serde(alias = "inlined_responses")]
    inlined_responses: Value,
}

impl Output {
    fn holds_results(&self) -> bool {
        let inner = |name| self.inlined_responses.get(name);
        let list = inner("inlinedResponses")
            .or(inner("inlined_responses"))
            .unwrap_or(&self.inlined_responses);
        list.as_array().is_some_and(|list| !list.is_empty())
    }
}

/// The state in the metadata. Google sometimes omits `metadata`, so without it the outcome of the
/// operation determines the state.
fn state_of(operation: &Operation) -> BatchState {
    /// `google.rpc.Code.CANCELLED`
    const CANCELLED: i64 = 1;

    match (&operation.metadata.state, operation.done, &operation.error) {
        (Some(text), _, _) => BatchState::from_wire(text),
        (None, true, None) => BatchState::Succeeded,
        (
            None,
            true,
            Some(Status {
                code: CANCELLED, ..
            }),
        ) => BatchState::Cancelled,
        (None, true, Some(_)) => BatchState::Failed,
        (None, false, _) => BatchState::Unknown(String::new()),
    }
}

impl TryFrom<Operation> for Batch {
    type Error = ApiError;

    fn try_from(operation: Operation) -> Result<Self, ApiError> {
        let state = state_of(&operation);
        let Operation {
            name,
            done,
            metadata,
            response,
            error,
        } = operation;
        // The name is in the operation or in its metadata.
        let name = if name.is_empty() { metadata.name } else { name };
        if !name.starts_with("batches/") {
            return Err(ApiError::malformed("an operation that is not a batch"));
        }

        // Google writes the output into the metadata, into the response, or into both.
        Ok(Self {
            name: BatchName::new(name),
            display_name: metadata.display_name,
            model: metadata.model,
            state,
            done,
            inline_output: metadata.output.holds_results() || response.holds_results(),
            output_file: metadata
                .output
                .responses_file
                .or(response.responses_file)
                .filter(|file| !file.is_empty())
                .map(FileName::new),
            error,
            stats: metadata.batch_stats,
            create_time: metadata.create_time,
            end_time: metadata.end_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_transport::assert_valid;

    fn batch(operation: Value) -> Batch {
        assert_valid("Operation", &operation);
        let operation: Operation = serde_json::from_value(operation).unwrap();
        operation.try_into().unwrap()
    }

    #[test]
    fn reads_a_pending_batch_as_google_writes_it() {
        let batch = batch(json!({
            "name": "batches/4m855",
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
                "model": "models/gemini-2.5-flash", "displayName": "studio/j/0000/1",
                "createTime": "2025-12-10T18:27:01.407650525Z", "updateTime": "2025-12-10T18:27:01.407650525Z",
                "batchStats": { "requestCount": "3", "pendingRequestCount": 3 },
                "state": "BATCH_STATE_PENDING", "name": "batches/4m855", "newMember": [1],
            },
        }));
        assert_eq!(
            batch,
            Batch {
                name: BatchName::new("batches/4m855"),
                display_name: "studio/j/0000/1".to_owned(),
                model: "models/gemini-2.5-flash".to_owned(),
                state: BatchState::Pending,
                done: false,
                output_file: None,
                inline_output: false,
                error: None,
                stats: BatchStats {
                    request: 3,
                    pending: 3,
                    ..BatchStats::default()
                },
                create_time: Some("2025-12-10T18:27:01.407650525Z".parse().unwrap()),
                end_time: None,
            }
        );
        assert!(!batch.is_terminal());
    }

    #[test]
    fn output_is_found_in_either_place() {
        let output = json!({ "responsesFile": "files/batch-1" });
        for operation in [
            json!({ "name": "batches/1", "done": true, "metadata": { "output": output } }),
            json!({ "name": "batches/1", "done": true, "metadata": {}, "response": output }),
            json!({ "name": "batches/1", "done": true, "response": output }),
        ] {
            assert_eq!(
                batch(operation).output_file,
                Some(FileName::new("files/batch-1"))
            );
        }
    }

    #[test]
    fn inline_output_is_found_in_either_place() {
        for list in [json!([{ "error": { "code": 13 } }]), json!([0])] {
            let output = json!({ "inlinedResponses": { "inlinedResponses": list } });
            for operation in [
                json!({ "name": "batches/1", "metadata": { "output": output } }),
                json!({ "name": "batches/1", "done": true, "response": output }),
                json!({ "name": "batches/1", "metadata": { "output": { "inlinedResponses": list } } }),
                json!({ "name": "batches/1", "metadata": { "output": { "inlined_responses": { "inlined_responses": list } } } }),
            ] {
                let operation: Operation = serde_json::from_value(operation).unwrap();
                assert!(Batch::try_from(operation).unwrap().inline_output);
            }
        }
        for output in [
            json!({ "inlinedResponses": { "inlinedResponses": [] } }),
            json!({ "inlinedResponses": {} }),
            json!({ "inlinedResponses": null }),
            json!({}),
            json!(null),
        ] {
            let operation = json!({ "name": "batches/1", "metadata": { "output": output }, "response": output });
            let operation: Operation = serde_json::from_value(operation).unwrap();
            assert!(!Batch::try_from(operation).unwrap().inline_output);
        }
    }

    #[test]
    fn a_canceled_batch_keeps_its_output_and_error() {
        let batch = batch(json!({
            "name": "batches/1", "done": true,
            "metadata": { "state": "BATCH_STATE_CANCELLED", "output": { "responsesFile": "files/batch-1" } },
            "error": { "code": 13, "message": "Batch failed\nwithout error." },
        }));
        assert_eq!(batch.state, BatchState::Cancelled);
        assert_eq!(batch.output_file, Some(FileName::new("files/batch-1")));
        let error = Status {
            code: 13,
            message: "Batch failed without error.".to_owned(),
        };
        assert_eq!(batch.error, Some(error));
    }

    #[test]
    fn both_prefixes_mean_the_same_state() {
        for (name, state, terminal) in [
            ("PENDING", BatchState::Pending, false),
            ("RUNNING", BatchState::Running, false),
            ("SUCCEEDED", BatchState::Succeeded, true),
            ("FAILED", BatchState::Failed, true),
            ("CANCELLED", BatchState::Cancelled, true),
            ("EXPIRED", BatchState::Expired, true),
        ] {
            for prefix in ["BATCH_STATE_", "JOB_STATE_"] {
                let wire = format!("{prefix}{name}");
                let batch = batch(json!({ "name": "batches/1", "metadata": { "state": wire } }));
                assert_eq!((&batch.state, batch.is_terminal()), (&state, terminal));
            }
            assert_eq!(BatchState::from_wire(&state.to_string()), state);
        }
    }

    #[test]
    fn an_unknown_state_is_kept_and_is_not_terminal_until_done() {
        for wire in ["JOB_STATE_PAUSED", "BATCH_STATE_UNSPECIFIED", "SUCCEEDED"] {
            let metadata = json!({ "state": wire });
            let running = batch(json!({ "name": "batches/1", "metadata": metadata }));
            assert_eq!(running.state, BatchState::Unknown(wire.to_owned()));
            assert!(!running.is_terminal());
            let done = batch(json!({ "name": "batches/1", "metadata": metadata, "done": true }));
            assert!(done.is_terminal());
        }
    }

    #[test]
    fn without_metadata_the_outcome_determines_the_state() {
        let state = |operation| batch(operation).state;
        assert_eq!(
            state(json!({ "name": "batches/1" })),
            BatchState::Unknown(String::new())
        );
        assert_eq!(
            state(json!({ "name": "batches/1", "done": true, "response": {} })),
            BatchState::Succeeded
        );
        assert_eq!(
            state(json!({ "name": "batches/1", "done": true, "error": { "code": 1 } })),
            BatchState::Cancelled
        );
        assert_eq!(
            state(json!({ "name": "batches/1", "done": true, "error": { "code": 13 } })),
            BatchState::Failed
        );
    }

    #[test]
    fn null_means_absent() {
        let operation: Operation = serde_json::from_value(json!({
            "name": "batches/1", "done": null, "response": null, "error": null, "metadata": null,
        }))
        .unwrap();
        let batch = Batch::try_from(operation).unwrap();
        assert_eq!(
            (batch.done, batch.error, batch.output_file),
            (false, None, None)
        );
    }

    #[test]
    fn operation_that_is_no_batch_is_malformed() {
        for operation in [json!({}), json!({ "name": "operations/1" })] {
            let operation: Operation = serde_json::from_value(operation).unwrap();
            assert!(matches!(
                Batch::try_from(operation),
                Err(ApiError::Malformed { .. })
            ));
        }
    }
}
