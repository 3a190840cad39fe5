//! How the handling of one message can end: every end is first written down, then told.

use darkroom::{
    messages::{JobMessage, ShardMessage},
    names::ShardId,
    state::{LONGEST_WAIT, Phase, Shard},
};
use jiff::{SignedDuration, Timestamp};
use runtime::{
    deliveries::Disposition,
    shard_store::{Cas, StoredShard},
};

use crate::{deps::Deps, handler::CollectError};

/// How long to leave a shard alone that somebody else has just changed.
pub(crate) const CONTENDED: SignedDuration = SignedDuration::from_secs(30);

/// One message in hand.
pub(crate) struct Work<'a> {
    pub(crate) deps: &'a Deps,
    /// What the message says.
    pub(crate) about: ShardMessage,
    /// The message's id.
    pub(crate) message: &'a str,
    /// Whether a person has cancelled the job.
    pub(crate) stopped: bool,
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
    ) -> Result<Disposition, CollectError> {
        let back_at = self.deps.clock.now() + wait.min(LONGEST_WAIT);
        // A person's cancel has an effect on a held shard: it need not wait for its message any
        // more.
        let stopped = next.stopped || (self.stopped && next.phase.is_held());
        let next = Shard { stopped, ..next };
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

    /// Has this message come back at `until`. That is written down only where it is news.
    pub(crate) async fn wait_on(
        &self,
        stored: &StoredShard,
        until: Timestamp,
    ) -> Result<Disposition, CollectError> {
        let (now, shard) = (self.deps.clock.now(), &stored.shard);
        let wait = until.duration_since(now);
        let back_at = now + wait.min(LONGEST_WAIT);
        if shard.knows_of(self.message, back_at) {
            return Ok(Disposition::Later(wait));
        }
        self.wait(stored, shard.clone(), wait).await
    }

    /// Gives the lease back, so that the next invocation reads on. This message comes back after
    /// `wait`.
    pub(crate) async fn release(
        &self,
        stored: &StoredShard,
        note: Option<String>,
        wait: SignedDuration,
    ) -> Result<Disposition, CollectError> {
        let mut next = Shard {
            waiting: note,
            ..stored.shard.clone()
        };
        if let Phase::Collecting(collecting) = &mut next.phase {
            collecting.lease_until = None;
        }
        self.wait(stored, next, wait).await
    }

    /// Ends the shard without what it waits for.
    pub(crate) async fn give_up(&self, stored: &StoredShard) -> Result<Disposition, CollectError> {
        let given_up = stored.shard.given_up();
        let next = Shard {
            stopped: given_up.stopped || self.stopped,
            ..given_up
        };
        match self.deps.states.swap(stored, next).await? {
            Cas::Written(stored) => {
                self.settle(&stored.shard).await?;
                self.tell_report(Disposition::Done).await
            }
            Cas::Conflict => Ok(Disposition::Later(CONTENDED)),
        }
    }

    /// Puts what the shard cost in place of what the ledger has reserved for it, once it is over.
    /// Again, it changes nothing.
    pub(crate) async fn settle(&self, shard: &Shard) -> Result<(), CollectError> {
        if let Some(settlement) = shard.settlement() {
            self.deps
                .ledger
                .change(|ledger| ledger.close(&shard.job, shard.shard, settlement))
                .await?;
        }
        Ok(())
    }

    /// The shard is done: its round, if it has one, is sent on its way. Sent twice, it is submitted
    /// once.
    pub(crate) async fn wake(&self, round: Option<ShardId>) -> Result<Disposition, CollectError> {
        if let Some(round) = round {
            self.deps
                .shards
                .send(&ShardMessage::new(&self.about.job, round))
                .await?;
        }
        self.tell_report(Disposition::Done).await
    }

    pub(crate) async fn tell_report(&self, then: Disposition) -> Result<Disposition, CollectError> {
        self.deps
            .reports
            .send(&JobMessage::of_shard(&self.about.job, self.about.shard))
            .await?;
        Ok(then)
    }
}
