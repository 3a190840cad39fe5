//! Rng, passed in: write ids and jitter come from a source that tests can seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of randomness that serves no secret: unique ids and jitter.
#[derive(Clone, Debug)]
pub struct Rng(Arc<Mutex<fastrand::Rng>>);

impl Rng {
    /// Seeded by the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// The same numbers in every run.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// An id that no other call gives: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.rng().u128(..))
    }

    /// A number from 0 up to, not including, 1.
    pub fn fraction(&self) -> f64 {
        self.rng().f64()
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
