//! A webhook by the specification of Standard Webhooks: a signed `POST` request.

use std::{fmt, sync::Arc, time::Duration};

use darkroom::events::Event;
use http::{HeaderValue, Request, header::CONTENT_TYPE};
use runtime::{
    aws_call::AwsCaller,
    event_targets::{SecretSource, WebhookTarget, WebhookUrl},
    parameter::Parameter,
};
use seam::{
    clock::Clock,
    guarded::Guarded,
    https::HttpsTransport,
    proxies::Proxies,
    transport::{Transport, TransportError, full},
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{error::SendError, secret::Secret};

/// How long a receiver may take to answer. The specification recommends 15 to 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A webhook.
///
/// The request goes to a public address only, over `https` on port 443, as for reference pictures
/// from the web; see [`seam::guarded`]. A redirect is not followed, and the body of the answer is
/// not read.
pub struct Webhook {
    transport: Arc<dyn Transport>,
    url: WebhookUrl,
    secret: StoredSecret,
    clock: Clock,
}

/// Where the secret is. It is read for each event, because a job has few of them, and a replaced
/// secret is then used at once.
enum StoredSecret {
    Given(String),
    Parameter(Parameter),
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: jiff::Timestamp,
    data: &'a Event,
}

impl Webhook {
    /// The webhook of a deployment, through `proxies`. The secret is read through `aws`.
    pub fn over_https(
        target: &WebhookTarget,
        aws: &Arc<AwsCaller>,
        proxies: Proxies,
        clock: Clock,
    ) -> Self {
        // A receiver on this machine is one of a test. It has no public address.
        let transport: Arc<dyn Transport> = if target.url.is_loopback() {
            Arc::new(HttpsTransport::default())
        } else {
            Arc::new(Guarded::new(proxies))
        };
        Self::over(transport, target, aws, clock)
    }

    /// The webhook through `transport`, without the checks of IP addresses.
    pub fn over(
        transport: Arc<dyn Transport>,
        target: &WebhookTarget,
        aws: &Arc<AwsCaller>,
        clock: Clock,
    ) -> Self {
        let secret = match target.secret.clone() {
            SecretSource::Given(secret) => StoredSecret::Given(secret),
            SecretSource::Parameter(name) => {
                StoredSecret::Parameter(Parameter::new(Arc::clone(aws), name))
            }
        };
        Self {
            transport,
            url: target.url.clone(),
            secret,
            clock,
        }
    }

    pub(crate) async fn send(&self, event: &Event) -> Result<(), SendError> {
        let secret = match &self.secret {
            StoredSecret::Given(secret) => Secret::parse(secret)?,
            StoredSecret::Parameter(parameter) => Secret::parse(&parameter.value().await?)?,
        };
        let body = serde_json::to_vec(&Payload {
            kind: event.news.kind().webhook_type(),
            timestamp: event.time,
            data: event,
        })?;

        // A repeated request has the same id and a new time, so that a receiver that refuses old
        // requests accepts it.
        let (id, timestamp) = (event.id.as_str(), self.clock.now().as_second());
        let signature = secret.sign(id, timestamp, &body);
        let request = Request::post(self.url.uri())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(full(body))
            .map_err(|_| SendError::Unreachable("has an invalid address".to_owned()))?;
        let response = timeout(ANSWER_TIMEOUT, self.transport.send(request)).await;
        let response = response
            .map_err(|_| SendError::Unreachable(format!("does not answer in {ANSWER_TIMEOUT:?}")))?
            .map_err(|error| failed(&error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(SendError::Status(status.as_u16())),
        }
    }
}

/// Describes a request without a response, without its address.
fn failed(error: &TransportError) -> SendError {
    SendError::Unreachable(match error {
        TransportError::NeverSent(_) => {
            "can't be reached, or its host has no public address".to_owned()
        }
        TransportError::Interrupted(_) => "closed the connection".to_owned(),
    })
}
