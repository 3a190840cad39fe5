//! The key of a store, kept in memory for a while.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use seam::clock::Clock;
use tokio::sync::Mutex;
use tracing::warn;

use super::{ApiKey, KeyError, KeyStore};

/// How long a key is used before it is read again.
const CACHE_TTL: SignedDuration = SignedDuration::from_mins(5);
/// How long a key stays in use when the store does not answer, and the shortest time between two
/// reads that Gemini's rejection of the key causes.
const RETRY_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// A key that is read from its store when it is first needed, and again when it has expired or was
/// rejected.
#[derive(Debug)]
pub(super) struct CachedKey {
    store: Arc<dyn KeyStore>,
    clock: Clock,
    /// Locked while the store is read, so that concurrent callers cause one read.
    cache: Mutex<Option<Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: ApiKey,
    read_at: Timestamp,
    expires_at: Timestamp,
}

impl CachedKey {
    pub(super) fn new(store: Arc<dyn KeyStore>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            cache: Mutex::new(None),
        }
    }

    pub(super) async fn key(&self) -> Result<ApiKey, KeyError> {
        let mut cache = self.cache.lock().await;
        match &*cache {
            Some(entry) if self.clock.now() < entry.expires_at => Ok(entry.key.clone()),
            _ => self.read(&mut cache).await,
        }
    }

    pub(super) async fn refresh_after_rejection(&self, rejected: &ApiKey) -> Option<ApiKey> {
        let mut cache = self.cache.lock().await;
        let may_read = |entry: &Entry| self.clock.now() >= entry.read_at + RETRY_INTERVAL;
        let key = match &*cache {
            Some(entry) if entry.key == *rejected && !may_read(entry) => return None,
            Some(entry) if entry.key != *rejected => entry.key.clone(),
            _ => self.read(&mut cache).await.ok()?,
        };
        (key != *rejected).then_some(key)
    }

    /// Reads the store. While the store does not answer, the key that was read before stays in use.
    async fn read(&self, cache: &mut Option<Entry>) -> Result<ApiKey, KeyError> {
        let read_at = self.clock.now();
        match (self.store.read().await, &mut *cache) {
            (Ok(key), _) => {
                *cache = Some(Entry {
                    key: key.clone(),
                    read_at,
                    expires_at: read_at + CACHE_TTL,
                });
                Ok(key)
            }
            (Err(problem @ KeyError::Unavailable { .. }), Some(entry)) => {
                warn!(
                    store = self.store.name(),
                    "{problem}; the key that was read before stays in use"
                );
                (entry.read_at, entry.expires_at) = (read_at, read_at + RETRY_INTERVAL);
                Ok(entry.key.clone())
            }
            (Err(problem), _) => {
                *cache = None;
                Err(problem)
            }
        }
    }
}
