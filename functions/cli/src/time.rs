//! The time of the local host: the system time, or a simulated time that skips waits.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;

/// The source of the local host's time. Clones share their jumps.
#[derive(Clone, Debug)]
pub struct Time {
    origin: Origin,
    /// The sum of all jumps so far, in milliseconds.
    jumped: Arc<AtomicI64>,
    /// The file that stores the sum for the next start.
    file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The system clock.
    System(Clock),
    /// A moment, after which time passes only by jumps.
    Fixed(Timestamp),
}

impl Time {
    /// Returns the system time, without jumps.
    pub fn system() -> Self {
        Self {
            origin: Origin::System(Clock::system()),
            jumped: Arc::default(),
            file: None,
        }
    }

    /// Returns the system time plus all jumps that were ever made in `folder`, so that the time
    /// never runs backwards between two starts.
    ///
    /// # Errors
    /// Returns an error if the file with the jumps can't be read.
    pub fn simulated(folder: &Path) -> io::Result<Self> {
        let file = folder.join("jumped-ms");
        let jumped = match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            origin: Origin::System(Clock::system()),
            jumped: Arc::new(AtomicI64::new(jumped)),
            file: Some(file),
        })
    }

    /// Returns a simulated time that starts at `start` and passes only by jumps, so that every run
    /// is the same.
    pub fn frozen(start: Timestamp) -> Self {
        Self {
            origin: Origin::Fixed(start),
            jumped: Arc::default(),
            file: None,
        }
    }

    /// Returns the clock for everything that needs the time.
    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || time.now())
    }

    /// Returns the current moment.
    pub fn now(&self) -> Timestamp {
        let origin = match &self.origin {
            Origin::System(clock) => clock.now(),
            Origin::Fixed(start) => *start,
        };
        origin + self.jumped()
    }

    /// Returns the sum of all jumps.
    pub fn jumped(&self) -> SignedDuration {
        SignedDuration::from_millis(self.jumped.load(Ordering::SeqCst))
    }

    /// Advances the time to `moment`, unless that is in the past. The jump is stored before it
    /// takes effect.
    ///
    /// # Errors
    /// Returns an error if the jump can't be stored.
    pub fn jump_to(&self, moment: Timestamp) -> io::Result<()> {
        let ahead = moment.duration_since(self.now());
        if ahead <= SignedDuration::ZERO {
            return Ok(());
        }
        // Rounded up, because a message that is due at `moment` must be due after the jump.
        let milliseconds = i64::try_from(ahead.as_millis() + 1).unwrap_or(i64::MAX);
        let jumped = self
            .jumped
            .load(Ordering::SeqCst)
            .saturating_add(milliseconds);
        // A rename is atomic, so a kill never leaves half a number.
        if let Some(file) = &self.file {
            let new = file.with_extension("new");
            fs::write(&new, jumped.to_string())?;
            fs::rename(new, file)?;
        }
        self.jumped.store(jumped, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_survive_a_restart_and_never_go_backwards() {
        let folder = tempfile::tempdir().unwrap();
        let time = Time::simulated(folder.path()).unwrap();
        let later = time.now() + SignedDuration::from_hours(5);
        time.jump_to(later).unwrap();
        time.jump_to(later - SignedDuration::from_hours(1)).unwrap();
        assert!(time.now() >= later);
        assert!(Time::simulated(folder.path()).unwrap().now() >= later);
    }

    #[test]
    fn frozen_time_passes_only_by_jumps() {
        let time = Time::frozen(Timestamp::UNIX_EPOCH);
        assert_eq!(time.clock().now(), Timestamp::UNIX_EPOCH);
        time.jump_to(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(7))
            .unwrap();
        assert!(time.now() >= Timestamp::UNIX_EPOCH + SignedDuration::from_secs(7));
    }
}
