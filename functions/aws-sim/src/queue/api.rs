//! The AWS JSON protocol over the queues: `x-amz-target: AmazonSQS.<operation>`, JSON in and out.

use std::{collections::BTreeMap, error::Error, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Queues, attributes, batch,
    error::QueueError,
    message::{MAX_MESSAGE_SIZE, MessageAttribute, Outgoing, md5_of_attributes, md5_of_body},
    receive_message,
};
use crate::wire::{ACCOUNT, TRACE_HEADER};

/// The prefix of an operation's name in the header.
const TARGET: &str = "AmazonSQS.";

/// Serves SQS to clients. Implements [`Transport`].
#[derive(Debug)]
pub struct QueueApi(Arc<Queues>);

impl QueueApi {
    /// Creates a service over `queues`.
    pub fn new(queues: Arc<Queues>) -> Self {
        Self(queues)
    }

    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, QueueError> {
        let target = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok())
            .unwrap_or_default();
        let operation = target.strip_prefix(TARGET).unwrap_or(target);
        let queues = &self.0;
        match operation {
            "CreateQueue" => create(queues, parse(body)?, headers),
            "GetQueueUrl" => queue_url(queues, &parse(body)?, headers),
            "ListQueues" => Ok(list(queues, &parse(body)?, headers)),
            "GetQueueAttributes" => attributes_of(queues, &parse(body)?),
            "SetQueueAttributes" => set_attributes(queues, &parse(body)?),
            "SendMessage" => send(queues, parse(body)?, headers),
            "SendMessageBatch" => batch::send(queues, parse(body)?, headers),
            "ReceiveMessage" => receive_message::receive(queues, &parse(body)?).await,
            "DeleteMessage" => delete(queues, &parse(body)?),
            "DeleteMessageBatch" => batch::delete(queues, &parse(body)?),
            "ChangeMessageVisibility" => change_visibility(queues, &parse(body)?),
            "ChangeMessageVisibilityBatch" => batch::change_visibility(queues, &parse(body)?),
            "PurgeQueue" => queues
                .purge(queue_name(&parse::<OneQueue>(body)?.queue_url))
                .map(|()| json!({})),
            _ => Err(QueueError::UnsupportedOperation(operation.to_owned())),
        }
    }
}

impl Transport for QueueApi {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(TransportError::NeverSent)?
                .to_bytes();
            Ok(match self.answer(&head.headers, &body).await {
                Ok(answer) => response(StatusCode::OK, &answer),
                Err(error) => refusal(&error),
            })
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateQueue {
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedQueue {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneQueue {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetAttributes {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    #[serde(flatten)]
    message: MessageEntry,
}

/// The fields that a single send and a batch entry share.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MessageEntry {
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: BTreeMap<String, MessageAttribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, MessageAttribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteMessage {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

fn create(queues: &Queues, request: CreateQueue, headers: &HeaderMap) -> Result<Value, QueueError> {
    // Attributes that the caller omits are not compared with those of an existing queue.
    let base = queues.attributes(&request.queue_name).unwrap_or_default();
    queues.create(&request.queue_name, base.with(&request.attributes)?)?;
    Ok(json!({ "QueueUrl": url(&request.queue_name, headers) }))
}

fn queue_url(
    queues: &Queues,
    request: &NamedQueue,
    headers: &HeaderMap,
) -> Result<Value, QueueError> {
    queues.attributes(&request.queue_name)?;
    Ok(json!({ "QueueUrl": url(&request.queue_name, headers) }))
}

fn list(queues: &Queues, request: &ListQueues, headers: &HeaderMap) -> Value {
    let urls: Vec<_> = queues
        .names(&request.queue_name_prefix)
        .iter()
        .map(|name| url(name, headers))
        .collect();
    json!({ "QueueUrls": urls })
}

fn attributes_of(queues: &Queues, request: &GetAttributes) -> Result<Value, QueueError> {
    let name = queue_name(&request.queue_url);
    let (settings, depth) = (queues.settings(name)?, queues.depth(name)?);
    let mut pairs = settings.attributes.to_pairs();
    pairs.insert("MaximumMessageSize", MAX_MESSAGE_SIZE.to_string());
    pairs.insert("QueueArn", attributes::queue_arn(name));
    pairs.insert(
        "CreatedTimestamp",
        settings.created_at.as_second().to_string(),
    );
    pairs.insert(
        "LastModifiedTimestamp",
        settings.changed_at.as_second().to_string(),
    );
    pairs.insert("ApproximateNumberOfMessages", depth.visible.to_string());
    pairs.insert(
        "ApproximateNumberOfMessagesNotVisible",
        depth.in_flight.to_string(),
    );
    pairs.insert(
        "ApproximateNumberOfMessagesDelayed",
        depth.delayed.to_string(),
    );
    // Like SQS, it returns only the attributes that the request names.
    let asked = |name: &str| {
        request
            .attribute_names
            .iter()
            .any(|asked| asked == "All" || asked == name)
    };
    pairs.retain(|name, _| asked(name));
    Ok(json!({ "Attributes": pairs }))
}

fn set_attributes(queues: &Queues, request: &SetAttributes) -> Result<Value, QueueError> {
    let name = queue_name(&request.queue_url);
    queues.set_attributes(name, queues.attributes(name)?.with(&request.attributes)?)?;
    Ok(json!({}))
}

fn send(queues: &Queues, request: SendMessage, headers: &HeaderMap) -> Result<Value, QueueError> {
    send_message(
        queues,
        queue_name(&request.queue_url),
        request.message.into_outgoing(headers)?,
    )
}

/// Sends a message and returns the answer for the sender.
pub(super) fn send_message(
    queues: &Queues,
    name: &str,
    message: Outgoing,
) -> Result<Value, QueueError> {
    let mut answer = json!({ "MD5OfMessageBody": md5_of_body(&message.body) });
    if let Some(md5) = md5_of_attributes(&message.attributes) {
        answer["MD5OfMessageAttributes"] = md5.into();
    }
    answer["MessageId"] = queues.send(name, message)?.into();
    Ok(answer)
}

fn delete(queues: &Queues, request: &DeleteMessage) -> Result<Value, QueueError> {
    queues
        .delete(queue_name(&request.queue_url), &request.receipt_handle)
        .map(|()| json!({}))
}

fn change_visibility(queues: &Queues, request: &ChangeVisibility) -> Result<Value, QueueError> {
    let visibility = attributes::parameter(
        "VisibilityTimeout",
        request.visibility_timeout,
        &attributes::VISIBILITY,
    )?;
    queues
        .change_visibility(
            queue_name(&request.queue_url),
            &request.receipt_handle,
            visibility,
        )
        .map(|()| json!({}))
}

impl MessageEntry {
    /// Converts the entry to a message. Its own trace header takes precedence over that of the
    /// call.
    pub(super) fn into_outgoing(self, headers: &HeaderMap) -> Result<Outgoing, QueueError> {
        let delay = self
            .delay_seconds
            .map(|given| attributes::parameter("DelaySeconds", given, &attributes::DELAY));
        let mut system = self.message_system_attributes;
        let own = system
            .remove("AWSTraceHeader")
            .and_then(|attribute| attribute.string_value);
        let of_call = || headers.get(TRACE_HEADER)?.to_str().ok().map(str::to_owned);
        Ok(Outgoing {
            body: self.message_body,
            delay: delay.transpose()?,
            attributes: self.message_attributes,
            trace_header: own.or_else(of_call),
        })
    }
}

/// Returns the queue's name, which is the last segment of its URL.
pub(super) fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn url(name: &str, headers: &HeaderMap) -> String {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{host}/{ACCOUNT}/{name}")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, QueueError> {
    serde_json::from_slice(body).map_err(QueueError::Malformed)
}

fn refusal(error: &QueueError) -> Response<Body> {
    let (status, fault) = if error.is_sender_fault() {
        (StatusCode::BAD_REQUEST, "Sender")
    } else {
        tracing::error!(%error, source = error.source().map(tracing::field::display), "queue storage failed");
        (StatusCode::INTERNAL_SERVER_ERROR, "Receiver")
    };
    let body = json!({ "__type": format!("com.amazonaws.sqs#{}", error.name()), "message": error.to_string() });
    let mut response = response(status, &body);
    if let Ok(code) = HeaderValue::try_from(format!("{};{fault}", error.query_code())) {
        response.headers_mut().insert("x-amzn-query-error", code);
    }
    response
}

fn response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    response
}
