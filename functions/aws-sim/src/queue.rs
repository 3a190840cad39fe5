//! The stand-in for SQS: standard queues with delays, visibility timeouts, redrive and long polls,
//! which survive a restart.
//!
//! [`Queues`] holds the queues. The host's event source mappings use it in process. [`QueueApi`]
//! serves the AWS JSON protocol over it, for the real SDK clients. Time comes only from the
//! [`Clock`], so a host can advance it.
//!
//! Every change is in the folder before the call returns: one document per message under
//! `messages/`, which is always replaced as a whole, and one per queue under `queues/`. A killed
//! process loses nothing. A power failure may lose the newest messages on any [`Disk`]. The states
//! still hold what those messages were about, and the sweep sends them again.
//!
//! Where SQS leaves the behavior open, the stand-in behaves as follows:
//! - Visible messages are delivered in the order in which they became visible.
//! - A receipt handle identifies one receive. A delete with the handle of an earlier receive
//!   succeeds and deletes nothing. A delete with the latest handle deletes the message, even if it
//!   is visible again. A change of visibility needs the latest handle and a message that is still
//!   in flight.
//! - A message whose receive count has reached `maxReceiveCount` moves to the dead-letter queue at
//!   its next receive. It keeps its id, its age and its receive count.

mod api;
mod attributes;
mod batch;
mod consumer;
mod error;
mod message;
mod message_index;
mod receipt;
mod receive_message;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use darkroom::digest::hex;
use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub(crate) use self::attributes::queue_arn;
pub use self::{
    api::QueueApi,
    attributes::{QueueAttributes, RedrivePolicy},
    error::QueueError,
    message::{Delivery, MessageAttribute, Outgoing},
    message_index::Depth,
};
use disk::{Disk, documents::Documents};

use self::{message::Message, message_index::MessageIndex};

/// The maximum number of messages in one receive or one batch.
const MAX_BATCH: usize = 10;

/// The minimum time between two purges of a queue
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>,
/// read 2026-11).
const PURGE_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// All queues of one folder.
pub struct Queues {
    clock: Clock,
    settings: Documents<QueueSettings>,
    messages: Documents<Message>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

/// The stored settings of a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct QueueSettings {
    attributes: QueueAttributes,
    created_at: Timestamp,
    changed_at: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    /// The number of the next message.
    next: u64,
}

#[derive(Debug)]
struct Queue {
    settings: QueueSettings,
    messages: MessageIndex,
    /// The time of the last purge. It is not stored, so a restart resets it.
    purged_at: Option<Timestamp>,
}

impl Queues {
    /// Loads the queues stored in `folder`, with their messages.
    ///
    /// # Errors
    /// [`QueueError::Storage`].
    pub fn open(folder: impl AsRef<Path>, clock: Clock) -> Result<Self, QueueError> {
        Self::open_on(&Disk::fast(), folder, clock)
    }

    /// Loads the queues like [`Queues::open`], with the durability of `disk`.
    ///
    /// # Errors
    /// [`QueueError::Storage`].
    pub fn open_on(
        disk: &Disk,
        folder: impl AsRef<Path>,
        clock: Clock,
    ) -> Result<Self, QueueError> {
        let settings = Documents::open_on(disk.clone(), folder.as_ref().join("queues"))?;
        let messages =
            Documents::<Message>::open_on(disk.clone(), folder.as_ref().join("messages"))?;
        let mut state = State::default();
        for (name, settings) in settings.load_all()? {
            state.queues.insert(name, Queue::new(settings));
        }
        // Numbers continue after the highest one, so that message ids stay unique.
        for (id, message) in messages.load_all()? {
            state.next = state.next.max(message.number + 1);
            if let Some(queue) = state.queues.get_mut(&message.queue) {
                queue.messages.put(&id, message);
            }
        }
        Ok(Self {
            clock,
            settings,
            messages,
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        })
    }

    /// Creates a queue. Creating an existing queue with the same settings changes nothing.
    ///
    /// # Errors
    /// [`QueueError::QueueNameExists`] if the queue exists with other settings;
    /// [`QueueError::InvalidParameterValue`] for a name that is not 1 to 80 letters, digits, `-`
    /// and `_`, and for a dead-letter queue that does not exist.
    pub fn create(&self, name: &str, attributes: QueueAttributes) -> Result<(), QueueError> {
        let mut state = self.lock();
        if let Some(queue) = state.queues.get(name) {
            return check_same_attributes(&queue.settings.attributes, &attributes);
        }
        check_name(name)?;
        state.check_redrive(name, &attributes)?;
        let now = self.clock.now();
        let settings = QueueSettings {
            attributes,
            created_at: now,
            changed_at: now,
        };
        self.settings.put(name, &settings)?;
        state.queues.insert(name.to_owned(), Queue::new(settings));
        Ok(())
    }

    /// Returns a queue's settings.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn attributes(&self, name: &str) -> Result<QueueAttributes, QueueError> {
        Ok(self.settings(name)?.attributes)
    }

    /// Changes a queue's settings.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`]; [`QueueError::InvalidParameterValue`] for a dead-letter
    /// queue that does not exist.
    pub fn set_attributes(
        &self,
        name: &str,
        attributes: QueueAttributes,
    ) -> Result<(), QueueError> {
        let mut state = self.lock();
        state.check_redrive(name, &attributes)?;
        let queue = state.queue(name)?;
        let settings = QueueSettings {
            attributes,
            created_at: queue.settings.created_at,
            changed_at: self.clock.now(),
        };
        self.settings.put(name, &settings)?;
        queue.settings = settings;
        Ok(())
    }

    /// Returns the names of all queues that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.lock()
            .queues
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Sends a message and returns its id.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`]; [`QueueError::MissingParameter`],
    /// [`QueueError::InvalidParameterValue`] or [`QueueError::InvalidMessageContents`] for an
    /// invalid message.
    pub fn send(&self, name: &str, outgoing: Outgoing) -> Result<String, QueueError> {
        outgoing.check()?;
        if let Some(delay) = outgoing.delay {
            attributes::parameter("DelaySeconds", delay.as_secs(), &attributes::DELAY)?;
        }
        let mut state = self.lock();
        let (now, number) = (self.clock.now(), state.next);
        let queue = state.queue(name)?;
        let id = message_id(name, number, now, &outgoing.body);
        // The message's own delay takes precedence over the queue's.
        let message = Message {
            queue: name.to_owned(),
            number,
            body: outgoing.body,
            attributes: outgoing.attributes,
            trace_header: outgoing.trace_header,
            sent_at: now,
            visible_at: after(
                now,
                outgoing.delay.unwrap_or(queue.settings.attributes.delay),
            ),
            receive_count: 0,
            first_received_at: None,
            dead_letter_source: None,
        };
        self.messages.put(&id, &message)?;
        queue.messages.put(&id, message);
        state.next += 1;
        self.changed();
        Ok(id)
    }

    /// Deletes all messages of a queue.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`]; [`QueueError::PurgeQueueInProgress`] within a minute of
    /// the last purge.
    pub fn purge(&self, name: &str) -> Result<(), QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        if queue
            .purged_at
            .is_some_and(|last| now.duration_since(last) < PURGE_INTERVAL)
        {
            return Err(QueueError::PurgeQueueInProgress(name.to_owned()));
        }
        queue.purged_at = Some(now);
        for id in queue.messages.ids() {
            self.messages.remove(&id)?;
            queue.messages.remove(&id);
        }
        Ok(())
    }

    /// Returns the earliest time at which a message of the queue is visible: in the past if one is
    /// visible now, none if the queue is empty.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn next_due(&self, name: &str) -> Result<Option<Timestamp>, QueueError> {
        let mut state = self.lock();
        let queue = state.queue(name)?;
        self.expire(queue, self.clock.now())?;
        Ok(queue.messages.next_due())
    }

    /// Returns the number of messages in the queue by their visibility.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn depth(&self, name: &str) -> Result<Depth, QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        self.expire(queue, now)?;
        Ok(queue.messages.depth(now))
    }

    /// Returns a receiver that fires when a message was sent, moved or given another visibility,
    /// and after [`Self::notify_waiters`]. [`Self::next_due`] may then have changed. The number has
    /// no meaning.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes all long polls check the queue again. A host calls it after it has advanced the clock.
    pub fn notify_waiters(&self) {
        self.changed();
    }

    fn settings(&self, name: &str) -> Result<QueueSettings, QueueError> {
        Ok(self.lock().queue(name)?.settings.clone())
    }

    fn expire(&self, queue: &mut Queue, now: Timestamp) -> Result<(), QueueError> {
        for id in queue
            .messages
            .expired(now, queue.settings.attributes.retention)
        {
            self.messages.remove(&id)?;
            queue.messages.remove(&id);
        }
        Ok(())
    }

    fn changed(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("names", &self.names(""))
            .finish_non_exhaustive()
    }
}

impl Queue {
    fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            messages: MessageIndex::default(),
            purged_at: None,
        }
    }
}

impl State {
    fn queue(&mut self, name: &str) -> Result<&mut Queue, QueueError> {
        self.queues
            .get_mut(name)
            .ok_or(QueueError::QueueDoesNotExist)
    }

    fn check_redrive(&self, name: &str, attributes: &QueueAttributes) -> Result<(), QueueError> {
        let Some(policy) = &attributes.redrive else {
            return Ok(());
        };
        if policy.dead_letter_queue != name && self.queues.contains_key(&policy.dead_letter_queue) {
            return Ok(());
        }
        Err(QueueError::InvalidParameterValue(
            "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.".to_owned(),
        ))
    }
}

fn check_same_attributes(one: &QueueAttributes, other: &QueueAttributes) -> Result<(), QueueError> {
    let (one, other) = (one.to_pairs(), other.to_pairs());
    let differs = one
        .iter()
        .chain(&other)
        .find(|(name, _)| one.get(*name) != other.get(*name));
    differs.map_or(Ok(()), |(name, _)| Err(QueueError::QueueNameExists(name)))
}

fn check_name(name: &str) -> Result<(), QueueError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=80).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(QueueError::InvalidParameterValue(
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            .to_owned(),
    ))
}

/// Returns an id in the form of a UUID. It is unique because no two stored messages have the same
/// number.
fn message_id(queue: &str, number: u64, now: Timestamp, body: &str) -> String {
    let hash = Sha256::digest(format!("{queue}\n{number}\n{now}\n{body}"));
    let hex = hex(&hash);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32],
    ]
    .join("-")
}

/// Returns `now` plus `wait`, or the latest timestamp if the sum exceeds it.
fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
