//! How often `job.json` is rewritten.
//!
//! Its size grows with the number of shards, and so does the number of changes. Were it rewritten
//! after every change, a job would write the square of its shards. So it is written no faster than
//! [`BYTES_PER_SECOND`] on average: a job that changes all day writes 84 MiB on that day, however
//! many shards it has. Messages that come too soon return later, all at the same time, and are then
//! merged in one write.

use darkroom::status::JobStatus;
use jiff::{SignedDuration, Timestamp};
use runtime::bucket::ObjectHead;

/// How long two writes of `job.json` are apart at least, unless the job's phase changes.
const SHORTEST: SignedDuration = SignedDuration::from_secs(5);

/// How fast `job.json` is written, on average.
const BYTES_PER_SECOND: u64 = 1024;

/// Up to this size `job.json` is written at once when the job's phase changes. The phase of a job
/// with many shards changes with each of its rounds, which is too often for a larger document.
const SMALL_BYTES: u64 = 64 * 1024;

/// How long two writes of a `job.json` of so many bytes are apart.
fn interval(bytes: u64) -> SignedDuration {
    SHORTEST.max(SignedDuration::from_secs(
        i64::try_from(bytes / BYTES_PER_SECOND).unwrap_or(i64::MAX),
    ))
}

/// How long to leave alone a `job.json` that is not even worth reading: it is large, and was
/// written just now.
pub(crate) fn wait_before_reading(head: &ObjectHead, now: Timestamp) -> Option<SignedDuration> {
    let written = head.last_modified.filter(|_| head.size > SMALL_BYTES)?;
    wait(written, head.size, now)
}

/// How long to wait before `next` is written in place of `stored`, which has so many bytes.
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
    // Where two clocks differ, no wait is longer than the whole interval.
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
    fn a_large_document_is_left_alone_for_as_long_as_it_is_large() {
        assert_eq!(wait_of(&head(300 * 1024, 100)), Some(200));
        assert_eq!(wait_of(&head(300 * 1024, 300)), None);
        // A small one is read, as the job's phase may have changed.
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
    fn a_clock_that_is_behind_lengthens_no_wait() {
        assert_eq!(wait_of(&head(300 * 1024, -5_000)), Some(300));
    }

    /// A job that changes all the time writes as much in an hour, whatever its size.
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
