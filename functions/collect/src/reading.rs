//! A reading of an output, under the lease of this invocation.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    state::{Collecting, Outcome, Phase, Shard},
};
use exchange::images;
use jiff::SignedDuration;
use runtime::turn::{Turn, TurnError};

use crate::{deps::Deps, error::CollectError};

/// A reading of a shard's output. `collecting` is what the state holds.
pub(crate) struct Reading<'t, 'a> {
    pub(crate) deps: &'t Deps,
    pub(crate) turn: &'t mut Turn<'a>,
    pub(crate) collecting: Collecting,
}

impl<'t, 'a> Reading<'t, 'a> {
    /// Takes the lease. A reader that crashes keeps it, by which the next reader knows.
    ///
    /// # Errors
    /// [`CollectError::Turn`] if another invocation has changed the shard, or the write failed.
    pub(crate) async fn begin(
        deps: &'t Deps,
        turn: &'t mut Turn<'a>,
        collecting: Collecting,
    ) -> Result<Self, CollectError> {
        let collecting = Collecting {
            tries: collecting.tries + 1,
            lease_until: Some(turn.deadline()),
            ..collecting
        };
        let shard = turn.shard();
        let phase = Phase::Collecting(collecting.clone());
        let next = Shard {
            waiting: shard.waiting.clone(),
            // A cancel takes effect on a held shard, and need not be brought by its own message
            // from now on.
            cancel_requested: shard.cancel_requested
                || (turn.cancel_requested() && shard.phase.is_held()),
            ..shard.enter(phase, collecting.ended.kept_until())
        };
        turn.enter(next).await?;
        Ok(Self {
            deps,
            turn,
            collecting,
        })
    }

    /// Records progress: the reading becomes `collecting`, and `errors` in a row are left.
    ///
    /// # Errors
    /// Those of [`Reading::begin`].
    pub(crate) async fn record(
        &mut self,
        collecting: Collecting,
        errors: u32,
    ) -> Result<(), CollectError> {
        let next = Shard {
            phase: Phase::Collecting(collecting.clone()),
            errors,
            waiting: None,
            ..self.turn.shard().clone()
        };
        self.turn.enter(next).await?;
        self.collecting = collecting;
        Ok(())
    }

    /// Returns the shard with the reading `collecting` and without this invocation's lease.
    pub(crate) fn without_lease(&self, collecting: Collecting) -> Shard {
        Shard {
            phase: Phase::Collecting(Collecting {
                lease_until: None,
                ..collecting
            }),
            ..self.turn.shard().clone()
        }
    }

    /// Writes a chunk; the same lines give the same bytes.
    ///
    /// # Errors
    /// [`TurnError::Conflict`] if the lease has expired: another reader may have written a chunk of
    /// the same name with fewer lines, which its state counts.
    pub(crate) async fn write_chunk(
        &self,
        chunk: &Chunk,
        lines: &[ChunkLine],
    ) -> Result<(), CollectError> {
        if self.has_lost_its_lease() {
            return Err(TurnError::Conflict.into());
        }
        Ok(images::write_chunk(&self.deps.bucket, self.turn.shard(), chunk, lines).await?)
    }

    /// Gives the lease back, so that the next invocation continues at once.
    pub(crate) fn continue_later(&self) -> Outcome {
        let next = Shard {
            waiting: None,
            ..self.without_lease(self.collecting.clone())
        };
        Outcome::wait(next, SignedDuration::ZERO)
    }

    /// Whether only the time is left that is reserved for recording progress.
    pub(crate) fn is_time_up(&self) -> bool {
        self.deps.clock.now() + self.deps.pace.reserve >= self.turn.deadline()
    }

    /// Whether the lease has expired, so that another reader may be at work.
    fn has_lost_its_lease(&self) -> bool {
        self.deps.clock.now() >= self.turn.deadline()
    }
}
