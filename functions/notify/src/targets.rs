//! Where events are sent to.

use std::sync::Arc;

use darkroom::events::{Event, TargetName};
use runtime::{aws_call::AwsCaller, event_targets::EventTargets};
use seam::{clock::Clock, proxies::Proxies};

use crate::{error::SendError, event_bus::EventBus, topic::Topic};

pub use crate::webhook::Webhook;

/// The targets of a deployment, each of which gets every event that it wants.
#[derive(Clone, Debug, Default)]
pub struct Targets(Vec<Arc<Target>>);

/// One target.
#[derive(Debug)]
pub enum Target {
    /// A bus of EventBridge.
    Bus(EventBus),
    /// A topic of SNS.
    Topic(Topic),
    /// A webhook.
    Webhook(Webhook),
}

impl Targets {
    /// The targets of `settings`, over the network. A webhook goes through `proxies`.
    pub fn over_network(settings: &EventTargets, aws: &Arc<AwsCaller>, proxies: Proxies) -> Self {
        let webhook = settings.webhook.as_ref();
        let webhook =
            webhook.map(|target| Webhook::over_https(target, aws, proxies, Clock::system()));
        Self::new(settings, aws, webhook)
    }

    /// The bus and the topic of `settings`, through `aws`, and this webhook.
    pub fn new(settings: &EventTargets, aws: &Arc<AwsCaller>, webhook: Option<Webhook>) -> Self {
        let EventTargets { bus, topic, .. } = settings.clone();
        let bus = bus.map(|name| Target::Bus(EventBus::new(Arc::clone(aws), name)));
        let topic = topic.map(|arn| Target::Topic(Topic::new(Arc::clone(aws), arn)));
        let targets = [bus, topic, webhook.map(Target::Webhook)];
        Self(targets.into_iter().flatten().map(Arc::new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the targets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl Target {
    /// Returns the target's name in records.
    pub(crate) fn name(&self) -> TargetName {
        match self {
            Self::Bus(_) => TargetName::EventBridge,
            Self::Topic(_) => TargetName::Sns,
            Self::Webhook(_) => TargetName::Webhook,
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`SendError`]; the event may have been sent.
    pub(crate) async fn send(&self, event: &Event) -> Result<(), SendError> {
        match self {
            Self::Bus(bus) => bus.send(event).await,
            Self::Topic(topic) => topic.send(event).await,
            Self::Webhook(webhook) => webhook.send(event).await,
        }
    }
}
