//! How far a batch is at a moment: its life by itself, and what a cancel makes of it.

use jiff::{SignedDuration, Timestamp};

use crate::{batch::Batch, scenario::batch_outcome::BatchFate};

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

/// How far a batch is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) state: State,
    /// The rows that are done, the first ones of their order.
    pub(crate) done: usize,
    /// The rows after them that end in an error because the batch was cancelled.
    pub(crate) unserved: usize,
    /// When it came to this.
    pub(crate) updated: Timestamp,
}

impl Batch {
    /// How far it is at `now`.
    pub(crate) fn progress(&self, now: Timestamp) -> Progress {
        if let Some(updated) = self.input_deleted.filter(|at| *at <= now) {
            return Progress {
                state: State::Failed,
                done: 0,
                unserved: 0,
                updated,
            };
        }
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

    /// Whether it is pending or running.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.deleted.is_none() && !self.progress(now).state.is_terminal()
    }

    /// The moments at which its state changes, or its output comes.
    pub(crate) fn events(&self) -> impl Iterator<Item = Timestamp> {
        let over =
            self.cancelled.is_some() || self.input_deleted.is_some() || self.deleted.is_some();
        let starts = self.starts_at_all().then_some(self.starts);
        let ends = self.end().map(|end| end.updated);
        let changes = [starts, ends].into_iter().flatten().filter(move |_| !over);
        changes.chain(self.late_output().filter(|_| self.deleted.is_none()))
    }

    /// How it ends if it is not cancelled; nothing when it never ends.
    pub(crate) fn end(&self) -> Option<Progress> {
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
        let too_long = self.ends > expires;
        match self.fate {
            Some(BatchFate::StuckPending | BatchFate::StuckRunning) => None,
            Some(BatchFate::Expired) => end(State::Expired, 0, expires),
            Some(
                BatchFate::Failed
                | BatchFate::FailedSilently
                | BatchFate::Cancelled
                | BatchFate::Truncated,
            )
            | None
                if too_long =>
            {
                end(State::Expired, 0, expires)
            }
            Some(BatchFate::Failed | BatchFate::FailedSilently) => end(State::Failed, 0, self.ends),
            Some(BatchFate::Cancelled) => {
                let half_way = self.starts + self.ends.duration_since(self.starts) / 2;
                end(State::Cancelled, self.done_by(half_way), half_way)
            }
            Some(BatchFate::Truncated) | None => {
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
        self.starts_at_all() && at >= self.starts
    }

    fn starts_at_all(&self) -> bool {
        self.fate != Some(BatchFate::StuckPending)
    }

    /// The rows done at a moment after the start and before the end.
    fn done_by(&self, reached: Timestamp) -> usize {
        let whole = self.ends.duration_since(self.starts).as_millis().max(1);
        let part = reached.duration_since(self.starts).as_millis();
        let done = usize::try_from(self.request_count as i128 * part / whole)
            .unwrap_or(0)
            .min(self.request_count);
        match self.fate {
            Some(
                BatchFate::StuckPending
                | BatchFate::Expired
                | BatchFate::Failed
                | BatchFate::FailedSilently,
            ) => 0,
            Some(BatchFate::StuckRunning) => done.min(self.request_count / 2),
            Some(BatchFate::Cancelled | BatchFate::Truncated) | None => done,
        }
    }
}

impl Progress {
    /// Whether it has results: of a success, or of what was done before a cancel. They may come
    /// later than this.
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

    /// State, done and unserved at a second.
    fn look(batch: &Batch, second: i64) -> (State, usize, usize) {
        let Progress {
            state,
            done,
            unserved,
            ..
        } = batch.progress(at(second));
        (state, done, unserved)
    }

    fn fated(fate: BatchFate) -> Batch {
        Batch {
            fate: Some(fate),
            ..batch()
        }
    }

    #[test]
    fn requests_are_done_one_after_the_other() {
        let batch = batch();
        assert_eq!(look(&batch, 99), (State::Pending, 0, 0));
        assert_eq!(look(&batch, 100), (State::Running, 0, 0));
        assert_eq!(look(&batch, 600), (State::Running, 5, 0));
        assert_eq!(look(&batch, 1099), (State::Running, 9, 0));
        assert_eq!(look(&batch, 1100), (State::Succeeded, 10, 0));
        assert_eq!(batch.events().collect::<Vec<_>>(), [at(100), at(1100)]);
    }

    #[test]
    fn a_cancel_stops_the_work_where_it_is() {
        let cancelled = Batch {
            cancelled: Some(at(600)),
            ..batch()
        };
        assert_eq!(look(&cancelled, 599), (State::Running, 4, 0));
        assert_eq!(look(&cancelled, 5000), (State::Cancelled, 5, 0));
        assert!(cancelled.progress(at(5000)).has_output());
        assert_eq!(cancelled.events().count(), 0);
        let told = Batch {
            succeeds_when_cancelled: true,
            ..cancelled
        };
        assert_eq!(look(&told, 5000), (State::Succeeded, 5, 5));
    }

    #[test]
    fn a_cancel_before_the_start_leaves_nothing() {
        for succeeds_when_cancelled in [true, false] {
            let cancelled = Batch {
                cancelled: Some(at(50)),
                succeeds_when_cancelled,
                ..batch()
            };
            assert_eq!(look(&cancelled, 5000), (State::Cancelled, 0, 0));
            assert!(!cancelled.progress(at(5000)).has_output());
        }
    }

    #[test]
    fn a_cancel_after_the_end_changes_nothing() {
        assert_eq!(
            look(
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
    fn a_batch_whose_input_is_taken_away_fails_at_that_moment() {
        for (deleted, before) in [(50, State::Pending), (600, State::Running)] {
            let batch = Batch {
                input_deleted: Some(at(deleted)),
                ..batch()
            };
            assert_eq!(look(&batch, deleted - 1).0, before);
            assert!(batch.is_live(at(deleted - 1)) && !batch.is_live(at(deleted)));
            assert_eq!(look(&batch, 5000), (State::Failed, 0, 0));
            assert_eq!(batch.progress(at(5000)).updated, at(deleted));
            assert_eq!(batch.events().count(), 0);
        }
    }

    #[test]
    fn a_batch_too_long_expires_without_results() {
        let batch = Batch {
            ends: at(49 * HOUR),
            ..batch()
        };
        assert_eq!(look(&batch, 48 * HOUR - 1).0, State::Running);
        assert_eq!(look(&batch, 50 * HOUR), (State::Expired, 0, 0));
        assert!(!batch.progress(at(50 * HOUR)).has_output());
    }

    #[test]
    fn stuck_batches_wait_for_a_cancel() {
        let pending = fated(BatchFate::StuckPending);
        assert_eq!(look(&pending, 1000 * HOUR), (State::Pending, 0, 0));
        assert_eq!(pending.events().count(), 0);
        let running = fated(BatchFate::StuckRunning);
        assert_eq!(look(&running, 1000 * HOUR), (State::Running, 5, 0));
        assert_eq!(running.events().collect::<Vec<_>>(), [at(100)]);
        let cancelled = Batch {
            cancelled: Some(at(900 * HOUR)),
            ..running
        };
        assert_eq!(look(&cancelled, 1000 * HOUR), (State::Cancelled, 5, 0));
    }

    #[test]
    fn fates_end_in_their_state() {
        assert_eq!(
            look(&fated(BatchFate::Expired), 48 * HOUR - 1),
            (State::Running, 0, 0)
        );
        assert_eq!(
            look(&fated(BatchFate::Expired), 48 * HOUR),
            (State::Expired, 0, 0)
        );
        for failed in [BatchFate::Failed, BatchFate::FailedSilently] {
            assert_eq!(look(&fated(failed), 1099), (State::Running, 0, 0));
            assert_eq!(look(&fated(failed), 1100), (State::Failed, 0, 0));
        }
        assert_eq!(
            look(&fated(BatchFate::Cancelled), 599),
            (State::Running, 4, 0)
        );
        assert_eq!(
            look(&fated(BatchFate::Cancelled), 600),
            (State::Cancelled, 5, 0)
        );
        assert_eq!(
            look(&fated(BatchFate::Truncated), 1100),
            (State::Succeeded, 10, 0)
        );
    }
}
