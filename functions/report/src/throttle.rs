//! Limits how often `job.json` and the gallery are rewritten.
//!
//! The size of `job.json` grows with the number of shards, and so does the number of changes. If it
//! were rewritten after every change, the bytes written would grow with the square of the shards.
//! It is therefore written at [`BYTES_PER_SECOND`] on average: a job that changes all day writes
//! 84 MiB on that day, however many shards it has. Messages that arrive too early return later, all
//! at the same time, and are merged in one write. The size of the gallery grows with the number of
//! images, and it is limited in the same way.

use darkroom::status::JobStatus;
use jiff::{SignedDuration, Timestamp};
use runtime::bucket::ObjectHead;

/// The shortest interval between two writes of `job.json`, unless the job's phase changes.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// The average rate at which `job.json` is written.
const BYTES_PER_SECOND: u64 = 1024;

/// The average rate at which the gallery is written: a page of a megabyte every 100 seconds.
const PAGE_BYTES_PER_SECOND: u64 = 10_000;

/// The shortest interval between two writes of the gallery for each shard of its job. A refresh
/// reads all states, so each of them is read at most once in this time per shard.
const INTERVAL_PER_SHARD: SignedDuration = SignedDuration::from_secs(1);

/// The size up to which `job.json` is written immediately when the job's phase changes. The phase
/// of a job with many shards changes with each round, which is too often for a larger document.
const SMALL_BYTES: u64 = 64 * 1024;

/// Returns the interval between two writes of a `job.json` of this size.
fn interval(bytes: u64) -> SignedDuration {
    interval_at(BYTES_PER_SECOND, bytes)
}

/// Returns the interval between two writes of a document of this size that is written at this rate.
fn interval_at(bytes_per_second: u64, bytes: u64) -> SignedDuration {
    MIN_INTERVAL.max(SignedDuration::from_secs(
        i64::try_from(bytes / bytes_per_second).unwrap_or(i64::MAX),
    ))
}

/// Returns the interval between two writes of the gallery of a job with this number of shards.
fn page_interval(page: &ObjectHead, shards: u32) -> SignedDuration {
    let of_shards = INTERVAL_PER_SHARD * i32::try_from(shards).unwrap_or(i32::MAX);
    interval_at(PAGE_BYTES_PER_SECOND, page.size).max(of_shards)
}

/// Returns how long to wait before the gallery of a job with this number of shards is replaced, or
/// `None` if it may be replaced now.
pub(crate) fn wait_before_refreshing(
    page: &ObjectHead,
    shards: u32,
    now: Timestamp,
) -> Option<SignedDuration> {
    wait_for(page_interval(page, shards), page.last_modified?, now)
}

/// Whether a gallery may lack what was stored at this time. Writing a page takes a while, in which
/// more may be stored, but less than the interval between two writes.
pub(crate) fn may_lack(page: Option<&ObjectHead>, shards: u32, stored: Timestamp) -> bool {
    let shown = page.and_then(|page| Some(page.last_modified? - page_interval(page, shards)));
    shown.is_none_or(|shown| stored >= shown)
}

/// Returns how long to wait before reading a large `job.json` that was just written, or `None` if
/// it may be read now.
pub(crate) fn wait_before_reading(head: &ObjectHead, now: Timestamp) -> Option<SignedDuration> {
    let written = head.last_modified.filter(|_| head.size > SMALL_BYTES)?;
    wait_for(interval(head.size), written, now)
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
    wait_for(interval(bytes), stored.updated_at, next.updated_at)
}

fn wait_for(
    interval: SignedDuration,
    written: Timestamp,
    now: Timestamp,
) -> Option<SignedDuration> {
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

    #[test]
    fn a_gallery_is_written_at_its_rate_and_a_small_one_every_five_seconds() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let wait =
            |size, age| wait_before_refreshing(&head(size, age), 1, now).map(|wait| wait.as_secs());
        assert_eq!((wait(40_000, 3), wait(40_000, 5)), (Some(2), None));
        assert_eq!(
            (wait(1_000_000, 40), wait(1_000_000, 100)),
            (Some(60), None)
        );
    }

    /// A refresh reads every state, so the interval grows with their number.
    #[test]
    fn the_states_that_refreshes_read_in_an_hour_do_not_grow_with_the_shards() {
        for shards in [10, 100, 1_000] {
            let interval = page_interval(&head(40_000, 0), shards).as_secs();
            assert!(3_600 / interval * i64::from(shards) <= 3_600, "{shards}");
        }
    }

    #[test]
    fn a_gallery_may_lack_what_was_stored_while_it_was_written() {
        let stored = |age: i64| Timestamp::from_second(1_000_000 - age).unwrap();
        let page = head(40_000, 60);
        for (age, lacks) in [(50, true), (60, true), (65, true), (66, false)] {
            assert_eq!(may_lack(Some(&page), 1, stored(age)), lacks, "{age}");
        }
        assert!(may_lack(None, 1, stored(1_000)));
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
