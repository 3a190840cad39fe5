//! The work on a shard under the lease of one invocation.

use darkroom::{
    chunks::{Chunk, ChunkLine},
    names::RequestKey,
    results::{NO_ANSWER, Reason, Status},
    state::{Generating, Outcome, Phase, Shard},
};
use exchange::{
    error::{InputError, RecordError, wait_for_claim},
    expectations::ShardExpectations,
    images,
};
use jiff::SignedDuration;
use runtime::{
    chunks::{ChunkError, read_chunk},
    turn::{Turn, TurnError},
};
use tracing::warn;

use crate::{deps::Deps, error::GenerateError, pause::Pause};

/// The work on a shard. `generating` is what the state will hold with the next write.
pub(crate) struct Session<'t, 'a> {
    pub(crate) deps: &'t Deps,
    pub(crate) turn: &'t mut Turn<'a>,
    generating: Generating,
    /// The result lines of the chunks that `generating` names.
    lines: Vec<ChunkLine>,
    /// Errors in a row. A result resets them.
    errors: u32,
    /// Whether a result is stored that the state does not name yet.
    is_dirty: bool,
}

impl<'t, 'a> Session<'t, 'a> {
    /// Takes the lease.
    ///
    /// # Errors
    /// [`GenerateError::Turn`] if another invocation has changed the shard, or the write failed.
    pub(crate) async fn begin(
        deps: &'t Deps,
        turn: &'t mut Turn<'a>,
        generating: Generating,
    ) -> Result<Self, GenerateError> {
        let mut session = Self {
            errors: turn.shard().errors,
            deps,
            turn,
            generating: Generating {
                lease_until: None,
                ..generating
            },
            lines: Vec::new(),
            is_dirty: false,
        };
        session.save().await?;
        session.turn.notify().await?;
        Ok(session)
    }

    /// Reads what the shard requests, and the results that it has. Claims that an earlier invocation
    /// has left behind are settled.
    pub(crate) async fn expectations(&mut self) -> Result<ShardExpectations, GenerateError> {
        let (deps, shard) = (self.deps, self.turn.shard());
        let mut expectations = ShardExpectations::load(deps.stores(), shard, &[]).await?;
        for chunk in &self.generating.chunks {
            let take = |line| self.lines.push(line);
            read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, take)
                .await
                .map_err(RecordError::from)?;
        }
        self.lines.iter().for_each(|line| expectations.see(line));
        self.settle_lost_claims(&mut expectations).await?;
        Ok(expectations)
    }

    /// Returns the result lines so far, to end the shard with them.
    pub(crate) fn take_lines(&mut self) -> Vec<ChunkLine> {
        std::mem::take(&mut self.lines)
    }

    /// Returns whether the last calls failed, so that one call must succeed before there are more.
    pub(crate) fn is_after_error(&self) -> bool {
        self.errors > 0
    }

    /// Settles the claims of an invocation that ended before it recorded their results. A result
    /// that was stored is adopted. Otherwise the answer is lost: Gemini may have charged for it, and
    /// the key is requested again in the next round.
    async fn settle_lost_claims(
        &mut self,
        expectations: &mut ShardExpectations,
    ) -> Result<(), GenerateError> {
        for key in self.generating.claimed.clone() {
            let shard = self.turn.shard();
            let (mut found, chunk) = (None, Chunk::of_key(&key));
            let take = |line| found = Some(line);
            let bucket = &self.deps.bucket;
            match read_chunk(bucket, &shard.job, shard.shard, &chunk, take).await {
                Ok(()) | Err(ChunkError::Missing { .. }) => {}
                Err(problem) => return Err(RecordError::from(problem).into()),
            }
            let line = match found {
                Some(line) => line,
                None => {
                    warn!("claim of an invocation that has ended: its answer is lost");
                    let what = "the function ended while it waited for the answer";
                    self.store_lost_answer(&key, what).await?
                }
            };
            expectations.see(&line);
            self.add(&key, line);
        }
        if self.is_dirty {
            self.save().await?;
        }
        Ok(())
    }

    /// Stores the result of a call whose answer is lost.
    pub(crate) async fn store_lost_answer(
        &self,
        key: &RequestKey,
        what: &str,
    ) -> Result<ChunkLine, GenerateError> {
        let message = format!("{what}; Gemini may have charged for an image");
        let reason = Reason {
            code: NO_ANSWER.to_owned(),
            message,
            retryable: true,
        };
        self.store_reason(key, (Status::Failed, reason)).await
    }

    /// Stores a result without an image.
    pub(crate) async fn store_reason(
        &self,
        key: &RequestKey,
        result: (Status, Reason),
    ) -> Result<ChunkLine, GenerateError> {
        let shard = self.turn.shard();
        let line = images::without_image(shard, key.clone(), result);
        let (bucket, chunk) = (&self.deps.bucket, Chunk::of_key(key));
        images::write_chunk(bucket, shard, &chunk, std::slice::from_ref(&line)).await?;
        Ok(line)
    }

    /// Claims keys, so that a later invocation learns that their calls may have been made. The
    /// results since the last write are recorded too.
    ///
    /// # Errors
    /// [`GenerateError::Turn`]; no call may be made then.
    pub(crate) async fn claim(&mut self, keys: &[RequestKey]) -> Result<(), GenerateError> {
        self.generating.claimed.extend(keys.iter().cloned());
        self.save().await
    }

    /// Takes back the claim of a call that certainly had no effect.
    pub(crate) fn unclaim(&mut self, key: &RequestKey) {
        self.generating.claimed.retain(|claimed| claimed != key);
        self.is_dirty = true;
    }

    /// Adds the result of a key whose chunk is stored.
    pub(crate) fn add(&mut self, key: &RequestKey, line: ChunkLine) {
        self.lines.push(line);
        self.generating.chunks.push(Chunk::of_key(key));
        self.unclaim(key);
    }

    /// Records that Gemini has answered a call.
    pub(crate) fn succeeded(&mut self) {
        self.errors = 0;
        self.generating.no_capacity_since = None;
    }

    /// Records that Gemini refused a call of the flex tier for lack of capacity. Returns whether the
    /// shard has waited for it long enough.
    pub(crate) fn lacks_capacity(&mut self) -> bool {
        let now = self.deps.clock.now();
        let since = *self.generating.no_capacity_since.get_or_insert(now);
        now >= since + self.deps.limits.flex_patience
    }

    /// Writes the state if results or claims have changed since the last write.
    ///
    /// # Errors
    /// [`GenerateError::Turn`]
    pub(crate) async fn save_if_changed(&mut self) -> Result<(), GenerateError> {
        if self.is_dirty {
            self.save().await
        } else {
            Ok(())
        }
    }

    async fn save(&mut self) -> Result<(), GenerateError> {
        let phase = Phase::Generating(Generating {
            lease_until: Some(self.turn.deadline()),
            ..self.generating.clone()
        });
        let shard = self.turn.shard();
        let next = Shard {
            waiting: None,
            errors: self.errors,
            ..shard.enter(phase, shard.deadline)
        };
        self.turn.enter(next).await?;
        self.is_dirty = false;
        Ok(())
    }

    /// Returns the shard without this invocation's lease.
    fn without_lease(&self) -> Shard {
        let shard = self.turn.shard();
        Shard {
            errors: self.errors,
            ..shard.enter(Phase::Generating(self.generating.clone()), shard.deadline)
        }
    }

    /// Returns the outcome of a pause: the lease is given back.
    pub(crate) fn pause(&self, pause: &Pause) -> Outcome {
        pause.outcome(self.without_lease())
    }

    /// Decides after the requests could not be prepared, before any call of this invocation or in
    /// between.
    fn without_input(&self, problem: &InputError) -> Outcome {
        let shard = self.without_lease();
        match problem {
            InputError::Unusable(problem) => Outcome::end(shard.failed("INPUT", problem)),
            InputError::Gemini(refusal) => Pause::after(refusal).map_or_else(
                || Outcome::end(shard.failed("INPUT", refusal.to_string())),
                |pause| pause.outcome(shard.clone()),
            ),
            InputError::Transient(problem) => Outcome::retry(&shard, problem, SignedDuration::ZERO),
            InputError::Taken { until } => {
                let wait = wait_for_claim(*until, self.deps.clock.now());
                Outcome::wait(shard.waiting(problem.to_string()), wait)
            }
        }
    }

    /// Turns an error into an outcome that gives the lease back, with the claims that are left.
    ///
    /// # Errors
    /// A conflict: the state is another invocation's now, and so is the lease.
    pub(crate) fn give_lease_back(
        &self,
        outcome: Result<Outcome, GenerateError>,
    ) -> Result<Outcome, GenerateError> {
        match outcome {
            Err(GenerateError::Turn(TurnError::Conflict)) | Ok(_) => outcome,
            Err(GenerateError::Input(problem)) => Ok(self.without_input(&problem)),
            Err(problem) => Ok(Outcome::retry(
                &self.without_lease(),
                problem.to_string(),
                SignedDuration::ZERO,
            )),
        }
    }
}
