//! Null controls break a rule of the protocol in the requests and responses, so that the functions
//! need no switch for it. A harness that does not detect them proves nothing.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::ETAG};
use runtime::bucket::Conditional;
use seam::transport::{Transport, TransportError};
use serde_json::{Value, json};

use super::{
    cloud::FaultCloud,
    request::{Sent, Whole},
};

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Break {
    /// S3 ignores `If-Match` and `If-None-Match`.
    Conditions,
    /// The batch of an unanswered create call is looked up without a quiet period.
    QuietPeriod,
    /// The create call is repeated at once after an unanswered one.
    Recovery,
    /// Only the first page of the list of batches is read.
    List,
    /// A message is deleted before its handler runs.
    AckEarly,
    /// Results are joined to requests by position.
    Position,
    /// A shard is done without naming its next round.
    FanIn,
    /// A shard fails after its output could not be read five times.
    GiveUp,
    /// A batch that has succeeded without the location of its output counts as one that was
    /// cancelled without output.
    LateOutputRule,
    /// Two folders have the same identity and treat each other's batches as their own.
    Stranger,
    /// A synchronous call is made before its claim is stored.
    LateClaim,
    /// A thumbnail is listed although it was not stored.
    LostThumbnail,
    /// A request file is released although it differs from the one that was frozen for the proof.
    Unfrozen,
    /// The ledger loses what folders have spent.
    Uncounted,
}

/// Sends a request with the broken rule applied, and reads the whole response.
///
/// # Errors
/// Returns the errors of the service.
pub(crate) async fn perform(
    cloud: &FaultCloud,
    broken: Option<Break>,
    service: &dyn Transport,
    sent: &Sent,
) -> Result<Whole, TransportError> {
    match broken {
        Some(Break::Conditions) if sent.is_conditional_put() => {
            return put(cloud, sent, sent.body.clone(), false).await;
        }
        Some(Break::Recovery) => {
            if let Some(state) = sent.state().and_then(planned_again) {
                return put(cloud, sent, state.to_string().into(), true).await;
            }
        }
        Some(Break::FanIn) => {
            if let Some(state) = sent.state().and_then(without_round) {
                return put(cloud, sent, state.to_string().into(), true).await;
            }
        }
        Some(Break::GiveUp) => {
            if let Some(state) = sent.state().and_then(given_up) {
                return put(cloud, sent, state.to_string().into(), true).await;
            }
        }
        Some(Break::LateClaim) => {
            if let Some(state) = sent.state().and_then(without_claims) {
                return put(cloud, sent, state.to_string().into(), true).await;
            }
        }
        Some(Break::Unfrozen) => {
            if let Some(state) = sent.state().and_then(unfrozen) {
                return put(cloud, sent, state.to_string().into(), true).await;
            }
        }
        Some(Break::Uncounted) => {
            if let Some(mut ledger) = sent.ledger() {
                ledger["folders"] = json!({});
                return put(cloud, sent, ledger.to_string().into(), true).await;
            }
        }
        Some(Break::LostThumbnail) if sent.writes_a_thumbnail() => {
            return Ok(Whole::bare(StatusCode::OK));
        }
        Some(
            Break::Conditions
            | Break::QuietPeriod
            | Break::List
            | Break::AckEarly
            | Break::Position
            | Break::LateOutputRule
            | Break::Stranger
            | Break::LostThumbnail,
        )
        | None => {}
    }
    let mut answer = Whole::read(service.send(sent.request()).await?).await?;
    if broken == Some(Break::List) && sent.is_list() {
        answer.body = first_page(&answer.body);
    }
    if broken == Some(Break::LateOutputRule) && sent.asks_for_a_batch() {
        answer.body = without_output(&answer.body);
    }
    if broken == Some(Break::Position)
        && let Some(file) = sent.downloads()
    {
        answer.body = by_position(cloud, file, &answer.body);
    }
    Ok(answer)
}

/// Replaces the phase of a shard that would look up its batch by `planned`.
fn planned_again(mut state: Value) -> Option<Value> {
    let phase = &state["phase"];
    let attempt = match phase["name"].as_str()? {
        "recovering" => phase["attempt"].clone(),
        "held" if phase["before"]["name"] == "creating" => phase["before"]["attempt"].clone(),
        _ => return None,
    };
    state["phase"] = json!({"name": "planned", "attempts": attempt});
    Some(state)
}

/// Removes the next round from a shard that is done.
fn without_round(mut state: Value) -> Option<Value> {
    let phase = state["phase"].as_object_mut()?;
    (phase.get("name")? == "done").then_some(())?;
    phase.remove("next")?;
    Some(state)
}

/// Replaces the phase of a shard that is held because of an unreadable output by `failed`.
fn given_up(mut state: Value) -> Option<Value> {
    let phase = &state["phase"];
    let before = phase["before"].as_object()?;
    (phase["name"] == "held" && matches!(before["name"].as_str()?, "ready" | "collecting"))
        .then_some(())?;
    let batch = before["ended"]["batch"].clone();
    let (message, chunks) = (
        phase["reason"].clone(),
        before.get("chunks").cloned().unwrap_or_else(|| json!([])),
    );
    state["phase"] = json!({
        "name": "failed", "code": "HELD", "message": message, "chunks": chunks, "may_be_billed": true, "batch": batch,
    });
    Some(state)
}

/// Removes the claims from a shard. Their calls are then made without a durable claim, and only
/// the next write after them, with their results, has their effect.
fn without_claims(mut state: Value) -> Option<Value> {
    let phase = state["phase"].as_object_mut()?;
    (phase.get("name")? == "generating").then_some(())?;
    phase.remove("claimed")?;
    Some(state)
}

/// Removes the digest of the frozen request file from a shard that has been released. While it is
/// held, the digest also shows that it waits for the proof.
fn unfrozen(mut state: Value) -> Option<Value> {
    (state["phase"]["name"] != "held").then_some(())?;
    state.as_object_mut()?.remove("frozen")?;
    Some(state)
}

/// Makes a batch that has ended, and whose output is late, look cancelled without output.
fn without_output(body: &Bytes) -> Bytes {
    let Ok(mut batch) = serde_json::from_slice::<Value>(body) else {
        return body.clone();
    };
    let has_output = batch["metadata"].get("output").is_some() || batch.get("response").is_some();
    if batch["metadata"]["state"] != "BATCH_STATE_SUCCEEDED" || has_output {
        return body.clone();
    }
    batch["done"] = Value::from(true);
    batch["metadata"]["state"] = Value::from("BATCH_STATE_CANCELLED");
    batch["metadata"]["batchStats"] = json!({"requestCount": "1", "pendingRequestCount": "1"});
    batch.to_string().into()
}

/// Removes the token of the next page from a list.
fn first_page(body: &Bytes) -> Bytes {
    let Ok(mut page) = serde_json::from_slice::<Value>(body) else {
        return body.clone();
    };
    if let Some(members) = page.as_object_mut() {
        members.remove("nextPageToken");
    }
    page.to_string().into()
}

/// Gives the nth line of an output the key of the nth request.
fn by_position(cloud: &FaultCloud, file: &str, body: &Bytes) -> Bytes {
    let records = cloud.gemini.records().unwrap_or_default();
    let named =
        |output: &Option<String>| output.as_deref().is_some_and(|name| name.ends_with(file));
    let Some(record) = records.iter().find(|record| named(&record.output)) else {
        return body.clone();
    };
    let mut keys = record.keys.iter();
    let mut lines = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match (serde_json::from_slice::<Value>(line), keys.next()) {
            (Ok(mut value), Some(key)) => {
                value["key"] = Value::from(key.as_str());
                lines.extend(format!("{value}\n").into_bytes());
            }
            (Ok(_) | Err(_), _) => lines.extend_from_slice(line),
        }
    }
    lines.into()
}

/// Writes an object in place of the signed request, with the harness's own client, and returns the
/// response of S3.
async fn put(
    cloud: &FaultCloud,
    sent: &Sent,
    body: Bytes,
    conditions: bool,
) -> Result<Whole, TransportError> {
    let key = sent.key().unwrap_or_default();
    let kind = sent.header("content-type").unwrap_or("application/json");
    let bucket = &cloud.local.bucket;
    let written = match (conditions, sent.header("if-match")) {
        (false, _) => bucket.put(key, kind, body).await.map(Conditional::Written),
        (true, Some(etag)) => bucket.replace(key, etag, kind, body).await,
        (true, None) => bucket.create(key, kind, body).await,
    };
    match written {
        Ok(Conditional::Written(etag)) => {
            let mut answer = Whole::bare(StatusCode::OK);
            if let Ok(etag) = HeaderValue::try_from(etag) {
                answer.headers.insert(ETAG, etag);
            }
            Ok(answer)
        }
        Ok(Conditional::Refused) => Ok(Whole::bare(StatusCode::PRECONDITION_FAILED)),
        Err(error) => Err(TransportError::Interrupted(error.to_string().into())),
    }
}
