//! Random numbers: write IDs and jitter come from a source that tests can seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers for unique IDs and jitter. It is not secure enough for secrets.
#[derive(Clone, Debug)]
pub struct Rng(Arc<Mutex<fastrand::Rng>>);

impl Rng {
    /// A source that the operating system seeds.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A source with the same numbers in every run.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Returns a unique ID of 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.rng().u128(..))
    }

    /// Returns a number that is at least 0 and less than 1.
    pub fn fraction(&self) -> f64 {
        self.rng().f64()
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
