//! What the simulated service was asked, and what that would have cost.

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

/// How often each kind of call came, whatever the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requests(BTreeMap<Call, u64>);

impl Requests {
    /// All calls.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The calls of one kind.
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(&call).copied().unwrap_or(0)
    }
}

/// The counters, kept in a document.
#[derive(Debug)]
pub(crate) struct Counters {
    documents: Documents<Counts>,
    since: Timestamp,
    counts: Mutex<Counts>,
}

/// A call's place among all, from 1 on. No other call has it, not even after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// Among all calls.
    pub(crate) number: u64,
    /// Among the calls of its kind.
    pub(crate) ordinal: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: Requests,
    /// Billed for single requests, in billionths of a dollar.
    pub(crate) interactive_nanodollars: u64,
    /// When the state folder was made. Folders that older versions made do not say it.
    #[serde(default)]
    since: Option<Timestamp>,
}

impl Counters {
    /// Opens the counters below `folder`. A folder that does not say when it was made is taken for
    /// one that is made `now`.
    ///
    /// # Errors
    /// [`DocumentError`].
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

    /// When the state folder was made.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// Counts a call.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn count(&self, call: Call) -> Result<Counted, DocumentError> {
        let mut counted = Counted {
            number: 0,
            ordinal: 0,
        };
        self.change(|counts| {
            *counts.requests.0.entry(call).or_default() += 1;
            counted = Counted {
                number: counts.requests.total(),
                ordinal: counts.requests.of(call),
            };
        })?;
        Ok(counted)
    }

    /// Changes the counts and keeps them.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn change(&self, change: impl FnOnce(&mut Counts)) -> Result<(), DocumentError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        self.documents.put(DOCUMENT, &counts)
    }

    /// The counts as they are.
    pub(crate) fn read(&self) -> Counts {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
