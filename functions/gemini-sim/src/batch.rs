//! One batch: what is stored of it, and what the service says of it.

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
    scenario::batch_outcome::BatchFate,
    wire::reply::INTERNAL_MESSAGE,
};

const BATCH_TYPE: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";
const OUTPUT_TYPE: &str =
    "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput";

/// A batch. Its whole life is decided when it is created; only a cancel, an update or a delete, of
/// it or of its input file, changes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// 36 letters and digits.
    pub(crate) id: String,
    /// Counts up: the order of lists.
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
    /// From when on lists have it.
    pub(crate) listed: Timestamp,
    /// What goes wrong with it as a whole.
    pub(crate) fate: Option<BatchFate>,
    /// How it shows its output.
    #[serde(default)]
    pub(crate) delivery: Delivery,
    /// Whether a cancel after the start ends it in success, the unserved rows as errors.
    pub(crate) succeeds_when_cancelled: bool,
    pub(crate) cancelled: Option<Timestamp>,
    /// When its input file was deleted, where that fails it.
    pub(crate) input_deleted: Option<Timestamp>,
    pub(crate) deleted: Option<Deleted>,
    pub(crate) request_count: usize,
    /// Counts against the model's limit as long as the batch is live.
    #[serde(default)]
    pub(crate) input_tokens: u64,
    /// Selector rows end in an error line, by their place in the order of doing.
    pub(crate) failed: Vec<usize>,
    pub(crate) references: References,
}

/// What is left of a deleted batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Deleted {
    pub(crate) billed_nanodollars: u64,
}

impl Batch {
    /// The places of the rows that end in an error line.
    pub(crate) fn failed_places(rows: &[Row]) -> Vec<usize> {
        rows.iter()
            .enumerate()
            .filter(|(_, row)| row.outcome.is_failure())
            .map(|(place, _)| place)
            .collect()
    }

    /// The `Operation` at `now`. `inlined` are the results of a batch whose output is inline.
    pub(crate) fn operation(&self, now: Timestamp, inlined: Option<Vec<Value>>) -> Value {
        let (progress, there) = (self.progress(now), self.has_output(now));
        let output = match inlined {
            _ if !there => None,
            _ if !self.is_inline() => Some(json!({"responsesFile": self.output_file()})),
            Some(responses) => Some(json!({"inlinedResponses": {"inlinedResponses": responses}})),
            None => None,
        };
        let mut operation = json!({"name": self.name(), "metadata": self.metadata(&progress, now, output.as_ref())});
        if progress.state.is_terminal() {
            if self.says_done(&progress, now) {
                operation["done"] = Value::from(true);
            }
            if there {
                operation["response"] = typed(OUTPUT_TYPE, output.unwrap_or(json!({})));
            } else if !progress.has_output()
                && let Some(error) = self.error(progress.state)
            {
                operation["error"] = error;
            }
        }
        operation
    }

    /// The `GenerateContentBatch` at `now`, without inline results.
    pub(crate) fn resource(&self, now: Timestamp) -> Value {
        let mut operation = self.operation(now, None);
        let mut resource = operation["metadata"].take();
        if let Value::Object(members) = &mut resource {
            members.shift_remove("@type");
        }
        resource
    }

    /// `batches/<id>`.
    pub(crate) fn name(&self) -> String {
        format!("batches/{}", self.id)
    }

    fn metadata(&self, progress: &Progress, now: Timestamp, output: Option<&Value>) -> Value {
        let mut metadata = json!({
            "@type": BATCH_TYPE,
            "model": format!("models/{}", self.model),
            "displayName": self.display_name,
        });
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
        let output_came = self.output_comes(now).filter(|came| *came <= now);
        metadata["updateTime"] = Value::from(output_came.unwrap_or(progress.updated).to_string());
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
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        counted
            .map(|(name, count)| (name.to_owned(), Value::from(count.to_string())))
            .collect::<Map<_, _>>()
            .into()
    }

    /// The top-level error of an operation that ended without results.
    fn error(&self, state: State) -> Option<Value> {
        match state {
            State::Failed if self.fate == Some(BatchFate::FailedSilently) => None,
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

    /// The name of its output file. The id in it has 42 letters, more than a file id may have, as
    /// with the real service.
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

    /// Ten requests, the second and the fifth an error, from second 100 to second 1100.
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
            fate: None,
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
    fn stats_leave_out_zeros() {
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
        let told =
            json!({"requestCount": "10", "successfulRequestCount": "3", "failedRequestCount": "7"});
        assert_eq!(stats(&batch, 600), told);
    }

    #[test]
    fn failed_batch_says_why_or_nothing() {
        let failed = |fate| {
            Batch {
                fate: Some(fate),
                ..batch()
            }
            .operation(at(1100), None)
        };
        let told = failed(BatchFate::Failed);
        assert_eq!(
            (&told["done"], &told["error"]["code"]),
            (&json!(true), &json!(13))
        );
        let silent = failed(BatchFate::FailedSilently);
        assert_eq!(silent["metadata"]["state"], "BATCH_STATE_FAILED");
        assert_eq!(
            (&silent["done"], silent.get("error"), silent.get("response")),
            (&json!(true), None, None)
        );
    }
}
