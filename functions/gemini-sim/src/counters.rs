//! How many calls the simulated service received, and what single requests would have cost.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use disk::documents::{DocumentError, Documents};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::route::Call;

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
    /// The cost of single requests, in billionths of a dollar.
    pub(crate) interactive_nanodollars: u64,
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

    /// Changes the counters and stores them.
    ///
    /// # Errors
    /// [`DocumentError`] when they can't be stored.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Counts)) -> Result<(), DocumentError> {
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
