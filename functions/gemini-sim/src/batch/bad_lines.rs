//! Valid request lines that the service rejects anyway, together with their whole batch.
//!
//! Whether a line is bad depends on its key alone, so it is bad in every batch that contains it.
//! The ordinals of keys are counted over all create calls and survive a restart.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use disk::documents::{DocumentError, Documents};

use crate::{scenario::Scenario, seeded_random::SeededRandom};

const DOCUMENT: &str = "keys";

/// Field names that the error message reports as unknown.
const NAMES: [&str; 4] = [
    "x",
    "thinking_config",
    "negative_prompt",
    "person_generation",
];

/// The keys of request lines, in the order in which create calls first sent them. Keys are recorded
/// only as far as a rule depends on their ordinal.
#[derive(Debug)]
pub(crate) struct SeenKeys {
    documents: Documents<Vec<String>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The ordinal of each key, from 1.
    ordinals: BTreeMap<String, u64>,
    /// The number of keys that are already in the document.
    kept: usize,
}

impl SeenKeys {
    /// Opens the keys that are stored below `folder`.
    ///
    /// # Errors
    /// [`DocumentError`] when the document can't be read.
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents: Documents<Vec<String>> = Documents::open(folder.join("seen"))?;
        let keys = documents
            .load_all()?
            .into_iter()
            .find(|(id, _)| id == DOCUMENT)
            .map(|(_, keys)| keys);
        let ordinals: BTreeMap<_, _> = keys.unwrap_or_default().into_iter().zip(1..).collect();
        let kept = ordinals.len();
        Ok(Self {
            documents,
            seen: Mutex::new(Seen { ordinals, kept }),
        })
    }

    /// Stores the keys that were added since the last call.
    ///
    /// # Errors
    /// [`DocumentError`] when the document can't be written.
    pub(crate) fn store(&self) -> Result<(), DocumentError> {
        let mut seen = self.lock();
        if seen.ordinals.len() > seen.kept {
            let mut keys: Vec<(&String, &u64)> = seen.ordinals.iter().collect();
            keys.sort_by_key(|(_, ordinal)| **ordinal);
            self.documents.put(
                DOCUMENT,
                &keys.into_iter().map(|(key, _)| key.clone()).collect(),
            )?;
            seen.kept = seen.ordinals.len();
        }
        Ok(())
    }

    /// Returns the key's ordinal among all keys ever seen, if it is at most `max`. Records a new
    /// key if its ordinal is.
    fn ordinal(&self, key: &str, max: u64) -> Option<u64> {
        let mut seen = self.lock();
        let next = seen.ordinals.len() as u64 + 1;
        let known = seen.ordinals.get(key).copied();
        if known.is_none() && next <= max {
            seen.ordinals.insert(key.to_owned(), next);
            return Some(next);
        }
        known.filter(|ordinal| *ordinal <= max)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scenario {
    /// Returns the error message for the line with this key, or `None` if the line is accepted.
    /// `length` is the length of the line in bytes.
    pub(crate) fn bad_line(&self, key: &str, length: usize, seen: &SeenKeys) -> Option<String> {
        let max = self.bad_lines.iter().map(|which| which.last()).max()?;

        // No rule distinguishes ordinals beyond the largest that any rule names.
        let ordinal = seen.ordinal(key, max).unwrap_or(u64::MAX);
        let random = |what: &str| SeededRandom::new(self.seed, &[what, key]);
        let is_bad = self
            .bad_lines
            .iter()
            .any(|which| which.matches(ordinal, || random("bad line")));
        is_bad.then(|| {
            let column = random("bad column").between(1, length as u64);
            let name = usize::try_from(random("bad name").below(NAMES.len() as u64))
                .map_or("", |drawn| NAMES[drawn]);
            format!("invalid JSON, near column {column}: no such field: '{name}'")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(which: &[&str]) -> Scenario {
        Scenario {
            bad_lines: which
                .iter()
                .map(|which| which.parse().expect("valid"))
                .collect(),
            ..Scenario::default()
        }
    }

    fn bad_keys(scenario: &Scenario, seen: &SeenKeys, keys: &[&str]) -> Vec<String> {
        let is_bad = |key: &&&str| scenario.bad_line(key, 100, seen).is_some();
        keys.iter()
            .filter(is_bad)
            .map(|key| (*key).to_owned())
            .collect()
    }

    #[test]
    fn ordinals_are_of_keys_and_survive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let scenario = bad(&["2", "4"]);
        let seen = SeenKeys::open(folder.path()).expect("opens");
        assert_eq!(bad_keys(&scenario, &seen, &["a", "b", "c"]), ["b"]);
        assert_eq!(
            bad_keys(&scenario, &seen, &["c", "b", "a"]),
            ["b"],
            "the same key in another place"
        );
        seen.store().expect("kept");
        let seen = SeenKeys::open(folder.path()).expect("opens");
        assert_eq!(
            bad_keys(&scenario, &seen, &["e", "a", "b", "f"]),
            ["e", "b"],
            "e is the fourth"
        );
    }

    #[test]
    fn shares_depend_on_the_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let seen = SeenKeys::open(folder.path()).expect("opens");
        let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let first = bad_keys(&bad(&["20%"]), &seen, &keys);
        assert!((30..=90).contains(&first.len()), "{} of 300", first.len());
        assert_eq!(bad_keys(&bad(&["20%"]), &seen, &keys), first);
        assert!(bad_keys(&Scenario::default(), &seen, &keys).is_empty());
        assert!(seen.lock().ordinals.is_empty(), "a share needs no ordinals");
    }

    #[test]
    fn the_column_is_within_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let seen = SeenKeys::open(folder.path()).expect("opens");
        for n in 0..100 {
            let message = bad(&["100%"])
                .bad_line(&n.to_string(), 7, &seen)
                .expect("bad");
            let column = message
                .strip_prefix("invalid JSON, near column ")
                .and_then(|rest| rest.split_once(':'));
            let column: u64 = column
                .and_then(|(column, _)| column.parse().ok())
                .expect("a column");
            assert!((1..=7).contains(&column), "{message}");
        }
    }
}
