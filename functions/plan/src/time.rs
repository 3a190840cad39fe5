//! The time limit of an invocation. It stops with a useful result before Lambda ends it.

use std::io::{self, Read};

use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;

/// The time reserved to reject a manifest that takes too long to check: to wait for a picture from
/// the web, up to three times for half a minute, and then to write three documents.
pub(crate) const TO_REJECT: SignedDuration = SignedDuration::from_secs(120);

/// The time reserved while the plan is written: to return the message.
pub(crate) const TO_RETURN: SignedDuration = SignedDuration::from_secs(30);

/// A time after which no new work is started.
#[derive(Clone, Debug)]
pub(crate) struct TimeLimit {
    clock: Clock,
    until: Timestamp,
}

/// The time limit is reached.
#[derive(Debug, thiserror::Error)]
#[error("there is no time left")]
struct TimeUp;

impl TimeLimit {
    /// Creates a limit that is reached `reserve` before `deadline`.
    pub(crate) fn before(deadline: Timestamp, reserve: SignedDuration, clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            until: deadline.saturating_sub(reserve).unwrap_or(deadline),
        }
    }

    /// Whether the limit is reached.
    pub(crate) fn is_up(&self) -> bool {
        self.clock.now() >= self.until
    }

    /// Fails if the limit is reached. For code that reads and returns I/O errors.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_up() {
            Err(io::Error::new(io::ErrorKind::TimedOut, TimeUp))
        } else {
            Ok(())
        }
    }

    /// Wraps a source so that it fails once the limit is reached.
    pub(crate) fn bound<R: Read>(&self, source: R) -> impl Read + use<R> {
        Bound {
            source,
            limit: self.clone(),
        }
    }
}

/// Whether a [`TimeLimit`] caused the error.
pub(crate) fn is_time_up(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TimeUp>())
}

struct Bound<R> {
    source: R,
    limit: TimeLimit,
}

impl<R: Read> Read for Bound<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit.check()?;
        self.source.read(buffer)
    }
}
