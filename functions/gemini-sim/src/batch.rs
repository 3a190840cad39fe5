//! A batch: what is stored about it, and how the API presents it.

pub(crate) mod bad_lines;
pub(crate) mod creation;
pub(crate) mod delivered;
pub(crate) mod delivery;
pub(crate) mod input;
pub(crate) mod output_file;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod results;
pub(crate) mod store;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    batch::{
        delivery::Delivery,
        input::{Input, Row},
        progress::{Progress, State},
    },
    generation::generate_request::References,
    scenario::batch_outcome::BatchOutcome,
    wire::reply::INTERNAL_MESSAGE,
};

const BATCH_TYPE: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";
const OUTPUT_TYPE: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput";

/// A batch. Its whole course is decided when it is created. Afterwards, only a cancel, an update or
/// the deletion of the batch or of its input file changes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// 36 lower-case letters and digits.
    pub(crate) id: String,
    /// The number of the call that created it; lists are ordered by it.
    pub(crate) number: u64,
    /// The model's id, without `models/`.
    pub(crate) model: String,
    pub(crate) display_name: String,
    pub(crate) priority: i64,
    pub(crate) input: Input,
    pub(crate) seed: u64,
    pub(crate) created: Timestamp,
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
    /// When the batch starts to appear in lists.
    pub(crate) listed: Timestamp,
    /// How the batch departs from normal processing, if it does. Stored as `fate`.
    #[serde(rename = "fate")]
    pub(crate) outcome: Option<BatchOutcome>,
    /// When and how the output is delivered.
    #[serde(default)]
    pub(crate) delivery: Delivery,
    /// Whether a cancel after the start ends the batch as succeeded, with an error for each
    /// unserved request, instead of as cancelled.
    pub(crate) succeeds_when_cancelled: bool,
    pub(crate) cancelled: Option<Timestamp>,
    /// When the input file was deleted, if that makes the batch fail.
    pub(crate) input_deleted: Option<Timestamp>,
    pub(crate) deleted: Option<Deleted>,
    pub(crate) request_count: usize,
    /// Counts against the model's token limit while the batch is live.
    #[serde(default)]
    pub(crate) input_tokens: u64,
    /// The rows that end in an error line, as indices into the processing order, ascending.
    pub(crate) failed: Vec<usize>,
    pub(crate) references: References,
}

/// What is kept of a deleted batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Deleted {
    pub(crate) billed_nanodollars: u64,
}

impl Batch {
    /// Returns the indices of the rows that end in an error line.
    pub(crate) fn failed_places(rows: &[Row]) -> Vec<usize> {
        rows.iter()
            .enumerate()
            .filter(|(_, row)| row.outcome.is_failure())
            .map(|(place, _)| place)
            .collect()
    }

    /// Returns the `Operation` at `now`. `inlined` holds the results of a batch whose output is
    /// inline.
    pub(crate) fn operation(&self, now: Timestamp, inlined: Option<Vec<Value>>) -> Value {
        let (progress, available) = (self.progress(now), self.has_output(now));
        let output = match inlined {
            _ if !available => None,
            _ if !self.is_inline() => Some(json!({"responsesFile": self.output_file()})),
            Some(responses) => Some(json!({"inlinedResponses": {"inlinedResponses": responses}})),
            None => None,
        };
        let mut operation = json!({"name": self.name(), "metadata": self.metadata(&progress, now, output.as_ref())});
        if progress.state.is_terminal() {
            if self.is_shown_as_done(&progress, now) {
                operation["done"] = Value::from(true);
            }
            if available {
                operation["response"] = typed(OUTPUT_TYPE, output.unwrap_or(json!({})));
            } else if !progress.has_output()
                && let Some(error) = self.error(progress.state)
            {
                operation["error"] = error;
            }
        }
        operation
    }

    /// Returns the `GenerateContentBatch` at `now`, without inline results.
    pub(crate) fn resource(&self, now: Timestamp) -> Value {
        let mut operation = self.operation(now, None);
        let mut resource = operation["metadata"].take();
        if let Value::Object(members) = &mut resource {
            members.shift_remove("@type");
        }
        resource
    }

    /// Returns `batches/<id>`.
    pub(crate) fn name(&self) -> String {
        format!("batches/{}", self.id)
    }

    fn metadata(&self, progress: &Progress, now: Timestamp, output: Option<&Value>) -> Value {
        let mut metadata = json!({
            "@type": BATCH_TYPE,
            "model": format!("models/{}", self.model),
            "displayName": self.display_name,
        });

        // The members are in the order of captured answers.
        if let Input::File(id) = &self.input {
            metadata["inputConfig"] = json!({"fileName": format!("files/{id}")});
        }
        if let Some(output) = output {
            metadata["output"] = output.clone();
        }
        metadata["createTime"] = Value::from(self.created.to_string());
        if progress.state.is_terminal() {
            metadata["endTime"] = Value::from(progress.updated.to_string());
        }

        // The arrival of a late output updates the batch.
        let output_came = self.output_available_from(now).filter(|came| *came <= now);
        metadata["updateTime"] = Value::from(output_came.unwrap_or(progress.updated).to_string());

        // A scenario can leave the counts out. A priority of 0 is absent, as in Protobuf.
        if !self.delivery.without_counts {
            metadata["batchStats"] = self.stats(progress);
        }
        metadata["state"] = Value::from(progress.state.name());
        if self.priority != 0 {
            metadata["priority"] = Value::from(self.priority.to_string());
        }
        metadata["name"] = Value::from(self.name());
        metadata
    }

    fn stats(&self, progress: &Progress) -> Value {
        let Progress { done, unserved, .. } = *progress;
        let failed = self.failed.partition_point(|place| *place < done);
        let counts = [
            ("requestCount", self.request_count),
            ("successfulRequestCount", done - failed),
            ("failedRequestCount", failed + unserved),
            ("pendingRequestCount", self.request_count - done - unserved),
        ];
        let numbers = counts.into_iter().filter(|(_, count)| *count > 0);
        numbers
            .map(|(name, count)| (name.to_owned(), Value::from(count.to_string())))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Returns the top-level error of an operation that ended without results.
    fn error(&self, state: State) -> Option<Value> {
        match state {
            State::Failed if self.outcome == Some(BatchOutcome::FailedSilently) => None,
            State::Failed => Some(json!({"code": 13, "message": INTERNAL_MESSAGE})),
            State::Cancelled => {
                Some(json!({"code": 13, "message": "Batch was cancelled before it was processed."}))
            }
            State::Expired => {
                Some(json!({"code": 4, "message": "Batch expired before it was processed."}))
            }
            State::Pending | State::Running | State::Succeeded => None,
        }
    }

    /// Returns the name of the output file. Its id has 42 characters, more than a file id may have,
    /// as in the real service.
    pub(crate) fn output_file(&self) -> String {
        format!("files/batch-{}", self.id)
    }
}

fn typed(name: &str, value: Value) -> Value {
    let mut typed = json!({"@type": name});
    if let (Value::Object(typed), Value::Object(members)) = (&mut typed, value) {
        typed.extend(members);
    }
    typed
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// A batch of ten requests that runs from second 100 to second 1100. The second and the fifth
    /// request end in an error.
    pub(crate) fn batch() -> Batch {
        Batch {
            id: "b".repeat(36),
            number: 1,
            model: "gemini-3-pro-image".to_owned(),
            display_name: "a batch".to_owned(),
            priority: 0,
            input: Input::File("in".to_owned()),
            seed: 0,
            created: at(0),
            starts: at(100),
            ends: at(1100),
            listed: at(0),
            outcome: None,
            delivery: Delivery::default(),
            succeeds_when_cancelled: false,
            cancelled: None,
            input_deleted: None,
            deleted: None,
            request_count: 10,
            input_tokens: 0,
            failed: vec![1, 4],
            references: References::new(),
        }
    }

    fn stats(batch: &Batch, second: i64) -> Value {
        batch.operation(at(second), None)["metadata"]["batchStats"].take()
    }

    #[test]
    fn zeros_are_left_out_of_the_stats() {
        assert_eq!(
            stats(&batch(), 0),
            json!({"requestCount": "10", "pendingRequestCount": "10"})
        );
        let half = json!({"requestCount": "10", "successfulRequestCount": "3", "failedRequestCount": "2",
                          "pendingRequestCount": "5"});
        assert_eq!(stats(&batch(), 600), half);
        let whole =
            json!({"requestCount": "10", "successfulRequestCount": "8", "failedRequestCount": "2"});
        assert_eq!(stats(&batch(), 1100), whole);
    }

    #[test]
    fn unserved_requests_count_as_failed() {
        let batch = Batch {
            cancelled: Some(at(600)),
            succeeds_when_cancelled: true,
            ..batch()
        };
        let message =
            json!({"requestCount": "10", "successfulRequestCount": "3", "failedRequestCount": "7"});
        assert_eq!(stats(&batch, 600), message);
    }

    #[test]
    fn a_failed_batch_has_an_error_unless_it_fails_silently() {
        let failed = |outcome| {
            Batch {
                outcome: Some(outcome),
                ..batch()
            }
            .operation(at(1100), None)
        };
        let message = failed(BatchOutcome::Failed);
        assert_eq!(
            (&message["done"], &message["error"]["code"]),
            (&json!(true), &json!(13))
        );
        let silent = failed(BatchOutcome::FailedSilently);
        assert_eq!(silent["metadata"]["state"], "BATCH_STATE_FAILED");
        assert_eq!(
            (&silent["done"], silent.get("error"), silent.get("response")),
            (&json!(true), None, None)
        );
    }
}
