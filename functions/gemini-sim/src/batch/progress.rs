//! A batch's progress at a given time: its normal course, and the effect of a cancel.

use jiff::{SignedDuration, Timestamp};

use crate::{batch::Batch, scenario::batch_outcome::BatchOutcome};

/// A batch that has not ended by then expires without results. Source:
/// ai.google.dev/gemini-api/docs/batch-api, read 2026-11-21.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// A batch's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// A batch's progress.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) state: State,
    /// The number of rows that are done; rows are processed in order.
    pub(crate) done: usize,
    /// The number of rows after them that end in an error because the batch was cancelled.
    pub(crate) unserved: usize,
    /// When this state was reached.
    pub(crate) updated: Timestamp,
}

impl Batch {
    /// Returns the progress at `now`.
    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        // The deletion of the input ends the batch at once, whatever else was decided.
        if let Some(updated) = self.input_deleted.filter(|at| *at <= now) {
            return Progress {
                state: State::Failed,
                done: 0,
                unserved: 0,
                updated,
            };
        }

        // A cancel has an effect only before the batch has ended.
        let end = self.end();
        let by_then = |moment: Timestamp| end.as_ref().is_some_and(|end| end.updated <= moment);
        match (self.cancelled.filter(|at| *at <= now && !by_then(*at)), end) {
            (Some(at), _) => self.cancelled_at(at),
            (None, Some(end)) if end.updated <= now => end,
            (None, _) if self.started(now) => Progress {
                state: State::Running,
                done: self.done_by(now),
                unserved: 0,
                updated: now,
            },
            (None, _) => Progress {
                state: State::Pending,
                done: 0,
                unserved: 0,
                updated: self.created,
            },
        }
    }

    /// Returns whether the batch is pending or running.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.deleted.is_none() && !self.progress(now).state.is_terminal()
    }

    /// Returns the times at which the state changes or the output becomes available.
    pub(crate) fn events(&self) -> impl Iterator<Item = Timestamp> {
        let is_final =
            self.cancelled.is_some() || self.input_deleted.is_some() || self.deleted.is_some();
        let starts = self.ever_starts().then_some(self.starts);
        let ends = self.end().map(|end| end.updated);
        let changes = [starts, ends]
            .into_iter()
            .flatten()
            .filter(move |_| !is_final);
        changes.chain(self.late_output_from().filter(|_| self.deleted.is_none()))
    }

    /// Returns how the batch ends if it is not cancelled; `None` if it never ends.
    pub(crate) fn end(&self) -> Option<Progress> {
        // Every ending has the same form: no cancel, and so no unserved rows.
        let end = |state, done, updated| {
            Some(Progress {
                state,
                done,
                unserved: 0,
                updated,
            })
        };
        let expires = self
            .created
            .saturating_add(EXPIRES_AFTER)
            .unwrap_or(Timestamp::MAX);
        // A batch that would take longer than 48 hours expires, whatever its outcome.
        let too_long = self.ends > expires;
        match self.outcome {
            Some(BatchOutcome::StuckPending | BatchOutcome::StuckRunning) => None,
            Some(BatchOutcome::Expired) => end(State::Expired, 0, expires),
            Some(
                BatchOutcome::Failed
                | BatchOutcome::FailedSilently
                | BatchOutcome::Cancelled
                | BatchOutcome::Truncated,
            )
            | None
                if too_long =>
            {
                end(State::Expired, 0, expires)
            }
            Some(BatchOutcome::Failed | BatchOutcome::FailedSilently) => {
                end(State::Failed, 0, self.ends)
            }
            Some(BatchOutcome::Cancelled) => {
                let half_way = self.starts + self.ends.duration_since(self.starts) / 2;
                end(State::Cancelled, self.done_by(half_way), half_way)
            }
            Some(BatchOutcome::Truncated) | None => {
                end(State::Succeeded, self.request_count, self.ends)
            }
        }
    }

    fn cancelled_at(&self, at: Timestamp) -> Progress {
        let done = if self.started(at) {
            self.done_by(at)
        } else {
            0
        };
        if self.started(at) && self.succeeds_when_cancelled {
            Progress {
                state: State::Succeeded,
                done,
                unserved: self.request_count - done,
                updated: at,
            }
        } else {
            Progress {
                state: State::Cancelled,
                done,
                unserved: 0,
                updated: at,
            }
        }
    }

    fn started(&self, at: Timestamp) -> bool {
        self.ever_starts() && at >= self.starts
    }

    fn ever_starts(&self) -> bool {
        self.outcome != Some(BatchOutcome::StuckPending)
    }

    /// Returns the number of rows done at a time between the start and the end.
    fn done_by(&self, reached: Timestamp) -> usize {
        let whole = self.ends.duration_since(self.starts).as_millis().max(1);
        let part = reached.duration_since(self.starts).as_millis();
        let done = usize::try_from(self.request_count as i128 * part / whole)
            .unwrap_or(0)
            .min(self.request_count);
        match self.outcome {
            Some(
                BatchOutcome::StuckPending
                | BatchOutcome::Expired
                | BatchOutcome::Failed
                | BatchOutcome::FailedSilently,
            ) => 0,
            Some(BatchOutcome::StuckRunning) => done.min(self.request_count / 2),
            Some(BatchOutcome::Cancelled | BatchOutcome::Truncated) | None => done,
        }
    }
}

impl Progress {
    /// Returns whether there are results: all of a success, or those before a cancel. Their
    /// delivery may be later.
    pub(crate) fn has_output(&self) -> bool {
        match self.state {
            State::Succeeded => true,
            State::Cancelled => self.done > 0,
            State::Pending | State::Running | State::Failed | State::Expired => false,
        }
    }
}

impl State {
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired => true,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "BATCH_STATE_PENDING",
            Self::Running => "BATCH_STATE_RUNNING",
            Self::Succeeded => "BATCH_STATE_SUCCEEDED",
            Self::Failed => "BATCH_STATE_FAILED",
            Self::Cancelled => "BATCH_STATE_CANCELLED",
            Self::Expired => "BATCH_STATE_EXPIRED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::{at, batch};

    const HOUR: i64 = 3600;

    /// Returns the state, and the done and unserved rows, at a second.
    fn observe(batch: &Batch, second: i64) -> (State, usize, usize) {
        let Progress {
            state,
            done,
            unserved,
            ..
        } = batch.progress(at(second));
        (state, done, unserved)
    }

    fn with_outcome(outcome: BatchOutcome) -> Batch {
        Batch {
            outcome: Some(outcome),
            ..batch()
        }
    }

    #[test]
    fn requests_are_processed_in_sequence() {
        let batch = batch();
        assert_eq!(observe(&batch, 99), (State::Pending, 0, 0));
        assert_eq!(observe(&batch, 100), (State::Running, 0, 0));
        assert_eq!(observe(&batch, 600), (State::Running, 5, 0));
        assert_eq!(observe(&batch, 1099), (State::Running, 9, 0));
        assert_eq!(observe(&batch, 1100), (State::Succeeded, 10, 0));
        assert_eq!(batch.events().collect::<Vec<_>>(), [at(100), at(1100)]);
    }

    #[test]
    fn a_cancel_stops_processing() {
        let cancelled = Batch {
            cancelled: Some(at(600)),
            ..batch()
        };
        assert_eq!(observe(&cancelled, 599), (State::Running, 4, 0));
        assert_eq!(observe(&cancelled, 5000), (State::Cancelled, 5, 0));
        assert!(cancelled.progress(at(5000)).has_output());
        assert_eq!(cancelled.events().count(), 0);
        let message = Batch {
            succeeds_when_cancelled: true,
            ..cancelled
        };
        assert_eq!(observe(&message, 5000), (State::Succeeded, 5, 5));
    }

    #[test]
    fn a_cancel_before_the_start_leaves_nothing() {
        for succeeds_when_cancelled in [true, false] {
            let cancelled = Batch {
                cancelled: Some(at(50)),
                succeeds_when_cancelled,
                ..batch()
            };
            assert_eq!(observe(&cancelled, 5000), (State::Cancelled, 0, 0));
            assert!(!cancelled.progress(at(5000)).has_output());
        }
    }

    #[test]
    fn a_cancel_after_the_end_changes_nothing() {
        assert_eq!(
            observe(
                &Batch {
                    cancelled: Some(at(1200)),
                    ..batch()
                },
                5000
            ),
            (State::Succeeded, 10, 0)
        );
    }

    #[test]
    fn a_batch_fails_when_its_input_is_deleted() {
        for (deleted, before) in [(50, State::Pending), (600, State::Running)] {
            let batch = Batch {
                input_deleted: Some(at(deleted)),
                ..batch()
            };
            assert_eq!(observe(&batch, deleted - 1).0, before);
            assert!(batch.is_live(at(deleted - 1)) && !batch.is_live(at(deleted)));
            assert_eq!(observe(&batch, 5000), (State::Failed, 0, 0));
            assert_eq!(batch.progress(at(5000)).updated, at(deleted));
            assert_eq!(batch.events().count(), 0);
        }
    }

    #[test]
    fn a_batch_that_takes_too_long_expires_without_results() {
        let batch = Batch {
            ends: at(49 * HOUR),
            ..batch()
        };
        assert_eq!(observe(&batch, 48 * HOUR - 1).0, State::Running);
        assert_eq!(observe(&batch, 50 * HOUR), (State::Expired, 0, 0));
        assert!(!batch.progress(at(50 * HOUR)).has_output());
    }

    #[test]
    fn stuck_batches_end_only_by_a_cancel() {
        let pending = with_outcome(BatchOutcome::StuckPending);
        assert_eq!(observe(&pending, 1000 * HOUR), (State::Pending, 0, 0));
        assert_eq!(pending.events().count(), 0);
        let running = with_outcome(BatchOutcome::StuckRunning);
        assert_eq!(observe(&running, 1000 * HOUR), (State::Running, 5, 0));
        assert_eq!(running.events().collect::<Vec<_>>(), [at(100)]);
        let cancelled = Batch {
            cancelled: Some(at(900 * HOUR)),
            ..running
        };
        assert_eq!(observe(&cancelled, 1000 * HOUR), (State::Cancelled, 5, 0));
    }

    #[test]
    fn each_outcome_ends_in_its_state() {
        assert_eq!(
            observe(&with_outcome(BatchOutcome::Expired), 48 * HOUR - 1),
            (State::Running, 0, 0)
        );
        assert_eq!(
            observe(&with_outcome(BatchOutcome::Expired), 48 * HOUR),
            (State::Expired, 0, 0)
        );
        for failed in [BatchOutcome::Failed, BatchOutcome::FailedSilently] {
            assert_eq!(observe(&with_outcome(failed), 1099), (State::Running, 0, 0));
            assert_eq!(observe(&with_outcome(failed), 1100), (State::Failed, 0, 0));
        }
        assert_eq!(
            observe(&with_outcome(BatchOutcome::Cancelled), 599),
            (State::Running, 4, 0)
        );
        assert_eq!(
            observe(&with_outcome(BatchOutcome::Cancelled), 600),
            (State::Cancelled, 5, 0)
        );
        assert_eq!(
            observe(&with_outcome(BatchOutcome::Truncated), 1100),
            (State::Succeeded, 10, 0)
        );
    }
}
