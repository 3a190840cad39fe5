//! How the handling of one message can end: every end is first written down, then told.

use darkroom::{
    messages::{JobMessage, ShardMessage},
    state::{Shard, retry_wait},
};
use jiff::SignedDuration;
use runtime::{
    deliveries::Disposition,
    shard_store::{Cas, StoredShard},
};
use tracing::warn;

use crate::{deps::Deps, handler::PollError};

/// How long to leave a shard alone that somebody else has just changed.
pub(crate) const CONTENDED: SignedDuration = SignedDuration::from_secs(10);

/// One message in hand.
pub(crate) struct Work<'a> {
    pub(crate) deps: &'a Deps,
    /// What the message says.
    pub(crate) about: ShardMessage,
    /// The message's id.
    pub(crate) message: &'a str,
    /// Whether a person has cancelled the job.
    pub(crate) stopped: bool,
}

impl Work<'_> {
    /// Writes `next`, in which this message comes back after `wait`.
    pub(crate) async fn wait(
        &self,
        stored: &StoredShard,
        next: Shard,
        wait: SignedDuration,
    ) -> Result<Disposition, PollError> {
        let back_at = self.deps.clock.now() + wait;
        let next = Shard {
            stopped: next.stopped || self.stopped,
            ..next
        };
        match self
            .deps
            .states
            .swap(stored, next.driven_by(self.message, back_at))
            .await?
        {
            Cas::Written(_) => self.tell_report(Disposition::Later(wait)).await,
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    /// Has this message come back after `wait`. That is written down only where it is news.
    pub(crate) async fn wait_on(
        &self,
        stored: &StoredShard,
        wait: SignedDuration,
    ) -> Result<Disposition, PollError> {
        let (deps, shard) = (self.deps, &stored.shard);
        let back_at = deps.clock.now() + wait;
        if shard.knows_of(self.message, back_at) {
            return Ok(Disposition::Later(wait));
        }
        match deps
            .states
            .swap(stored, shard.driven_by(self.message, back_at))
            .await?
        {
            Cas::Written(_) => Ok(Disposition::Later(wait)),
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    /// Tells a person why the shard waits. The batch is asked about all the same, after growing
    /// waits.
    pub(crate) async fn hold(
        &self,
        stored: &StoredShard,
        reason: &str,
    ) -> Result<Disposition, PollError> {
        let errors = stored.shard.errors.saturating_add(1);
        let wait = retry_wait(errors);
        if stored.shard.phase.is_held() {
            return self
                .wait(
                    stored,
                    Shard {
                        errors,
                        ..stored.shard.clone()
                    },
                    wait,
                )
                .await;
        }
        warn!("held: {reason}");
        let held = stored.shard.held(reason, self.deps.clock.now());
        self.wait(stored, Shard { errors, ..held }, wait).await
    }

    /// The batch has ended: its place is free, and `collect` looks for its output.
    pub(crate) async fn hand_on(&self) -> Result<Disposition, PollError> {
        self.free().await?;
        self.deps.results.send(&self.about).await?;
        self.tell_report(Disposition::Done).await
    }

    pub(crate) async fn end(
        &self,
        stored: &StoredShard,
        next: Shard,
    ) -> Result<Disposition, PollError> {
        match self.deps.states.swap(stored, next).await? {
            Cas::Written(_) => {
                // What it cost nobody knows: what was reserved for it stays.
                self.deps
                    .ledger
                    .change(|ledger| ledger.settle(&self.about.job, self.about.shard, None))
                    .await?;
                self.tell_report(Disposition::Done).await
            }
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    pub(crate) async fn tell_report(&self, then: Disposition) -> Result<Disposition, PollError> {
        self.deps
            .reports
            .send(&JobMessage::of_shard(&self.about.job, self.about.shard))
            .await?;
        Ok(then)
    }

    async fn free(&self) -> Result<(), PollError> {
        self.deps
            .ledger
            .change(|ledger| ledger.release(&self.about.job, self.about.shard))
            .await?;
        Ok(())
    }
}
