//! One message's turn with its shard: load the shard, record the steps that must be durable, and
//! carry out what was decided.
//!
//! "An acknowledgement follows its effect" is this module: only [`Turn::finish`] answers SQS, and
//! it does so after the state, the ledger and the messages are written. A function may crash
//! between any two of these; the message then returns, and the state determines what is left to
//! do.

use std::ops::ControlFlow;

use darkroom::{
    ledger::{Admission, Ledger, OVER_BUDGET, ProjectLimits},
    messages::{JobMessage, ShardMessage},
    names::{JobId, ShardId},
    state::{Arrival, LONGEST_WAIT, Outcome, Owner, Pause, Phase, Shard},
};
use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;
use tracing::{info, warn};

use crate::{
    bucket::BucketError,
    deliveries::{Disposition, Message},
    folder_store::FolderStore,
    ledger_store::{LedgerError, LedgerStore},
    queue::{Queue, QueueError},
    shard_store::{Cas, ShardStore, StateError, StoredShard},
};

/// How long a message stays away if another invocation has changed its shard meanwhile.
const CONFLICT_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// How long a shard waits that today's limits could not admit even alone.
const LIMITS_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// What a turn writes to.
#[derive(Clone, Copy, Debug)]
pub struct Effects<'a> {
    /// Shard states.
    pub states: &'a ShardStore,
    /// The ledger of the project's limits.
    pub ledger: &'a LedgerStore,
    /// The queues that shards are sent to, by the function that owns a shard then.
    pub onward: &'a [(Owner, &'a Queue)],
    /// The queue of `report`.
    pub reports: &'a Queue,
    /// The time.
    pub clock: &'a Clock,
}

/// Why a turn can't be taken now. The message returns, and the state defines what is left to do.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The body is not a message about a shard.
    #[error("not a shard message: {0}")]
    Message(serde_json::Error),
    /// The state is missing, or can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The caps of folders can't be read.
    #[error(transparent)]
    Caps(#[from] BucketError),
    /// A message can't be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// This function has no queue to that of the shard's next owner, which is an error of the
    /// program.
    #[error("there is no queue to the function that continues: {0:?}")]
    NoQueue(Owner),
    /// Another invocation has changed the shard since it was loaded. It ends in
    /// [`Outcome::Yield`].
    #[error("another invocation has changed the shard")]
    Conflict,
}

/// One message and the shard that it is about.
#[derive(Debug)]
pub struct Turn<'a> {
    effects: Effects<'a>,
    message: &'a str,
    deadline: Timestamp,
    cancel_requested: bool,
    /// The shard as last read or written here. The next write must replace this version.
    stored: StoredShard,
}

impl<'a> Turn<'a> {
    /// Loads the shard that `message` is about, and whether a user has canceled its job.
    /// `deadline` is when Lambda ends the invocation.
    ///
    /// Whether `message` drives the shard follows from [`Turn::arrival`], which the step functions
    /// of `darkroom` check before anything else.
    ///
    /// # Errors
    /// [`TurnError`]; nothing was written.
    pub async fn open(
        effects: Effects<'a>,
        message: &'a Message,
        deadline: Timestamp,
    ) -> Result<Self, TurnError> {
        let about: ShardMessage =
            serde_json::from_str(&message.body).map_err(TurnError::Message)?;
        let (job, shard) = (about.job, about.shard);
        let Some(stored) = effects.states.read(&job, shard).await? else {
            return Err(StateError::Missing(job, shard).into());
        };
        // A cancel has no effect on a shard that has ended, so no request is spent on it.
        let cancel_requested =
            !stored.shard.is_terminal() && effects.states.cancel_requested(&job).await?;
        Ok(Self {
            effects,
            message: &message.id,
            deadline,
            cancel_requested,
            stored,
        })
    }

    /// Returns the message as it is received now.
    pub fn arrival(&self) -> Arrival<'a> {
        Arrival {
            message: self.message,
            at: self.effects.clock.now(),
            cancel_requested: self.cancel_requested,
        }
    }

    /// Returns the shard as last read or written in this turn.
    pub fn shard(&self) -> &Shard {
        &self.stored.shard
    }

    /// Returns the job of the shard.
    pub fn job(&self) -> &JobId {
        &self.stored.shard.job
    }

    /// Returns the id of the shard in its job.
    pub fn shard_id(&self) -> ShardId {
        self.stored.shard.shard
    }

    /// Returns when Lambda ends the invocation, and with it every lease that is taken in this turn.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Whether a user had canceled the job when the turn was opened.
    pub fn cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// Asks again whether a user has canceled the job, after work that took minutes.
    ///
    /// # Errors
    /// [`TurnError::State`]. An error is never "no".
    pub async fn cancel_requested_meanwhile(&self) -> Result<bool, TurnError> {
        Ok(self.effects.states.cancel_requested(self.job()).await?)
    }

    /// Reserves the shard's place in the ledger. A shard that has one keeps it. Breaks with an
    /// outcome if it is not admitted: `next` is its state meanwhile, and `hint` a sentence about what
    /// happens once the limits allow it. The caps of `folders` are read now, so a change of them
    /// needs no deployment.
    ///
    /// # Errors
    /// [`TurnError::Caps`], and [`TurnError::Ledger`]; the place may be reserved then, and asking again keeps it.
    pub async fn admit(
        &self,
        limits: &ProjectLimits,
        folders: &FolderStore,
        next: &Shard,
        hint: &str,
    ) -> Result<ControlFlow<Outcome>, TurnError> {
        let limits = ProjectLimits {
            folders: folders.caps().await?,
            ..limits.clone()
        };
        let now = self.effects.clock.now();
        let admit = |ledger: &mut Ledger| ledger.admit(self.shard(), &limits, now);
        Ok(match self.effects.ledger.change(admit).await? {
            Admission::Granted => ControlFlow::Continue(()),
            Admission::Later { why, at } => {
                let wait = at.duration_since(self.effects.clock.now());
                ControlFlow::Break(Outcome::wait(next.waiting(why), wait))
            }
            Admission::Never { why } => {
                let why = format!("{why}. {hint}");
                ControlFlow::Break(Outcome::wait(next.waiting(why), LIMITS_WAIT))
            }
            // Nothing was bought. Every key without an image is in `retry.jsonl`.
            Admission::OverBudget { why } => {
                ControlFlow::Break(Outcome::end(next.failed(OVER_BUDGET, why)))
            }
        })
    }

    /// Writes a step that must be durable before an external effect: the intent before a create
    /// call, a lease before reading, a checkpoint before reading on. While the shard stays with
    /// this function, the step also records that this message drives it until the deadline.
    ///
    /// # Errors
    /// [`TurnError::Conflict`] if another invocation wrote first, and [`TurnError::State`] if the
    /// write failed; it may have happened then.
    pub async fn enter(&mut self, next: Shard) -> Result<(), TurnError> {
        self.enter_until(next, self.deadline).await
    }

    /// The same for a step whose message returns at `back_at`.
    ///
    /// # Errors
    /// Those of [`Turn::enter`].
    pub async fn enter_until(&mut self, next: Shard, back_at: Timestamp) -> Result<(), TurnError> {
        let stays = next.phase.owner() == self.shard().phase.owner();
        let next = if stays {
            next.driven_by(self.message, back_at)
        } else {
            next
        };
        self.write(next).await
    }

    /// Notifies `report` that the shard has changed.
    ///
    /// # Errors
    /// [`TurnError::Queue`]; the message may have been sent.
    pub async fn notify(&self) -> Result<(), TurnError> {
        let message = JobMessage::of_shard(self.job(), self.shard_id());
        Ok(self.effects.reports.send(&message).await?)
    }

    /// Carries out what was decided, and returns the answer to SQS. Everything before that answer
    /// is durable.
    ///
    /// # Errors
    /// [`TurnError`]; the message returns, and what was written stays.
    pub async fn finish(mut self, outcome: Outcome) -> Result<Disposition, TurnError> {
        let done = match outcome {
            // Nothing to write.
            Outcome::Ignore => Ok(Disposition::Done),
            Outcome::Yield => Err(TurnError::Conflict),
            // The message has done its work, and is acknowledged.
            Outcome::Notify => self.conclude(None, None).await,
            Outcome::Forward { next, shard, to } => self.conclude(next, Some((shard, to))).await,
            Outcome::End(next) => self.conclude(Some(next), None).await,
            // The message drives the shard, and returns.
            Outcome::KeepWaiting { wait, notify } => self.keep_waiting(wait, notify).await,
            Outcome::Wait(pause) => {
                if let Some(reason) = &pause.next.waiting {
                    info!(
                        phase = pause.next.phase.name(),
                        seconds = pause.wait.as_secs(),
                        reason,
                        "waiting"
                    );
                }
                self.pause(pause).await
            }
            Outcome::Retry(pause) => {
                warn!(
                    phase = pause.next.phase.name(),
                    seconds = pause.wait.as_secs(),
                    reason = pause.next.waiting,
                    "retry scheduled"
                );
                self.pause(pause).await
            }
            Outcome::Hold(pause) => {
                if let Phase::Held { reason, .. } = &pause.next.phase {
                    warn!(reason, "held");
                }
                self.pause(pause).await
            }
        };

        // Another invocation was faster. Its state decides what this message means when it returns.
        match done {
            Err(TurnError::Conflict) => Ok(Disposition::Later(CONFLICT_WAIT)),
            done => done,
        }
    }

    /// Ends this function's part in the shard: the state, the ledger, the message to the next
    /// function, the notification, and the acknowledgement, in this order. A crash after the state
    /// is repaired by the same steps without `next`, since each of them may be repeated.
    async fn conclude(
        &mut self,
        next: Option<Box<Shard>>,
        forward: Option<(ShardId, Owner)>,
    ) -> Result<Disposition, TurnError> {
        if let Some(next) = next {
            self.write(*next).await?;
        }
        self.account().await?;
        if let Some((shard, to)) = forward {
            let message = ShardMessage::new(self.job(), shard);
            self.queue_of(to)?.send(&message).await?;
        }
        self.notify().await?;
        Ok(Disposition::Done)
    }

    /// Records a wait, and returns the message after it.
    async fn pause(&mut self, pause: Pause) -> Result<Disposition, TurnError> {
        let Pause { next, wait, refund } = pause;
        // The refund precedes the state. Once the state allows another attempt, another delivery
        // may be admitted and create a batch, and a later refund would take that batch's place.
        if refund {
            self.refund(&next).await?;
        }
        let back_at = self.effects.clock.now() + wait.min(LONGEST_WAIT);
        self.write(next.driven_by(self.message, back_at)).await?;
        self.notify().await?;
        Ok(Disposition::Later(wait))
    }

    /// Returns the message after `wait`, and writes the state only if it would otherwise look as if
    /// no message drove the shard.
    async fn keep_waiting(
        &mut self,
        wait: SignedDuration,
        notify: bool,
    ) -> Result<Disposition, TurnError> {
        let back_at = self.effects.clock.now() + wait.min(LONGEST_WAIT);
        if !self.shard().is_driver_current(self.message, back_at) {
            self.write(self.shard().driven_by(self.message, back_at))
                .await?;
            if notify {
                self.notify().await?;
            }
        }
        Ok(Disposition::Later(wait))
    }

    fn queue_of(&self, owner: Owner) -> Result<&'a Queue, TurnError> {
        let found = self.effects.onward.iter().find(|(of, _)| *of == owner);
        found
            .map(|(_, queue)| *queue)
            .ok_or(TurnError::NoQueue(owner))
    }

    /// Replaces the stored state, if no other invocation has replaced it since it was read.
    async fn write(&mut self, next: Shard) -> Result<(), TurnError> {
        match self.effects.states.swap(&self.stored, next).await? {
            Cas::Written(stored) => {
                self.stored = stored;
                Ok(())
            }
            Cas::Conflict => Err(TurnError::Conflict),
        }
    }

    /// Brings the ledger in line with the stored phase: an ended batch frees its slot, and an ended
    /// shard settles its reservation. Repeating it changes nothing.
    async fn account(&self) -> Result<(), TurnError> {
        let (job, id) = (self.job(), self.shard_id());
        if let Phase::Ready { .. } = self.shard().phase {
            let release = |ledger: &mut Ledger| ledger.release(job, id);
            self.effects.ledger.change(release).await?;
        }
        if let Some(settlement) = self.shard().settlement() {
            let now = self.effects.clock.now();
            let settle = |ledger: &mut Ledger| ledger.close(job, id, settlement, now);
            self.effects.ledger.change(settle).await?;
        }
        Ok(())
    }

    /// Gives back the reservation of a shard that will wait in the state `next`. One that may have
    /// a batch keeps it.
    async fn refund(&self, next: &Shard) -> Result<(), TurnError> {
        if !next.phase.may_have_live_batch() {
            let refund = |ledger: &mut Ledger| {
                ledger.refund(self.job(), self.shard_id());
            };
            self.effects.ledger.change(refund).await?;
        }
        Ok(())
    }
}
