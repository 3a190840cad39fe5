//! How many calls the simulated service received, and what single requests would have cost.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use disk::documents::{DocumentError, Documents};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{generation::service_tier::ServiceTier, wire::route::Call};

const DOCUMENT: &str = "counters";

/// The number of calls of each kind, whatever their answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(BTreeMap<Call, u64>);

impl Requests {
    /// Returns the number of all calls.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the number of calls of one kind.
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(&call).copied().unwrap_or(0)
    }
}

/// What all requests would have cost until now, by lane, in billionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillByLane {
    /// The requests of batches that are done, at half price.
    pub batch_nanodollars: u64,
    /// The single requests that were served at the flex tier.
    pub flex_nanodollars: u64,
    /// All other single requests.
    pub interactive_nanodollars: u64,
}

impl BillByLane {
    /// Returns the total.
    pub fn nanodollars(&self) -> u64 {
        self.batch_nanodollars + self.flex_nanodollars + self.interactive_nanodollars
    }
}

/// The counters, stored in a document.
#[derive(Debug)]
pub(crate) struct Counters {
    documents: Documents<Counts>,
    since: Timestamp,
    counts: Mutex<Counts>,
}

/// The numbers of a call, from 1. They are unique, even across restarts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallNumbers {
    /// Its number among all calls.
    pub(crate) number: u64,
    /// Its number among the calls of its kind.
    pub(crate) ordinal: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: Requests,
    /// The cost of single requests of every tier, in billionths of a dollar.
    pub(crate) interactive_nanodollars: u64,
    /// The part of it for flex requests. Folders of older versions lack this field.
    #[serde(default)]
    pub(crate) flex_nanodollars: u64,
    /// When the state folder was created. Folders of older versions lack this field.
    #[serde(default)]
    since: Option<Timestamp>,
}

impl Counters {
    /// Opens the counters below `folder`. If the folder has no creation time, it counts as created
    /// `now`.
    ///
    /// # Errors
    /// [`DocumentError`] when the document can't be read or written.
    pub(crate) fn open(folder: &Path, now: Timestamp) -> Result<Self, DocumentError> {
        let documents: Documents<Counts> = Documents::open(folder.join("counters"))?;
        let counts = documents
            .load_all()?
            .into_iter()
            .find(|(id, _)| id == DOCUMENT);
        let mut counts: Counts = counts.map(|(_, counts)| counts).unwrap_or_default();
        let since = match counts.since {
            Some(since) => since,
            None => {
                counts.since = Some(now);
                documents.put(DOCUMENT, &counts)?;
                now
            }
        };
        Ok(Self {
            documents,
            since,
            counts: Mutex::new(counts),
        })
    }

    /// Returns when the state folder was created.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// Counts a call.
    ///
    /// # Errors
    /// [`DocumentError`] when the counters can't be stored.
    pub(crate) fn count(&self, call: Call) -> Result<CallNumbers, DocumentError> {
        let mut numbers = CallNumbers {
            number: 0,
            ordinal: 0,
        };
        self.change(|counts| {
            *counts.requests.0.entry(call).or_default() += 1;
            numbers = CallNumbers {
                number: counts.requests.total(),
                ordinal: counts.requests.of(call),
            };
        })?;
        Ok(numbers)
    }

    /// Adds the cost of a single request that was served at this tier, in billionths of a dollar.
    ///
    /// # Errors
    /// [`DocumentError`] when the counters can't be stored.
    pub(crate) fn bill(&self, tier: ServiceTier, nanodollars: u64) -> Result<(), DocumentError> {
        self.change(|counts| {
            counts.interactive_nanodollars += nanodollars;
            if tier == ServiceTier::Flex {
                counts.flex_nanodollars += nanodollars;
            }
        })
    }

    /// Returns the bill, with what batches have cost.
    pub(crate) fn bill_by_lane(&self, batch_nanodollars: u64) -> BillByLane {
        let counts = self.read();
        BillByLane {
            batch_nanodollars,
            flex_nanodollars: counts.flex_nanodollars,
            interactive_nanodollars: counts.interactive_nanodollars - counts.flex_nanodollars,
        }
    }

    /// Changes the counters and stores them.
    ///
    /// # Errors
    /// [`DocumentError`] when they can't be stored.
    fn change(&self, change: impl FnOnce(&mut Counts)) -> Result<(), DocumentError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        self.documents.put(DOCUMENT, &counts)
    }

    /// Returns the current counters.
    pub(crate) fn read(&self) -> Counts {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bills_of_older_folders_are_interactive() {
        let folder = tempfile::tempdir().expect("a folder");
        let documents = Documents::open(folder.path().join("counters")).expect("opens");
        let old = serde_json::json!({"requests": {}, "interactive_nanodollars": 70});
        documents.put(DOCUMENT, &old).expect("stored");

        let open = || Counters::open(folder.path(), Timestamp::UNIX_EPOCH).expect("opens");
        let mut expected = BillByLane {
            batch_nanodollars: 0,
            flex_nanodollars: 0,
            interactive_nanodollars: 70,
        };
        assert_eq!(open().bill_by_lane(0), expected);

        open().bill(ServiceTier::Flex, 5).expect("stored");
        open().bill(ServiceTier::Standard, 1).expect("stored");
        expected.flex_nanodollars = 5;
        expected.interactive_nanodollars = 71;
        assert_eq!(open().bill_by_lane(0), expected);
        assert_eq!(open().read().interactive_nanodollars, 76, "the total");
    }
}
