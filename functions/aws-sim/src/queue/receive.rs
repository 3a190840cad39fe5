//! A message's way out of a queue: received, given another visibility, deleted, or moved to the
//! dead-letter queue.

use jiff::{SignedDuration, Timestamp};

use super::{
    BATCH, Queue, Queues, State,
    attributes::{VISIBILITY, parameter},
    error::QueueError,
    later,
    message::{Delivery, Message},
    receipt::Receipt,
};

impl Queues {
    /// Receives at most `max` messages, up to ten, that are visible now, and makes them invisible
    /// for `visibility`, or for the queue's time-out where none. Never waits.
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
            let ids = queue.mailbox.receivable(now, max.min(BATCH));
            let Some((dead_letter_queue, spent)) = queue.spent(&ids) else {
                return ids
                    .iter()
                    .map(|id| self.deliver(queue, id, visibility, now))
                    .collect();
            };
            for id in spent {
                self.redrive(&mut state, name, &dead_letter_queue, &id, now)?;
            }
        }
    }

    /// Deletes a message. An earlier receive's handle deletes nothing, and that is not an error.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
    pub fn delete(&self, name: &str, receipt_handle: &str) -> Result<(), QueueError> {
        let mut state = self.lock();
        let queue = state.queue(name)?;
        let receipt = Receipt::parse(receipt_handle)?;
        if queue
            .mailbox
            .message(&receipt.message)
            .is_some_and(|message| message.receive_count == receipt.receive)
        {
            self.messages.remove(&receipt.message)?;
            queue.mailbox.remove(&receipt.message);
        }
        Ok(())
    }

    /// Has a received message become visible after `visibility` from now, for this receive only.
    ///
    /// # Errors
    /// [`QueueError::MessageNotInflight`] when the message is visible again or was received by
    /// somebody else since; [`QueueError::InvalidParameterValue`] when it is deleted, or for more
    /// than 12 hours; [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
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
            .mailbox
            .message(&receipt.message)
            .ok_or_else(|| no_message(receipt_handle))?;
        if message.receive_count != receipt.receive || message.visible_at <= now {
            return Err(QueueError::MessageNotInflight);
        }
        let message = Message {
            visible_at: later(now, visibility),
            ..message.clone()
        };
        self.messages.put(&receipt.message, &message)?;
        queue.mailbox.put(&receipt.message, message);
        self.changed();
        Ok(())
    }

    /// Moves a received message to the dead-letter queue, however often it might yet be received.
    /// Where the queue has none, or the handle is an earlier receive's, nothing happens.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`], [`QueueError::ReceiptHandleIsInvalid`].
    pub fn bury(&self, name: &str, receipt_handle: &str) -> Result<(), QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        let Receipt { message, receive } = Receipt::parse(receipt_handle)?;
        let policy = queue.settings.attributes.redrive.clone();
        let is_latest = queue
            .mailbox
            .message(&message)
            .is_some_and(|message| message.receive_count == receive);
        match policy {
            Some(policy) if is_latest => {
                self.redrive(&mut state, name, &policy.dead_letter_queue, &message, now)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes all messages that were received and not deleted visible now: for a host that starts,
    /// and knows that nobody works on them.
    ///
    /// # Errors
    /// [`QueueError::QueueDoesNotExist`].
    pub fn take_back(&self, name: &str) -> Result<(), QueueError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let queue = state.queue(name)?;
        for id in queue.mailbox.ids() {
            let Some(message) = queue.mailbox.message(&id) else {
                continue;
            };
            if message.receive_count > 0 && message.visible_at > now {
                let message = Message {
                    visible_at: now,
                    ..message.clone()
                };
                self.messages.put(&id, &message)?;
                queue.mailbox.put(&id, message);
            }
        }
        self.changed();
        Ok(())
    }

    /// Gives one visible message out, and notes that on disk.
    fn deliver(
        &self,
        queue: &mut Queue,
        id: &str,
        visibility: Option<SignedDuration>,
        now: Timestamp,
    ) -> Result<Delivery, QueueError> {
        let mut message = queue
            .mailbox
            .message(id)
            .cloned()
            .ok_or_else(|| no_message(id))?;
        message.receive_count += 1;
        message.visible_at = later(
            now,
            visibility.unwrap_or(queue.settings.attributes.visibility_timeout),
        );
        let first_received_at = *message.first_received_at.get_or_insert(now);
        self.messages.put(id, &message)?;
        queue.mailbox.put(id, message.clone());
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

    /// Moves a message to the dead-letter queue.
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
            .mailbox
            .message(id)
            .cloned()
            .ok_or_else(|| no_message(id))?;
        let dead_letter_source = Some(from.to_owned());
        let moved = Message {
            queue: to.to_owned(),
            visible_at: now,
            dead_letter_source,
            ..message
        };
        self.messages.put(id, &moved)?;
        state.queue(from)?.mailbox.remove(id);
        state.queue(to)?.mailbox.put(id, moved);
        self.changed();
        Ok(())
    }
}

impl Queue {
    /// Those of `ids` for which one more receive would be one too many, and where they belong. None
    /// if all may be received.
    fn spent(&self, ids: &[String]) -> Option<(String, Vec<String>)> {
        let policy = self.settings.attributes.redrive.as_ref()?;
        let receives = |id: &String| {
            self.mailbox
                .message(id)
                .map_or(0, |message| message.receive_count)
        };
        let spent: Vec<_> = ids
            .iter()
            .filter(|id| receives(id) >= policy.max_receive_count)
            .cloned()
            .collect();
        (!spent.is_empty()).then(|| (policy.dead_letter_queue.clone(), spent))
    }
}

fn no_message(receipt_handle: &str) -> QueueError {
    QueueError::InvalidParameterValue(format!(
        "Value {receipt_handle} for parameter ReceiptHandle is invalid. \
         Reason: Message does not exist or is not available for visibility timeout change."
    ))
}
