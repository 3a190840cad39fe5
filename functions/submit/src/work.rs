//! How the handling of one message can end: every end is first written down, then told.

use darkroom::{
    messages::{JobMessage, ShardMessage},
    state::{HELD_DEADLINE, LONGEST_WAIT, Shard, retry_wait},
};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::Disposition,
    shard_store::{Cas, StoredShard},
};
use tracing::{info, warn};

use crate::{deps::Deps, handler::SubmitError};

/// How long to leave a shard alone that somebody else has just changed.
pub(crate) const CONTENDED: SignedDuration = SignedDuration::from_secs(10);

/// One message in hand.
pub(crate) struct Work<'a> {
    pub(crate) deps: &'a Deps,
    /// What the message says.
    pub(crate) about: ShardMessage,
    /// The message's id.
    pub(crate) message: &'a str,
    /// When Lambda ends the invocation.
    pub(crate) deadline: Timestamp,
}

impl Work<'_> {
    /// Writes `next`, in which this message comes back after `wait`.
    pub(crate) async fn wait(
        &self,
        stored: &StoredShard,
        next: Shard,
        wait: SignedDuration,
    ) -> Result<Disposition, SubmitError> {
        if let Some(why) = &next.waiting {
            info!(
                phase = next.phase.name(),
                seconds = wait.as_secs(),
                "waits: {why}"
            );
        }
        let back_at = self.deps.clock.now() + wait.min(LONGEST_WAIT);
        match self
            .deps
            .states
            .swap(stored, next.driven_by(self.message, back_at))
            .await?
        {
            Cas::Written(_) => {
                self.deps
                    .reports
                    .send(&JobMessage::of_shard(&self.about.job, self.about.shard))
                    .await?;
                Ok(Disposition::Later(wait))
            }
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    /// Has this message come back at `until`. That is written down only where it is news.
    pub(crate) async fn wait_on(
        &self,
        stored: &StoredShard,
        until: Timestamp,
    ) -> Result<Disposition, SubmitError> {
        let now = self.deps.clock.now();
        let wait = until.duration_since(now);
        if stored
            .shard
            .knows_of(self.message, now + wait.min(LONGEST_WAIT))
        {
            return Ok(Disposition::Later(wait));
        }
        self.wait(stored, stored.shard.clone(), wait).await
    }

    /// The shard after an error that costs nothing to try again: it is tried again after a growing
    /// wait, until its deadline.
    pub(crate) async fn retry(
        &self,
        stored: &StoredShard,
        tried: Shard,
        problem: &str,
    ) -> Result<Disposition, SubmitError> {
        warn!("tried again later: {problem}");
        let next = tried.after_error(problem);
        let wait = retry_wait(next.errors);
        self.wait(stored, next, wait).await
    }

    /// Has a person decide about `shard`, and says why.
    pub(crate) async fn hold(
        &self,
        stored: &StoredShard,
        shard: &Shard,
        reason: &str,
    ) -> Result<Disposition, SubmitError> {
        warn!("held: {reason}");
        let next = shard.held(reason, self.deps.clock.now());
        self.free(&next).await?;
        self.wait(stored, next, HELD_DEADLINE).await
    }

    pub(crate) async fn end(
        &self,
        stored: &StoredShard,
        next: Shard,
    ) -> Result<Disposition, SubmitError> {
        match self.deps.states.swap(stored, next).await? {
            Cas::Written(ended) => {
                self.close(&ended.shard).await?;
                self.tell_report().await
            }
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    pub(crate) async fn tell_report(&self) -> Result<Disposition, SubmitError> {
        self.deps
            .reports
            .send(&JobMessage::of_shard(&self.about.job, self.about.shard))
            .await?;
        Ok(Disposition::Done)
    }

    /// Ends in the ledger what a shard takes up that ended here.
    async fn close(&self, ended: &Shard) -> Result<(), SubmitError> {
        if let Some(settlement) = ended.settlement() {
            self.deps
                .ledger
                .change(|ledger| ledger.close(&ended.job, ended.shard, settlement))
                .await?;
        }
        Ok(())
    }

    /// Gives back what a shard without a batch takes up in the ledger. One that may have a batch
    /// keeps it.
    pub(crate) async fn free(&self, shard: &Shard) -> Result<(), SubmitError> {
        if !shard.phase.may_have_live_batch() {
            self.deps
                .ledger
                .change(|ledger| ledger.refund(&shard.job, shard.shard))
                .await?;
        }
        Ok(())
    }
}
