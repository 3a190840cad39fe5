//! How long an invocation may take: it ends by itself, with something to show, before Lambda ends
//! it.

use std::io::{self, Read};

use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;

/// What is kept of an invocation's time to reject a manifest whose checking takes too long: writing
/// three documents, and before that waiting for a picture from the web, three times for half a
/// minute.
pub(crate) const TO_REJECT: SignedDuration = SignedDuration::from_secs(120);

/// What is kept of it while the plan is written: time to give the message back.
pub(crate) const TO_RETURN: SignedDuration = SignedDuration::from_secs(30);

/// A moment after which nothing new is begun.
#[derive(Clone, Debug)]
pub(crate) struct TimeLimit {
    clock: Clock,
    until: Timestamp,
}

/// There is no time left.
#[derive(Debug, thiserror::Error)]
#[error("there is no time left")]
struct TimeUp;

impl TimeLimit {
    /// So long before `deadline`.
    pub(crate) fn before(deadline: Timestamp, reserve: SignedDuration, clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            until: deadline.saturating_sub(reserve).unwrap_or(deadline),
        }
    }

    /// Whether the moment has come.
    pub(crate) fn is_up(&self) -> bool {
        self.clock.now() >= self.until
    }

    /// The same as an error, for those who read.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_up() {
            Err(io::Error::new(io::ErrorKind::TimedOut, TimeUp))
        } else {
            Ok(())
        }
    }

    /// A source that fails once the moment has come.
    pub(crate) fn bound<R: Read>(&self, source: R) -> impl Read + use<R> {
        Bound {
            source,
            limit: self.clone(),
        }
    }
}

/// Whether it was a [`TimeLimit`] that ended a reading.
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
