//! The messages of one queue in memory, indexed by the time at which they become visible and by
//! age.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::message::Message;

/// The number of messages in a queue, by their visibility.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that can be received now.
    pub visible: usize,
    /// Messages that were received, and are neither deleted nor visible again.
    pub in_flight: usize,
    /// Messages whose delay has not ended.
    pub delayed: usize,
}

/// The messages of one queue.
#[derive(Debug, Default)]
pub(super) struct MessageIndex {
    messages: BTreeMap<String, Message>,
    /// All messages by the time at which they become visible, then in the order of sending.
    due: BTreeSet<(Timestamp, u64, String)>,
    /// All messages by the time at which they were sent.
    age: BTreeSet<(Timestamp, String)>,
}

impl MessageIndex {
    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.get(id)
    }

    /// Adds a message, or replaces the one with this id.
    pub(super) fn put(&mut self, id: &str, message: Message) {
        self.remove(id);
        self.due
            .insert((message.visible_at, message.number, id.to_owned()));
        self.age.insert((message.sent_at, id.to_owned()));
        self.messages.insert(id.to_owned(), message);
    }

    /// Removes a message and returns it.
    pub(super) fn remove(&mut self, id: &str) -> Option<Message> {
        let message = self.messages.remove(id)?;
        self.due
            .remove(&(message.visible_at, message.number, id.to_owned()));
        self.age.remove(&(message.sent_at, id.to_owned()));
        Some(message)
    }

    /// Returns the ids of at most `max` messages that can be received now, in the order in which
    /// they became visible.
    pub(super) fn receivable(&self, now: Timestamp, max: usize) -> Vec<String> {
        self.due
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .take(max)
            .map(|(.., id)| id.clone())
            .collect()
    }

    /// Returns the ids of the messages whose retention period has ended.
    pub(super) fn expired(&self, now: Timestamp, retention: SignedDuration) -> Vec<String> {
        self.age
            .iter()
            .take_while(|(sent, _)| now.duration_since(*sent) >= retention)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// Returns the ids of all messages.
    pub(super) fn ids(&self) -> Vec<String> {
        self.messages.keys().cloned().collect()
    }

    /// Returns the earliest time at which a message is visible, which may be in the past.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    pub(super) fn depth(&self, now: Timestamp) -> Depth {
        let mut depth = Depth::default();
        for message in self
            .due
            .iter()
            .rev()
            .take_while(|(at, ..)| *at > now)
            .filter_map(|(.., id)| self.messages.get(id))
        {
            if message.receive_count > 0 {
                depth.in_flight += 1;
            } else {
                depth.delayed += 1;
            }
        }
        depth.visible = self.messages.len() - depth.in_flight - depth.delayed;
        depth
    }
}
