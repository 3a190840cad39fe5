//! How the simulated service behaves: what goes well, what goes wrong, and how long it takes.
//!
//! Every decision is drawn from the seed, the batch and the key, never from a position or a moment: the same batch
//! gives the same results whenever it is asked, and a retry in another batch draws anew.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::draw::Draw;

/// What to simulate. Percentages are of request lines; `refuse`, `internal_error` and `missing` exclude each other and
/// together want to stay within 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What all draws start from.
    pub seed: u64,
    /// The least time from a batch's creation to its end, in simulated seconds.
    pub shortest_batch_seconds: u32,
    /// The most time from a batch's creation to its end, in simulated seconds.
    pub longest_batch_seconds: u32,
    /// Requests answered without an image: a blocked prompt, `NO_IMAGE` or `IMAGE_SAFETY`.
    pub refuse_percent: u8,
    /// Requests that end in an error line with code 13.
    pub internal_error_percent: u8,
    /// Requests that are served, counted and billed, but whose line is not in the output file.
    pub missing_percent: u8,
    /// Requests whose line is in the output file twice.
    pub repeated_percent: u8,
    /// Images that come after an interim image marked as a thought.
    pub thoughts_percent: u8,
    /// Whether output lines come in another order than the requests.
    pub shuffle: bool,
}

impl Default for Behaviour {
    /// Everything goes well, in 20 to 90 minutes.
    fn default() -> Self {
        Self {
            seed: 0,
            shortest_batch_seconds: 20 * 60,
            longest_batch_seconds: 90 * 60,
            refuse_percent: 0,
            internal_error_percent: 0,
            missing_percent: 0,
            repeated_percent: 0,
            thoughts_percent: 0,
            shuffle: false,
        }
    }
}

/// How one request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// An image.
    Image,
    /// An interim image marked as a thought, then the image.
    ImageAfterThought,
    /// A response without an image.
    Refused(Refusal),
    /// An error line, code 13.
    InternalError,
    /// An error line, code 7: the request points to a file that is not there.
    NoReference,
    /// Served and billed, but not in the output file.
    Missing,
}

/// The shapes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// The prompt was blocked: no candidate.
    Prompt,
    /// A candidate with finish reason `NO_IMAGE`.
    NoImage,
    /// A candidate with finish reason `IMAGE_SAFETY`.
    ImageSafety,
}

/// What becomes of one request line.
pub(super) struct Fate {
    pub(super) outcome: Outcome,
    /// Whether the output file has the line twice.
    pub(super) repeated: bool,
}

/// When a batch runs.
pub(super) struct Schedule {
    pub(super) starts: Timestamp,
    pub(super) ends: Timestamp,
}

impl Behaviour {
    /// What becomes of the request `key` in `batch`.
    pub(super) fn fate(&self, batch: &str, key: &str) -> Fate {
        let percent = |what: &str| Draw::about(self.seed, &[what, batch, key]).below(100);
        let refuse = u64::from(self.refuse_percent);
        let internal_error = refuse + u64::from(self.internal_error_percent);
        let missing = internal_error + u64::from(self.missing_percent);
        let outcome = match percent("outcome") {
            drawn if drawn < refuse => Outcome::Refused(self.refusal(batch, key)),
            drawn if drawn < internal_error => Outcome::InternalError,
            drawn if drawn < missing => Outcome::Missing,
            _ if percent("thought") < u64::from(self.thoughts_percent) => Outcome::ImageAfterThought,
            _ => Outcome::Image,
        };
        Fate { outcome, repeated: percent("repeated") < u64::from(self.repeated_percent) }
    }

    /// When a batch created at `created` starts and ends. It waits for a tenth of its time.
    pub(super) fn schedule(&self, batch: &str, created: Timestamp) -> Schedule {
        let shortest = u64::from(self.shortest_batch_seconds);
        let longest = u64::from(self.longest_batch_seconds);
        let seconds = Draw::about(self.seed, &["duration", batch]).between(shortest, longest);
        let after = |seconds: u64| {
            let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            created.saturating_add(duration).unwrap_or(Timestamp::MAX)
        };
        Schedule { starts: after(seconds / 10), ends: after(seconds) }
    }

    /// Where the line at `position` of the input comes in the order of the output.
    pub(super) fn rank(&self, batch: &str, position: usize) -> u64 {
        if self.shuffle {
            Draw::about(self.seed, &["order", batch, &position.to_string()]).number()
        } else {
            position as u64
        }
    }

    fn refusal(&self, batch: &str, key: &str) -> Refusal {
        match Draw::about(self.seed, &["refusal", batch, key]).below(3) {
            0 => Refusal::Prompt,
            1 => Refusal::NoImage,
            _ => Refusal::ImageSafety,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(behaviour: &Behaviour, batch: &str) -> Vec<Outcome> {
        (0..300).map(|n| behaviour.fate(batch, &n.to_string()).outcome).collect()
    }

    #[test]
    fn nothing_goes_wrong_by_default() {
        assert!(outcomes(&Behaviour::default(), "b").iter().all(|outcome| *outcome == Outcome::Image));
    }

    #[test]
    fn percentages_are_kept_roughly() {
        let behaviour = Behaviour { internal_error_percent: 30, missing_percent: 20, ..Behaviour::default() };
        let outcomes = outcomes(&behaviour, "b");
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        assert!((60..=120).contains(&count(Outcome::InternalError)));
        assert!((30..=90).contains(&count(Outcome::Missing)));
    }

    #[test]
    fn another_batch_draws_anew() {
        let behaviour = Behaviour { internal_error_percent: 50, ..Behaviour::default() };
        assert_ne!(outcomes(&behaviour, "one"), outcomes(&behaviour, "two"));
    }

    #[test]
    fn refusals_take_all_three_shapes() {
        let behaviour = Behaviour { refuse_percent: 100, ..Behaviour::default() };
        let outcomes = outcomes(&behaviour, "b");
        for refusal in [Refusal::Prompt, Refusal::NoImage, Refusal::ImageSafety] {
            assert!(outcomes.contains(&Outcome::Refused(refusal)));
        }
    }

    #[test]
    fn batches_end_within_the_bounds_and_start_before_they_end() {
        let behaviour = Behaviour::default();
        for n in 0..100 {
            let schedule = behaviour.schedule(&n.to_string(), Timestamp::UNIX_EPOCH);
            assert!((1200..=5400).contains(&schedule.ends.as_second()));
            assert!(schedule.starts < schedule.ends);
        }
    }

    #[test]
    fn shuffling_changes_the_order_but_not_for_one_batch() {
        let behaviour = Behaviour { shuffle: true, ..Behaviour::default() };
        let order = |batch: &str| {
            let mut positions: Vec<usize> = (0..20).collect();
            positions.sort_by_key(|position| behaviour.rank(batch, *position));
            positions
        };
        assert_eq!(order("one"), order("one"));
        assert_ne!(order("one"), order("two"));
        assert_ne!(order("one"), (0..20).collect::<Vec<_>>());
    }
}
