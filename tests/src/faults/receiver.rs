//! The receiver of a webhook: it accepts every event and remembers it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use notify::targets::{Targets, Webhook};
use runtime::{
    aws_call::AwsCaller,
    event_targets::{EventTargets, SecretSource, WebhookTarget},
};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, empty},
};
use serde_json::Value;

use super::{
    interceptor::{Interceptor, PendingRequests},
    request::Service,
};

/// The secret of the webhook.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An event that was received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReceivedEvent {
    /// The job.
    pub(crate) job: String,
    /// The kind, such as `Job Accepted`.
    pub(crate) kind: String,
    /// The id.
    pub(crate) id: String,
}

/// The receiver of a webhook.
#[derive(Debug, Default)]
pub(crate) struct Receiver(Mutex<BTreeSet<ReceivedEvent>>);

impl Receiver {
    /// Returns targets with only this webhook, whose requests the harness intercepts.
    ///
    /// # Errors
    /// Returns an error if the address can't be read.
    pub(crate) fn targets(
        self: &Arc<Self>,
        pending: &Arc<PendingRequests>,
        clock: Clock,
    ) -> anyhow::Result<Targets> {
        let target = WebhookTarget {
            url: "https://hooks.example/".parse()?,
            secret: SecretSource::Given(SECRET.to_owned()),
        };
        let aws = Arc::new(AwsCaller::from_env());
        let transport = Interceptor::outside(Service::Webhook, pending, Arc::clone(self) as _);
        let webhook = Webhook::over(transport, &target, &aws, clock);
        Ok(Targets::new(&EventTargets::default(), &aws, Some(webhook)))
    }

    /// Returns the events that were received, each once.
    pub(crate) fn received(&self) -> BTreeSet<ReceivedEvent> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ReceivedEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Receiver {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let body = request.into_body().collect().await;
            let body = body.map_err(TransportError::Interrupted)?.to_bytes();
            let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = |name: &str| {
                payload["data"][name]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            self.lock().insert(ReceivedEvent {
                job: text("job"),
                kind: text("type"),
                id: text("id"),
            });
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        })
    }
}
