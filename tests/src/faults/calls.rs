//! The synchronous calls, as they arrive at the simulated Gemini.
//!
//! The request log of the simulated Gemini has neither the answers nor what each call cost. Both are
//! recorded here where the call is carried out, and the oracle compares the record with the log.

use std::collections::BTreeSet;

use bytes::Bytes;
use darkroom::{chunks::Chunk, digest::hex, names::RequestKey, requests};
use gemini_sim::{BillByLane, LoggedCall, LoggedRequest};
use http::StatusCode;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::request::{Sent, Whole};

/// A synchronous call that Gemini has received.
#[derive(Clone, Debug)]
pub(crate) struct MadeCall {
    /// The number of the manifest, from the prompt.
    pub(crate) manifest: usize,
    /// The key, from the prompt.
    pub(crate) key: String,
    /// The invocation that made the call. None if its request arrived later than its end.
    pub(crate) invocation: Option<usize>,
    /// When it arrived.
    pub(crate) at: jiff::Timestamp,
    /// The SHA-256 of its body.
    pub(crate) sha256: String,
    /// What Gemini charged for it, in billionths of a dollar.
    pub(crate) nanodollars: u64,
    /// The images of its answer. Empty if the answer was lost within Gemini.
    pub(crate) images: Vec<Bytes>,
    /// Whether the whole answer reached the invocation.
    pub(crate) reached: bool,
    /// Whether the invocation stored its result before it ended.
    pub(crate) stored: bool,
}

/// The calls, the claims before them, and what may excuse a lost answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// The calls, in the order of their arrival.
    pub(crate) made: Vec<MadeCall>,
    /// The claims that a state had: state, as its key in the bucket, and request key.
    pub(crate) claimed: BTreeSet<(String, String)>,
    /// The invocations that were killed.
    pub(crate) killed: BTreeSet<usize>,
    /// The bodies of requests, as SHA-256, of a job that the user has approved before its request
    /// files changed.
    pub(crate) approved: Option<BTreeSet<String>>,
}

impl MadeCall {
    /// Whether Gemini charged for it.
    pub(crate) fn is_billed(&self) -> bool {
        self.nanodollars > 0
    }

    /// Whether it is in the documented window: the answer did not arrive, or the invocation ended
    /// before it had stored the result. Such an image may be bought again.
    pub(crate) fn is_lost(&self) -> bool {
        !(self.reached && self.stored)
    }

    /// Whether an image of this call must be kept, and must not be bought again.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_billed() && !self.images.is_empty() && !self.is_lost()
    }

    /// Whether it is for a key of a job, given as `jobs/<id>/`.
    pub(crate) fn is_of(&self, job: &str) -> bool {
        job.starts_with(&job_prefix(self.manifest))
    }

    pub(crate) fn description(&self) -> String {
        let Self {
            invocation,
            at,
            reached,
            stored,
            ..
        } = self;
        let by = invocation.map_or("a late request".to_owned(), |number| format!("#{number}"));
        format!("the call of {by} at {at} (answer arrived: {reached}, stored: {stored})")
    }
}

impl Calls {
    /// Records a call that Gemini has answered with `answer`, and which changed its bill.
    pub(crate) fn record(
        &mut self,
        (sent, at): (&Sent, jiff::Timestamp),
        invocation: Option<usize>,
        answer: Option<&Whole>,
        (before, after): (BillByLane, BillByLane),
    ) {
        let Some((manifest, key)) = subject(&sent.body) else {
            return;
        };
        let of_calls = |bill: BillByLane| bill.flex_nanodollars + bill.interactive_nanodollars;
        self.made.push(MadeCall {
            manifest,
            key,
            invocation,
            at,
            sha256: hex(&Sha256::digest(&sent.body)),
            nanodollars: of_calls(after) - of_calls(before),
            images: answer.map_or_else(Vec::new, |answer| images(&answer.body)),
            reached: false,
            stored: false,
        });
    }

    /// Records that the whole answer to the last call reached its invocation.
    pub(crate) fn reached(&mut self, answer: &Whole) {
        if let Some(call) = self.made.last_mut() {
            // An answer without a body can't be read, so it counts as lost.
            let is_readable = serde_json::from_slice::<Value>(&answer.body).is_ok();
            call.reached = answer.status == StatusCode::OK && is_readable;
        }
    }

    /// Records what a write to S3 has stored: claims, or, while its sender lives, the result of a
    /// call.
    pub(crate) fn wrote(&mut self, sent: &Sent, invocation: Option<usize>) {
        let Some(path) = sent.key() else { return };
        if let Some(state) = sent.state() {
            let claimed = state["phase"]["claimed"].as_array().into_iter().flatten();
            let keys = claimed.filter_map(Value::as_str);
            self.claimed
                .extend(keys.map(|key| (path.to_owned(), key.to_owned())));
        }
        let call = self.made.iter_mut().rev().find(|call| {
            invocation.is_some()
                && call.invocation == invocation
                && path.starts_with(&job_prefix(call.manifest))
                && path.ends_with(&chunk_of(&call.key))
        });
        if let Some(call) = call {
            call.stored = true;
        }
    }

    /// Checks the record against Gemini's log.
    ///
    /// # Errors
    /// Returns an error if they differ, which is a defect of the harness.
    pub(crate) fn check(&self, log: &[LoggedRequest]) -> anyhow::Result<()> {
        let logged: Vec<&LoggedRequest> = log
            .iter()
            .filter(|entry| entry.call == LoggedCall::GenerateContent)
            .collect();
        for entry in &logged {
            anyhow::ensure!(
                self.made
                    .iter()
                    .any(|call| call.sha256 == entry.request_sha256),
                "a call of the log was not recorded: {entry:?}"
            );
        }
        for call in self.made.iter().filter(|call| call.is_billed()) {
            let is_same =
                |sha256: &str, status: u16| sha256 == call.sha256 && status == StatusCode::OK;
            let billed = self
                .made
                .iter()
                .filter(|other| other.is_billed() && other.sha256 == call.sha256)
                .count();
            let answered = logged
                .iter()
                .filter(|entry| is_same(&entry.request_sha256, entry.status))
                .count();
            anyhow::ensure!(
                billed <= answered,
                "{billed} calls for {} were charged for, and the log has {answered}",
                call.key
            );
        }
        Ok(())
    }
}

/// Returns the prompt of the image with this number of a manifest. It differs for each image, so
/// that a request names its key.
pub(crate) fn prompt(manifest: usize, number: usize) -> String {
    format!("a stone, number {number} of manifest {manifest}")
}

/// Returns the key of the image with this number.
pub(crate) fn key(number: usize) -> String {
    format!("stone-{number}")
}

/// Returns the manifest and the key that a request is for, by its prompt.
fn subject(body: &[u8]) -> Option<(usize, String)> {
    let text = str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(", number ")?;
    let (number, rest) = rest.split_once(" of manifest ")?;
    let digits = rest.find(|char: char| !char.is_ascii_digit());
    let manifest = rest[..digits.unwrap_or(rest.len())].parse().ok()?;
    Some((manifest, key(number.parse().ok()?)))
}

/// Returns the SHA-256 of the request of a line of a request file.
pub(crate) fn sha256_of_request(line: &str) -> Option<String> {
    let body = requests::call_body(line.as_bytes(), false).ok()?;
    Some(hex(&Sha256::digest(body)))
}

/// Returns the beginning of the keys of a manifest's job.
pub(crate) fn job_prefix(manifest: usize) -> String {
    format!("jobs/stones-{manifest}-")
}

/// Returns the end of the key of the chunk with the result of one key.
fn chunk_of(key: &str) -> String {
    format!(
        "/results/{}.jsonl",
        Chunk::of_key(&RequestKey::new(key)).name
    )
}

/// Returns the images of an answer, thoughts excluded.
fn images(body: &[u8]) -> Vec<Bytes> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let parts = answer["candidates"][0]["content"]["parts"].as_array();
    let is_result = |part: &&Value| part["thought"] != Value::Bool(true);
    let image = |part: &Value| {
        let data = part["inlineData"]["data"].as_str()?;
        let decoded = base64_simd::STANDARD.decode_to_vec(data).ok()?;
        Some(Bytes::from(decoded))
    };
    parts
        .into_iter()
        .flatten()
        .filter(is_result)
        .filter_map(image)
        .collect()
}
