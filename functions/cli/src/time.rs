//! The time of the local host: the system's, or a simulated one that jumps over waits.

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

/// Where the local host's time comes from.
#[derive(Clone, Debug)]
pub struct Time {
    origin: Origin,
    /// Milliseconds jumped so far.
    jumped: Arc<AtomicI64>,
    /// Where they are kept for the next start.
    kept: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The system's clock, whose time passes by itself.
    System(Clock),
    /// A moment, from which time passes by jumps alone.
    At(Timestamp),
}

impl Time {
    /// The system's time, without jumps.
    pub fn system() -> Self {
        Self {
            origin: Origin::System(Clock::system()),
            jumped: Arc::default(),
            kept: None,
        }
    }

    /// The system's time plus all jumps that were ever made in `folder`, so that it never runs
    /// backwards.
    ///
    /// # Errors
    /// When the file with the jumps can't be read.
    pub fn simulated(folder: &Path) -> io::Result<Self> {
        let kept = folder.join("jumped-ms");
        let jumped = match fs::read_to_string(&kept) {
            Ok(text) => text.trim().parse().map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            origin: Origin::System(Clock::system()),
            jumped: Arc::new(AtomicI64::new(jumped)),
            kept: Some(kept),
        })
    }

    /// Simulated time that begins at `start` and passes by jumps alone: the same in every run.
    pub fn frozen(start: Timestamp) -> Self {
        Self {
            origin: Origin::At(start),
            jumped: Arc::default(),
            kept: None,
        }
    }

    /// The clock to give to everything that asks for the time.
    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || time.now())
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let origin = match &self.origin {
            Origin::System(clock) => clock.now(),
            Origin::At(start) => *start,
        };
        origin + self.jumped()
    }

    /// How much time was jumped over.
    pub fn jumped(&self) -> SignedDuration {
        SignedDuration::from_millis(self.jumped.load(Ordering::SeqCst))
    }

    /// Goes to `moment`, unless it is past. The jump is kept before it is made.
    ///
    /// # Errors
    /// When the jump can't be kept.
    pub fn jump_to(&self, moment: Timestamp) -> io::Result<()> {
        let ahead = moment.duration_since(self.now());
        if ahead <= SignedDuration::ZERO {
            return Ok(());
        }
        // Rounded up: a message due at `moment` must be due after the jump.
        let milliseconds = i64::try_from(ahead.as_millis() + 1).unwrap_or(i64::MAX);
        let jumped = self
            .jumped
            .load(Ordering::SeqCst)
            .saturating_add(milliseconds);
        if let Some(kept) = &self.kept {
            let new = kept.with_extension("new");
            fs::write(&new, jumped.to_string())?;
            fs::rename(new, kept)?;
        }
        self.jumped.store(jumped, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_survive_a_restart_and_never_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let time = Time::simulated(folder.path()).unwrap();
        let later = time.now() + SignedDuration::from_hours(5);
        time.jump_to(later).unwrap();
        time.jump_to(later - SignedDuration::from_hours(1)).unwrap();
        assert!(time.now() >= later);
        assert!(Time::simulated(folder.path()).unwrap().now() >= later);
    }

    #[test]
    fn frozen_time_passes_by_jumps_alone() {
        let time = Time::frozen(Timestamp::UNIX_EPOCH);
        assert_eq!(time.clock().now(), Timestamp::UNIX_EPOCH);
        time.jump_to(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(7))
            .unwrap();
        assert!(time.now() >= Timestamp::UNIX_EPOCH + SignedDuration::from_secs(7));
    }
}
