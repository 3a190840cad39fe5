//! The messages of one queue in memory, ordered by when they can be received and by age.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::message::Message;

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Can be received now.
    pub visible: usize,
    /// Were received and neither deleted nor visible again.
    pub in_flight: usize,
    /// Were sent with a delay that is not over.
    pub delayed: usize,
}

/// The messages of one queue.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    messages: BTreeMap<String, Message>,
    /// Every message by the moment it becomes visible, then in the order of sending.
    due: BTreeSet<(Timestamp, u64, String)>,
    /// Every message by the moment it was sent.
    age: BTreeSet<(Timestamp, String)>,
}

impl Mailbox {
    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.get(id)
    }

    /// Puts a message in, in place of the one of that id.
    pub(super) fn put(&mut self, id: &str, message: Message) {
        self.remove(id);
        self.due
            .insert((message.visible_at, message.number, id.to_owned()));
        self.age.insert((message.sent_at, id.to_owned()));
        self.messages.insert(id.to_owned(), message);
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, id: &str) -> Option<Message> {
        let message = self.messages.remove(id)?;
        self.due
            .remove(&(message.visible_at, message.number, id.to_owned()));
        self.age.remove(&(message.sent_at, id.to_owned()));
        Some(message)
    }

    /// The ids of at most `max` messages that can be received now, those first that can be for the
    /// longest.
    pub(super) fn receivable(&self, now: Timestamp, max: usize) -> Vec<String> {
        self.due
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .take(max)
            .map(|(.., id)| id.clone())
            .collect()
    }

    /// The ids of the messages that are past their retention.
    pub(super) fn expired(&self, now: Timestamp, retention: SignedDuration) -> Vec<String> {
        self.age
            .iter()
            .take_while(|(sent, _)| now.duration_since(*sent) >= retention)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// The ids of all messages.
    pub(super) fn ids(&self) -> Vec<String> {
        self.messages.keys().cloned().collect()
    }

    /// The earliest moment at which a message is visible; it may be past.
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
