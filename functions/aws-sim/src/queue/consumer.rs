//! The consumer's operations: receive, change the visibility, delete, and move to the dead-letter
//! queue.

use jiff::{SignedDuration, Timestamp};

use super::{
    MAX_BATCH, Queue, Queues, State, after,
    attributes::{VISIBILITY, parameter},
    error::QueueError,
    message::{Delivery, Message},
    receipt::Receipt,
};

impl Queues {
    /// Receives at most `max` messages, and no more than ten, that are visible now. Makes them
    /// invisible for `visibility`, or by default for the queue's timeout. Never waits.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`]; [`QueueError::InvalidParameterValue`] for a visibility of
    /// more than 12 hours.
    pub fn receive(
        &self,
        name: &str,
        max: usize,
        visibility: Option<SignedDuration>,
    ) -> Result<Vec<Delivery>, QueueError> {
        if let Some(visibility) = visibility {
            parameter("VisibilityTimeout", visibility.as_secs(), &VISIBILITY)?;
        }
        let now = self.clock.now();
        let mut state = self.lock();
        self.expire(state.queue(name)?, now)?;
        loop {
            let queue = state.queue(name)?;
            let ids = queue.messages.receivable(now, max.min(MAX_BATCH));
            // Exhausted messages make room for others, so the search repeats after they have moved.
            let Some((dead_letter_queue, exhausted)) = queue.over_receive_limit(&ids) else {
                return ids
                    .iter()
                    .map(|id| self.deliver(queue, id, visibility, now))
                    .collect();
            };
            for id in exhausted {
                self.redrive(&mut state, name, &dead_letter_queue, &id, now)?;
            }
        }
    }

    /// Deletes a message. The handle of an earlier receive deletes nothing, which is not an error.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
    pub fn delete(&self, name: &str, receipt_handle: &str) -> Result<(), QueueError> {
        let mut state = self.lock();
        let queue = state.queue(name)?;
        let receipt = Receipt::parse(receipt_handle)?;
        if queue
            .messages
            .message(&receipt.message)
            .is_some_and(|message| message.receive_count == receipt.receive)
        {
            self.messages.remove(&receipt.message)?;
            queue.messages.remove(&receipt.message);
        }
        Ok(())
    }

    /// Makes a received message visible `visibility` from now. Applies to this receive only.
    ///
    /// # Errors
    /// [`QueueError::MessageNotInflight`] if the message is visible again or was received again
    /// since; [`QueueError::InvalidParameterValue`] if it is deleted, or for more than 12 hours;
    /// [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
    pub fn change_visibility(
        &self,
        name: &str,
        receipt_handle: &str,
        visibility: SignedDuration,
    ) -> Result<(), QueueError> {
        parameter("VisibilityTimeout", visibility.as_secs(), &VISIBILITY)?;
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        let receipt = Receipt::parse(receipt_handle)?;
        let message = queue
            .messages
            .message(&receipt.message)
            .ok_or_else(|| no_message(receipt_handle))?;
        // Only the latest receive controls the message, and only while it is in flight.
        if message.receive_count != receipt.receive || message.visible_at <= now {
            return Err(QueueError::MessageNotInflight);
        }
        let message = Message {
            visible_at: after(now, visibility),
            ..message.clone()
        };
        self.messages.put(&receipt.message, &message)?;
        queue.messages.put(&receipt.message, message);
        self.changed();
        Ok(())
    }

    /// Moves a received message to the dead-letter queue, regardless of its receive count. Does
    /// nothing if the queue has none, or if the handle is that of an earlier receive.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
    pub fn move_to_dead_letter_queue(
        &self,
        name: &str,
        receipt_handle: &str,
    ) -> Result<(), QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        let Receipt { message, receive } = Receipt::parse(receipt_handle)?;
        let policy = queue.settings.attributes.redrive.clone();
        let is_latest = queue
            .messages
            .message(&message)
            .is_some_and(|message| message.receive_count == receive);
        match policy {
            Some(policy) if is_latest => {
                self.redrive(&mut state, name, &policy.dead_letter_queue, &message, now)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes all messages in flight visible. A host calls it when it starts, since no consumer of
    /// an earlier process can still be working on them.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn make_in_flight_visible(&self, name: &str) -> Result<(), QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        for id in queue.messages.ids() {
            let Some(message) = queue.messages.message(&id) else {
                continue;
            };
            if message.receive_count > 0 && message.visible_at > now {
                let message = Message {
                    visible_at: now,
                    ..message.clone()
                };
                self.messages.put(&id, &message)?;
                queue.messages.put(&id, message);
            }
        }
        self.changed();
        Ok(())
    }

    /// Delivers one visible message, and stores its new visibility and receive count.
    fn deliver(
        &self,
        queue: &mut Queue,
        id: &str,
        visibility: Option<SignedDuration>,
        now: Timestamp,
    ) -> Result<Delivery, QueueError> {
        let mut message = queue
            .messages
            .message(id)
            .cloned()
            .ok_or_else(|| no_message(id))?;
        // A new count also makes the receipt handles of earlier receives stale.
        message.receive_count += 1;
        message.visible_at = after(
            now,
            visibility.unwrap_or(queue.settings.attributes.visibility_timeout),
        );
        let first_received_at = *message.first_received_at.get_or_insert(now);
        self.messages.put(id, &message)?;
        queue.messages.put(id, message.clone());
        let receipt = Receipt {
            message: id.to_owned(),
            receive: message.receive_count,
        };
        Ok(Delivery {
            message_id: id.to_owned(),
            receipt_handle: receipt.to_handle(),
            body: message.body,
            receive_count: message.receive_count,
            sent_at: message.sent_at,
            first_received_at,
            attributes: message.attributes,
            trace_header: message.trace_header,
            dead_letter_source: message.dead_letter_source,
        })
    }

    /// Moves a message from one queue to another.
    fn redrive(
        &self,
        state: &mut State,
        from: &str,
        to: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        state.queue(to)?;
        let message = state
            .queue(from)?
            .messages
            .message(id)
            .cloned()
            .ok_or_else(|| no_message(id))?;
        // One document moves the message, so a kill leaves it in exactly one queue.
        let dead_letter_source = Some(from.to_owned());
        let moved = Message {
            queue: to.to_owned(),
            visible_at: now,
            dead_letter_source,
            ..message
        };
        self.messages.put(id, &moved)?;
        state.queue(from)?.messages.remove(id);
        state.queue(to)?.messages.put(id, moved);
        self.changed();
        Ok(())
    }
}

impl Queue {
    /// Returns the messages among `ids` that have reached the maximum receive count, and their
    /// dead-letter queue. None if all of them may be received.
    fn over_receive_limit(&self, ids: &[String]) -> Option<(String, Vec<String>)> {
        let policy = self.settings.attributes.redrive.as_ref()?;
        let receives = |id: &String| {
            self.messages
                .message(id)
                .map_or(0, |message| message.receive_count)
        };
        let exhausted: Vec<_> = ids
            .iter()
            .filter(|id| receives(id) >= policy.max_receive_count)
            .cloned()
            .collect();
        (!exhausted.is_empty()).then(|| (policy.dead_letter_queue.clone(), exhausted))
    }
}

fn no_message(receipt_handle: &str) -> QueueError {
    QueueError::InvalidParameterValue(format!(
        "Value {receipt_handle} for parameter ReceiptHandle is invalid. \
         Reason: Message does not exist or is not available for visibility timeout change."
    ))
}
