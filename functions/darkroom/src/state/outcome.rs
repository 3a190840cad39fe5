//! What a function decides about a shard, as a value.
//!
//! `submit`, `poll`, `collect` and `generate` turn a step into an [`Outcome`] without writing it. `Turn` in
//! `runtime` is the only code that carries an outcome out, always in the same order: the state, the
//! ledger, the messages, and last the answer to SQS.

use jiff::SignedDuration;

use super::{Owner, Shard, retry_wait};
use crate::{lane::Lane, names::ShardId};

/// What happens to a shard and to the message about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Another message drives the shard: acknowledges this one without effect.
    Ignore,
    /// Another invocation has changed the shard since it was loaded: writes nothing, and the
    /// message returns after a few seconds.
    Yield,
    /// This function has nothing to do with the shard in its phase: brings the ledger in line with
    /// the phase, in case the invocation that wrote it crashed before that, notifies `report`, and
    /// acknowledges.
    Notify,
    /// Nothing has changed: the message returns after `wait`. The state is written only if another
    /// message drove the shard so far, or once an hour, as a heartbeat.
    KeepWaiting {
        /// How long the message stays away.
        wait: SignedDuration,
        /// Whether `report` is notified when the state is written, which repeats a notification
        /// that a crash may have prevented. `poll` keeps waiting for every running batch, and
        /// would notify about each of them every hour.
        notify: bool,
    },
    /// The shard waits, and that is no error: writes the state, notifies `report`, and the message
    /// returns.
    Wait(Pause),
    /// The shard waits after an error: as [`Outcome::Wait`], with a warning in the log.
    Retry(Pause),
    /// The shard waits for an operator: as [`Outcome::Wait`], with a warning in the log. The
    /// message still returns, to try what costs nothing.
    Hold(Pause),
    /// The next function continues with the shard: writes the state, brings the ledger in line with
    /// it, sends the next function its message, notifies `report`, and acknowledges.
    Forward {
        /// The state to write. None if it is written already: a crash may have prevented the
        /// message, so it is sent again.
        next: Option<Box<Shard>>,
        /// The shard that the message names: this one, or its next round.
        shard: ShardId,
        /// The function that owns that shard, which determines the queue.
        to: Owner,
    },
    /// The shard has ended: writes the state, settles the ledger, notifies `report`, and
    /// acknowledges.
    End(Box<Shard>),
}

/// A wait that is recorded in the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// The state to write.
    pub next: Box<Shard>,
    /// How long the message stays away.
    pub wait: SignedDuration,
    /// Whether the shard's reservation in the ledger is refunded, so that other shards can be
    /// admitted meanwhile. Only a shard without a batch may give its reservation up.
    pub refund: bool,
}

impl Pause {
    fn new(next: Shard, wait: SignedDuration) -> Self {
        Self {
            next: Box::new(next),
            wait,
            refund: false,
        }
    }
}

impl Outcome {
    /// Waits for `wait` in the state `next`.
    pub fn wait(next: Shard, wait: SignedDuration) -> Self {
        Self::Wait(Pause::new(next, wait))
    }

    /// Counts one more error of `tried` and tries again after [`retry_wait`], or after `at_least`
    /// if that is longer.
    pub fn retry(tried: &Shard, problem: impl Into<String>, at_least: SignedDuration) -> Self {
        let next = tried.after_error(problem);
        let wait = retry_wait(next.errors).max(at_least);
        Self::Retry(Pause::new(next, wait))
    }

    /// Tries again after `wait`; `next` counts the error already.
    pub fn retry_after(next: Shard, wait: SignedDuration) -> Self {
        Self::Retry(Pause::new(next, wait))
    }

    /// Waits for an operator in the held state `next`; the message returns after `wait`.
    pub fn hold(next: Shard, wait: SignedDuration) -> Self {
        Self::Hold(Pause::new(next, wait))
    }

    /// The same, with the shard's reservation refunded.
    #[must_use]
    pub fn with_refund(mut self) -> Self {
        if let Self::Wait(pause) | Self::Retry(pause) | Self::Hold(pause) = &mut self {
            pause.refund = true;
        }
        self
    }

    /// Writes `next` and sends it to the function that owns it then.
    pub fn forward(next: Shard) -> Self {
        Self::Forward {
            shard: next.shard,
            to: next.phase.owner(),
            next: Some(Box::new(next)),
        }
    }

    /// Sends the function `to` the message about `shard`, whose state is written already.
    pub fn forward_again(shard: ShardId, to: Owner) -> Self {
        Self::Forward {
            next: None,
            shard,
            to,
        }
    }

    /// Sends the message about a round in `lane`, whose state is written already.
    pub fn send_round(round: ShardId, lane: Lane) -> Self {
        let to = if lane.is_synchronous() {
            Owner::Generate
        } else {
            Owner::Submit
        };
        Self::forward_again(round, to)
    }

    /// Ends the shard in the state `next`.
    pub fn end(next: Shard) -> Self {
        Self::End(Box::new(next))
    }
}
