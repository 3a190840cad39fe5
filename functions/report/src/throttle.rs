//! Limits how often `job.json` is rewritten.
//!
//! The size of `job.json` grows with the number of shards, and so does the number of changes. If it
//! were rewritten after every change, the bytes written would grow with the square of the shards.
//! It is therefore written at [`BYTES_PER_SECOND`] on average: a job that changes all day writes
//! 84 MiB on that day, however many shards it has. Messages that arrive too early return later, all
//! at the same time, and are merged in one write.

use darkroom::status::JobStatus;
use jiff::{SignedDuration, Timestamp};
use runtime::bucket::ObjectHead;

/// The shortest interval between two writes of `job.json`, unless the job's phase changes.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// The average rate at which `job.json` is written.
const BYTES_PER_SECOND: u64 = 1024;

/// The size up to which `job.json` is written immediately when the job's phase changes. The phase
/// of a job with many shards changes with each round, which is too often for a larger document.
const SMALL_BYTES: u64 = 64 * 1024;

/// Returns the interval between two writes of a `job.json` of this size.
fn interval(bytes: u64) -> SignedDuration {
    MIN_INTERVAL.max(SignedDuration::from_secs(
        i64::try_from(bytes / BYTES_PER_SECOND).unwrap_or(i64::MAX),
    ))
}

/// Returns how long to wait before reading a large `job.json` that was just written, or `None` if
/// it may be read now.
pub(crate) fn wait_before_reading(head: &ObjectHead, now: Timestamp) -> Option<SignedDuration> {
    let written = head.last_modified.filter(|_| head.size > SMALL_BYTES)?;
    wait(written, head.size, now)
}

/// Returns how long to wait before `next` replaces `stored`, whose size is `bytes`, or `None` if it
/// may be written now.
pub(crate) fn wait_before_writing(
    stored: &JobStatus,
    bytes: u64,
    next: &JobStatus,
) -> Option<SignedDuration> {
    if next.phase != stored.phase {
        return None;
    }
    wait(stored.updated_at, bytes, next.updated_at)
}

fn wait(written: Timestamp, bytes: u64, now: Timestamp) -> Option<SignedDuration> {
    let interval = interval(bytes);
    // The clock of S3 may be ahead, so the wait is limited to one interval.
    let left = (interval - now.duration_since(written)).min(interval);
    (left > SignedDuration::ZERO).then_some(left)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn head(size: u64, age: i64) -> ObjectHead {
        let last_modified = Timestamp::from_second(1_000_000 - age).ok();
        ObjectHead {
            size,
            etag: String::new(),
            last_modified,
            metadata: BTreeMap::new(),
        }
    }

    fn wait_of(head: &ObjectHead) -> Option<i64> {
        wait_before_reading(head, Timestamp::from_second(1_000_000).unwrap())
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_before_reading_grows_with_the_size() {
        assert_eq!(wait_of(&head(300 * 1024, 100)), Some(200));
        assert_eq!(wait_of(&head(300 * 1024, 300)), None);
        // A small document is read at once, because the job's phase may have changed.
        assert_eq!(wait_of(&head(SMALL_BYTES, 0)), None);
        assert_eq!(
            wait_of(&ObjectHead {
                last_modified: None,
                ..head(300 * 1024, 0)
            }),
            None
        );
    }

    #[test]
    fn a_clock_that_is_behind_does_not_lengthen_the_wait() {
        assert_eq!(wait_of(&head(300 * 1024, -5_000)), Some(300));
    }

    /// A job that changes all the time writes the same amount in an hour, whatever its size.
    #[test]
    fn bytes_written_in_an_hour_do_not_grow_with_the_document() {
        for bytes in [20_000, 100_000, 1_000_000_u64] {
            let writes = 3600 / u64::try_from(interval(bytes).as_secs()).unwrap();
            assert!(
                writes * bytes <= 3600 * (BYTES_PER_SECOND + 60),
                "{bytes}: {writes} writes"
            );
        }
    }
}
