//! `events.json`: which events of a job were sent to which target.

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Event, EventId, EventKind, Hold, HoldCause, quarters};
use crate::{messages::Version, names::JobId, status::JobStatus};

/// How long after an attempt that failed its message may still return: longer than the longest wait
/// between two attempts, which is the visibility timeout of 90 minutes after a crash.
const ATTEMPT_IS_RECENT: SignedDuration = SignedDuration::from_hours(2);

/// The record of a job's events: `jobs/<job>/events.json`, written by `notify` alone, by
/// compare-and-swap.
///
/// ```json
/// {"v":1,"write_id":"…","job":"catalog-…","events":[{"id":"evt_…","type":"Job Accepted",
///  "sent":{"eventbridge":"2026-11-21T09:00:05Z"}}],"holds":0,"quarters":2}
/// ```
///
/// An invocation claims the record before it sends events, because two messages about a job can be
/// handled at the same time, and a user must not receive everything twice. The claim is a lease: its
/// owner may be killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The version of the format.
    pub v: Version,
    /// The id of the write that created this version.
    pub write_id: String,
    /// The job.
    pub job: JobId,
    /// The events that were sent to at least one target, in the order of their first sending.
    pub events: Vec<SentEvent>,
    /// What the job waits for, if an event about it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldCause>,
    /// How many times the job began to wait for a user.
    pub holds: u32,
    /// The most quarters of the images that were finished, 0 to 4.
    pub quarters: u8,
    /// When sending an event last failed. It is absent once everything is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// Until when an invocation has claimed the record to send events. It is absent once they are
    /// recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_until: Option<Timestamp>,
}

/// An event that was sent to at least one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEvent {
    /// The event.
    pub id: EventId,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it was sent to each target.
    pub sent: BTreeMap<TargetName, Timestamp>,
}

/// Where events are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetName {
    /// A bus of Amazon EventBridge.
    EventBridge,
    /// A topic of Amazon SNS.
    Sns,
    /// The address of a webhook.
    Webhook,
}

impl TargetName {
    /// Whether events of this kind are sent to the target. People who read the messages of a topic
    /// need no progress.
    pub fn wants(self, kind: EventKind) -> bool {
        match self {
            Self::EventBridge | Self::Webhook => true,
            Self::Sns => kind != EventKind::Progress,
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventBridge => "eventbridge",
            Self::Sns => "sns",
            Self::Webhook => "webhook",
        })
    }
}

impl Outbox {
    /// Creates the record of a job of which nothing was sent.
    pub fn new(job: &JobId) -> Self {
        Self {
            v: Version,
            write_id: String::new(),
            job: job.clone(),
            events: Vec::new(),
            hold: None,
            holds: 0,
            quarters: 0,
            failed_at: None,
            claimed_until: None,
        }
    }

    /// Whether another invocation may be sending events.
    pub fn is_claimed(&self, now: Timestamp) -> bool {
        self.claimed_until.is_some_and(|until| now < until)
    }

    /// Follows the job's status: notices that the job has begun to wait for a user or no longer
    /// does, and that more of its images are finished.
    pub fn follow(&mut self, status: &JobStatus) {
        let hold = Hold::of(status).map(|hold| hold.cause);
        if hold.is_some() && hold != self.hold {
            self.holds += 1;
        }
        self.hold = hold;
        if let Some(plan) = &status.plan {
            self.quarters = self.quarters.max(quarters(status.finished, plan.images));
        }
    }

    /// Whether the event was sent to the target.
    pub fn was_sent(&self, id: &EventId, target: TargetName) -> bool {
        self.events
            .iter()
            .any(|event| event.id == *id && event.sent.contains_key(&target))
    }

    /// Records that the event was sent to the target.
    pub fn record(&mut self, event: &Event, target: TargetName, at: Timestamp) {
        match self.events.iter_mut().find(|known| known.id == event.id) {
            Some(known) => {
                known.sent.insert(target, at);
            }
            None => self.events.push(SentEvent {
                id: event.id.clone(),
                kind: event.news.kind(),
                sent: BTreeMap::from([(target, at)]),
            }),
        }
    }

    /// Whether a message about the job is probably still being retried.
    pub fn is_being_retried(&self, now: Timestamp) -> bool {
        self.failed_at
            .is_some_and(|failed| now < failed + ATTEMPT_IS_RECENT)
    }
}
