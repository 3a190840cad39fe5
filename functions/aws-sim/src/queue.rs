//! The stand-in for SQS: standard queues with delays, visibility, redrive and long polls, durable
//! across a restart.
//!
//! [`Queues`] is the AWS side, used in process by the host's event source mappings. [`QueueApi`]
//! puts the AWS JSON protocol before it, for the real SDK clients. Time comes from the [`Clock`]
//! alone, so a host may jump it.
//!
//! Every change is in the folder before the call returns: one document per message, replaced whole,
//! under `messages/`, and one per queue under `queues/`. The end of the process loses nothing. The
//! end of the power may lose the newest messages, on any [`Disk`]: what they stood for is in the
//! states, and the sweep sends them again.
//!
//! Where the service leaves room, this is what happens here:
//! - Of the visible messages, those are delivered first that are visible the longest.
//! - A receipt handle stands for one receive. Deleting with the handle of an earlier receive
//!   succeeds and deletes nothing; deleting with the latest one deletes, even when the message is
//!   visible again. Changing the visibility needs the latest handle and a message still in flight.
//! - A message whose receive count has reached `maxReceiveCount` moves to the dead-letter queue
//!   when it would be received once more. It keeps its id, its age and its receive count.

mod api;
mod attributes;
mod batch;
mod error;
mod mailbox;
mod message;
mod receipt;
mod receive;
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
    mailbox::Depth,
    message::{Delivery, MessageAttribute, Outgoing},
};
use disk::{Disk, documents::Documents};

use self::{mailbox::Mailbox, message::Message};

/// The most messages of one receive or one batch.
const BATCH: usize = 10;

/// How long one purge keeps another away
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>,
/// read 2026-11).
const PURGE_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// All queues of one folder.
pub struct Queues {
    clock: Clock,
    settings: Documents<Settings>,
    messages: Documents<Message>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

/// What is kept of a queue beside its messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
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
    settings: Settings,
    mailbox: Mailbox,
    /// Not kept: a restart forgets it.
    purged_at: Option<Timestamp>,
}

impl Queues {
    /// The queues kept in `folder`, with their messages.
    ///
    /// # Errors
    /// [`QueueError::Storage`].
    pub fn open(folder: impl AsRef<Path>, clock: Clock) -> Result<Self, QueueError> {
        Self::open_on(&Disk::fast(), folder, clock)
    }

    /// As [`Queues::open`], on this disk.
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
        for (id, message) in messages.load_all()? {
            state.next = state.next.max(message.number + 1);
            if let Some(queue) = state.queues.get_mut(&message.queue) {
                queue.mailbox.put(&id, message);
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

    /// Makes a queue. Making it again with the same settings changes nothing.
    ///
    /// # Errors
    /// [`QueueError::QueueNameExists`] if it has other settings;
    /// [`QueueError::InvalidParameterValue`] for a name that is not 1 to 80 letters, digits, `-`
    /// and `_`, or a dead-letter queue that is not there.
    pub fn create(&self, name: &str, attributes: QueueAttributes) -> Result<(), QueueError> {
        let mut state = self.lock();
        if let Some(queue) = state.queues.get(name) {
            return same(&queue.settings.attributes, &attributes);
        }
        check_name(name)?;
        state.check_redrive(name, &attributes)?;
        let now = self.clock.now();
        let settings = Settings {
            attributes,
            created_at: now,
            changed_at: now,
        };
        self.settings.put(name, &settings)?;
        state.queues.insert(name.to_owned(), Queue::new(settings));
        Ok(())
    }

    /// A queue's settings.
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
    /// queue that is not there.
    pub fn set_attributes(
        &self,
        name: &str,
        attributes: QueueAttributes,
    ) -> Result<(), QueueError> {
        let mut state = self.lock();
        state.check_redrive(name, &attributes)?;
        let queue = state.queue(name)?;
        let settings = Settings {
            attributes,
            created_at: queue.settings.created_at,
            changed_at: self.clock.now(),
        };
        self.settings.put(name, &settings)?;
        queue.settings = settings;
        Ok(())
    }

    /// The names of all queues that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.lock()
            .queues
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Sends a message and answers with its id.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`]; [`QueueError::MissingParameter`],
    /// [`QueueError::InvalidParameterValue`] or [`QueueError::InvalidMessageContents`] for a
    /// message that can't be sent.
    pub fn send(&self, name: &str, outgoing: Outgoing) -> Result<String, QueueError> {
        outgoing.check()?;
        if let Some(delay) = outgoing.delay {
            attributes::parameter("DelaySeconds", delay.as_secs(), &attributes::DELAY)?;
        }
        let mut state = self.lock();
        let (now, number) = (self.clock.now(), state.next);
        let queue = state.queue(name)?;
        let id = message_id(name, number, now, &outgoing.body);
        let message = Message {
            queue: name.to_owned(),
            number,
            body: outgoing.body,
            attributes: outgoing.attributes,
            trace_header: outgoing.trace_header,
            sent_at: now,
            visible_at: later(
                now,
                outgoing.delay.unwrap_or(queue.settings.attributes.delay),
            ),
            receive_count: 0,
            first_received_at: None,
            dead_letter_source: None,
        };
        self.messages.put(&id, &message)?;
        queue.mailbox.put(&id, message);
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
            .is_some_and(|last| now.duration_since(last) < PURGE_PAUSE)
        {
            return Err(QueueError::PurgeQueueInProgress(name.to_owned()));
        }
        queue.purged_at = Some(now);
        for id in queue.mailbox.ids() {
            self.messages.remove(&id)?;
            queue.mailbox.remove(&id);
        }
        Ok(())
    }

    /// The earliest moment at which a message of the queue can be received: past when one can be
    /// now, none when the queue is empty.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn next_due(&self, name: &str) -> Result<Option<Timestamp>, QueueError> {
        let mut state = self.lock();
        let queue = state.queue(name)?;
        self.expire(queue, self.clock.now())?;
        Ok(queue.mailbox.next_due())
    }

    /// How many messages the queue holds.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn depth(&self, name: &str) -> Result<Depth, QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        self.expire(queue, now)?;
        Ok(queue.mailbox.depth(now))
    }

    /// Fires whenever a message was sent, moved, or given another visibility, and on
    /// [`Self::wake`]: then [`Self::next_due`] is worth asking again. The number means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Has everybody who waits look again: to be called after the clock was jumped.
    pub fn wake(&self) {
        self.changed();
    }

    fn settings(&self, name: &str) -> Result<Settings, QueueError> {
        Ok(self.lock().queue(name)?.settings.clone())
    }

    fn expire(&self, queue: &mut Queue, now: Timestamp) -> Result<(), QueueError> {
        for id in queue
            .mailbox
            .expired(now, queue.settings.attributes.retention)
        {
            self.messages.remove(&id)?;
            queue.mailbox.remove(&id);
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
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            mailbox: Mailbox::default(),
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

fn same(one: &QueueAttributes, other: &QueueAttributes) -> Result<(), QueueError> {
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

/// An id in the form of a UUID. No two messages that are kept have the same number.
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

/// `now` and a bounded wait; the end of time is far beyond.
fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
