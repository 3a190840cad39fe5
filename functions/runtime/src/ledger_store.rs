//! The ledger in the bucket, changed by compare-and-swap alone.

use darkroom::{ledger::Ledger, object_keys};
use seam::rng::Rng;

use crate::{
    bucket::Bucket,
    cas::{self, CasError, Stamped},
};

/// How often a change is made anew because somebody else's came first.
const TRIES: u32 = 20;

/// The ledger of the deployment.
#[derive(Clone, Debug)]
pub struct LedgerStore {
    bucket: Bucket,
    rng: Rng,
}

/// The ledger could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It can't be read or written.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// Others change it all the time.
    #[error("the ledger was changed by others {TRIES} times in a row")]
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

    /// The ledger as it is; an empty one if nobody has written it yet.
    ///
    /// # Errors
    /// [`LedgerError::Swap`].
    pub async fn read(&self) -> Result<Ledger, LedgerError> {
        Ok(cas::read(&self.bucket, object_keys::LEDGER)
            .await?
            .map(|(ledger, _)| ledger)
            .unwrap_or_default())
    }

    /// Changes the ledger, and answers with what `change` answered. It may be called several times,
    /// each time with what is stored then. What changes nothing writes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]; it may have been changed then, so the change is to be one that can be
    /// repeated.
    pub async fn change<T>(&self, change: impl Fn(&mut Ledger) -> T) -> Result<T, LedgerError> {
        for _ in 0..TRIES {
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
