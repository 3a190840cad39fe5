//! One batch: what is stored of it, how far it is at a moment, and what the service says of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    ask::References,
    behaviour::Outcome,
    input::{Input, Row},
};

/// A batch that has not ended by then expires without results. Source: ai.google.dev/gemini-api/docs/batch-api, read
/// 2026-11-21.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(48);

const BATCH_TYPE: &str = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";
const OUTPUT_TYPE: &str = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatchOutput";

/// A batch. Its whole life is decided when it is created; only a cancel or a delete changes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    /// 36 letters and digits.
    pub(super) id: String,
    /// Counts up: the order of lists.
    pub(super) number: u64,
    /// The model's id, without `models/`.
    pub(super) model: String,
    pub(super) display_name: String,
    pub(super) priority: i64,
    pub(super) input: Input,
    pub(super) seed: u64,
    pub(super) created: Timestamp,
    pub(super) starts: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) cancelled: Option<Timestamp>,
    pub(super) deleted: Option<Deleted>,
    pub(super) request_count: usize,
    /// Which rows end in an error line, by their place in the order of doing.
    pub(super) failed: Vec<usize>,
    pub(super) references: References,
}

/// What is left of a deleted batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Deleted {
    pub(super) billed_nanodollars: u64,
}

/// A batch's state. `FAILED` does not come of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    Succeeded,
    Cancelled,
    Expired,
}

/// How far a batch is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) state: State,
    /// The rows that are done, the first ones of their order.
    pub(super) done: usize,
    updated: Timestamp,
}

impl Batch {
    /// The places of the rows that end in an error line.
    pub(super) fn failed_places(rows: &[Row]) -> Vec<usize> {
        let fails = |row: &Row| matches!(row.outcome, Outcome::InternalError | Outcome::NoReference);
        rows.iter().enumerate().filter(|(_, row)| fails(row)).map(|(place, _)| place).collect()
    }

    /// How far it is at `now`.
    pub(super) fn progress(&self, now: Timestamp) -> Progress {
        let reached = self.cancelled.unwrap_or(now).min(now);
        if reached >= self.expires() && self.ends > self.expires() {
            return Progress { state: State::Expired, done: 0, updated: self.expires() };
        }
        if reached >= self.ends {
            return Progress { state: State::Succeeded, done: self.request_count, updated: self.ends };
        }
        let started = reached >= self.starts;
        let state = match (self.cancelled, started) {
            (Some(_), _) => State::Cancelled,
            (None, false) => State::Pending,
            (None, true) => State::Running,
        };
        let updated = if started || state == State::Cancelled { reached } else { self.created };
        Progress { state, done: if started { self.done_while_running(reached) } else { 0 }, updated }
    }

    /// The moments at which its state changes.
    pub(super) fn events(&self) -> impl Iterator<Item = Timestamp> {
        let over = self.cancelled.is_some() || self.deleted.is_some();
        [self.starts, self.ends.min(self.expires())].into_iter().filter(move |_| !over)
    }

    /// The `Operation` at `now`. `inlined` are the results of a batch with inline requests.
    pub(super) fn operation(&self, now: Timestamp, inlined: Option<Vec<Value>>) -> Value {
        let progress = self.progress(now);
        let output = match (&self.input, inlined) {
            _ if !progress.has_output() => None,
            (Input::File(_), _) => Some(json!({"responsesFile": format!("files/{}", self.output_file())})),
            (Input::Inline, Some(responses)) => Some(json!({"inlinedResponses": {"inlinedResponses": responses}})),
            (Input::Inline, None) => None,
        };
        let mut operation = json!({"name": self.name(), "metadata": self.metadata(&progress, output.as_ref())});
        if progress.state.is_terminal() {
            operation["done"] = Value::from(true);
            match (output, progress.state.error()) {
                (None, Some(error)) => operation["error"] = error,
                (output, _) => operation["response"] = typed(OUTPUT_TYPE, output.unwrap_or(json!({}))),
            }
        }
        operation
    }

    /// `batches/<id>`.
    pub(super) fn name(&self) -> String {
        format!("batches/{}", self.id)
    }

    fn metadata(&self, progress: &Progress, output: Option<&Value>) -> Value {
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
        metadata["updateTime"] = Value::from(progress.updated.to_string());
        metadata["batchStats"] = self.stats(progress.done);
        metadata["state"] = Value::from(progress.state.name());
        if self.priority != 0 {
            metadata["priority"] = Value::from(self.priority.to_string());
        }
        metadata["name"] = Value::from(self.name());
        metadata
    }

    fn stats(&self, done: usize) -> Value {
        let failed = self.failed.partition_point(|place| *place < done);
        let counts = [
            ("requestCount", self.request_count),
            ("successfulRequestCount", done - failed),
            ("failedRequestCount", failed),
            ("pendingRequestCount", self.request_count - done),
        ];
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        counted.map(|(name, count)| (name.to_owned(), Value::from(count.to_string()))).collect::<Map<_, _>>().into()
    }

    /// The id of its output file: 42 letters, more than a file id may have, as with the real service.
    fn output_file(&self) -> String {
        format!("batch-{}", self.id)
    }

    fn expires(&self) -> Timestamp {
        self.created.saturating_add(EXPIRES_AFTER).unwrap_or(Timestamp::MAX)
    }

    fn done_while_running(&self, reached: Timestamp) -> usize {
        let whole = self.ends.duration_since(self.starts).as_millis().max(1);
        let part = reached.duration_since(self.starts).as_millis();
        usize::try_from(self.request_count as i128 * part / whole).unwrap_or(0).min(self.request_count)
    }
}

impl Progress {
    /// Whether there are results: of a success, or of what was done before a cancel.
    pub(super) fn has_output(&self) -> bool {
        match self.state {
            State::Succeeded => true,
            State::Cancelled => self.done > 0,
            State::Pending | State::Running | State::Expired => false,
        }
    }
}

impl State {
    pub(super) fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Cancelled | Self::Expired => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "BATCH_STATE_PENDING",
            Self::Running => "BATCH_STATE_RUNNING",
            Self::Succeeded => "BATCH_STATE_SUCCEEDED",
            Self::Cancelled => "BATCH_STATE_CANCELLED",
            Self::Expired => "BATCH_STATE_EXPIRED",
        }
    }

    /// The top-level error of an operation that ended without results.
    fn error(self) -> Option<Value> {
        match self {
            Self::Pending | Self::Running | Self::Succeeded => None,
            Self::Cancelled => Some(json!({"code": 13, "message": "Batch was cancelled before it was processed."})),
            Self::Expired => Some(json!({"code": 4, "message": "Batch expired before it was processed."})),
        }
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
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn batch(cancelled: Option<i64>) -> Batch {
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
            cancelled: cancelled.map(at),
            deleted: None,
            request_count: 10,
            failed: vec![1, 4],
            references: References::new(),
        }
    }

    #[test]
    fn requests_are_done_one_after_the_other() {
        let batch = batch(None);
        let done = |second| (batch.progress(at(second)).state, batch.progress(at(second)).done);
        assert_eq!(done(99), (State::Pending, 0));
        assert_eq!(done(100), (State::Running, 0));
        assert_eq!(done(600), (State::Running, 5));
        assert_eq!(done(1099), (State::Running, 9));
        assert_eq!(done(1100), (State::Succeeded, 10));
    }

    #[test]
    fn stats_leave_out_zeros() {
        let stats = |second| batch(None).operation(at(second), None)["metadata"]["batchStats"].clone();
        assert_eq!(stats(0), json!({"requestCount": "10", "pendingRequestCount": "10"}));
        let half = json!({"requestCount": "10", "successfulRequestCount": "3", "failedRequestCount": "2",
                          "pendingRequestCount": "5"});
        assert_eq!(stats(600), half);
        let whole = json!({"requestCount": "10", "successfulRequestCount": "8", "failedRequestCount": "2"});
        assert_eq!(stats(1100), whole);
    }

    #[test]
    fn a_cancel_stops_the_work_where_it_is() {
        let progress = batch(Some(600)).progress(at(5000));
        assert_eq!((progress.state, progress.done), (State::Cancelled, 5));
        assert!(progress.has_output());
        assert!(!batch(Some(50)).progress(at(5000)).has_output());
    }

    #[test]
    fn a_cancel_after_the_end_changes_nothing() {
        assert_eq!(batch(Some(1200)).progress(at(5000)).state, State::Succeeded);
    }

    #[test]
    fn a_batch_too_long_expires_without_results() {
        let batch = Batch { ends: at(49 * 3600), ..batch(None) };
        assert_eq!(batch.progress(at(48 * 3600 - 1)).state, State::Running);
        let operation = batch.operation(at(50 * 3600), None);
        assert_eq!(operation["metadata"]["state"], "BATCH_STATE_EXPIRED");
        assert_eq!(operation["done"], true);
        assert_eq!(operation["metadata"].get("output"), None);
    }
}
