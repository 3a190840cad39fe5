//! The ledger in the bucket, which is changed only by compare-and-swap.

use darkroom::{ledger::Ledger, object_keys};
use seam::rng::Rng;

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
};

/// How many times a change is attempted if other changes come first.
const MAX_ATTEMPTS: u32 = 20;

/// The ledger of the deployment.
#[derive(Clone, Debug)]
pub struct LedgerStore {
    bucket: Bucket,
    rng: Rng,
}

/// Why the ledger can't be read or changed now.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It can't be read or written.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// Other changes came first every time.
    #[error("other functions changed the ledger {MAX_ATTEMPTS} times in a row")]
    Contended,
}

impl Stamped for Ledger {
    fn write_id(&self) -> &str {
        &self.write_id
    }
}

impl LedgerStore {
    /// The ledger in `bucket`.
    pub fn new(bucket: Bucket, rng: Rng) -> Self {
        Self { bucket, rng }
    }

    /// The stored ledger, or an empty one if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Cas`].
    pub async fn read(&self) -> Result<Ledger, LedgerError> {
        Ok(cas::read(&self.bucket, object_keys::LEDGER)
            .await?
            .map(|(ledger, _)| ledger)
            .unwrap_or_default())
    }

    /// Changes the ledger and returns the result of `change`, which may be called several times, each
    /// time with the ledger that is stored then. If it changes nothing, nothing is written.
    ///
    /// # Errors
    /// [`LedgerError`]. The change may have been stored, so it must be repeatable.
    pub async fn change<T>(&self, change: impl Fn(&mut Ledger) -> T) -> Result<T, LedgerError> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = cas::read::<Ledger>(&self.bucket, object_keys::LEDGER).await?;
            let (before, etag) =
                stored.map_or_else(Default::default, |(ledger, etag)| (ledger, Some(etag)));
            let mut after = before.clone();
            let answer = change(&mut after);
            if after == before {
                return Ok(answer);
            }
            (after.rev, after.write_id) = (before.rev + 1, self.rng.id());
            if cas::write(&self.bucket, object_keys::LEDGER, &after, etag.as_deref())
                .await?
                .is_some()
            {
                return Ok(answer);
            }
        }
        Err(LedgerError::Contended)
    }
}
