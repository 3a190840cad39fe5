//! The names that a manifest uses for its keys and variables. They are repeated in every result of
//! the job.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::manifest::PlannedImage;

/// The maximum size of all names in one line, in bytes. The list of names is a part of `plan.lock`,
/// which is read as a whole.
const MAX_BYTES: u64 = 512 << 10;

/// The maximum size of the names in all lines of a job, in bytes. A job that repeats thousands of
/// empty members in each of a million lines could not be closed in time.
const MAX_BYTES_IN_ALL_LINES: u64 = 4 << 30;

/// The bytes of an empty member in a line of JSON, apart from its name: `"":null,`.
const BYTES_AROUND_NAME: u64 = 8;

/// The names that the items of a job use for their keys and variables, each once.
///
/// ```json
/// {"keys":["custom_id"],"variables":["title","color"]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomNames {
    /// The names of the key, other than `key`.
    pub keys: Vec<String>,
    /// The names of the variables. The columns of a table come first, in their order. Other
    /// variables follow in the order in which items use them, and by name within one item.
    pub variables: Vec<String>,
}

impl CustomNames {
    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.variables.is_empty()
    }
}

/// Collects the names in a manifest while it is read, in bounded memory.
#[derive(Debug, Default)]
pub struct CustomNamesCollector {
    keys: Ranks,
    variables: Ranks,
}

impl CustomNamesCollector {
    /// Adds the names of one image.
    pub fn note(&mut self, expected: &PlannedImage) {
        expected
            .key_name
            .iter()
            .for_each(|name| self.keys.note(name));
        expected
            .vars
            .keys()
            .for_each(|name| self.variables.note(name));
    }

    /// Returns the names of a job with this number of images, whose table has variables in these
    /// columns. If there are more variables than all lines can hold, the last ones are omitted.
    pub fn finish(self, columns: &[String], images: u64) -> CustomNames {
        let max_bytes = MAX_BYTES.min(MAX_BYTES_IN_ALL_LINES / images.max(1));
        let (mut bytes, mut seen) = (0, HashSet::new());
        let variables = columns.iter().cloned().chain(self.variables.in_order());
        let variables = variables
            .filter(|name| seen.insert(name.clone()))
            .take_while(|name| {
                bytes += bytes_of(name);
                bytes <= max_bytes
            });
        CustomNames {
            variables: variables.collect(),
            keys: self.keys.in_order(),
        }
    }
}

/// Names with the order in which they were first used.
#[derive(Debug, Default)]
struct Ranks {
    ranks: BTreeMap<String, usize>,
    bytes: u64,
}

impl Ranks {
    fn note(&mut self, name: &str) {
        if self.bytes < MAX_BYTES && !self.ranks.contains_key(name) {
            self.bytes += bytes_of(name);
            self.ranks.insert(name.to_owned(), self.ranks.len());
        }
    }

    fn in_order(self) -> Vec<String> {
        let mut names: Vec<(String, usize)> = self.ranks.into_iter().collect();
        names.sort_by_key(|(_, rank)| *rank);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

fn bytes_of(name: &str) -> u64 {
    name.len() as u64 + BYTES_AROUND_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(variables: &[&str]) -> CustomNamesCollector {
        let mut reader = CustomNamesCollector::default();
        variables
            .iter()
            .for_each(|name| reader.variables.note(name));
        reader
    }

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_come_first_and_other_names_in_the_order_of_their_use() {
        let mut reader = reader(&["z", "color", "a", "z"]);
        ["recordId", "id", "recordId"]
            .iter()
            .for_each(|name| reader.keys.note(name));
        let names = reader.finish(&columns(&["title", "color", "title", "notes"]), 10);
        assert_eq!(names.variables, ["title", "color", "notes", "z", "a"]);
        assert_eq!(names.keys, ["recordId", "id"]);
    }

    #[test]
    fn a_job_without_custom_names_has_an_empty_list() {
        assert!(CustomNamesCollector::default().finish(&[], 0).is_empty());
        assert!(!reader(&["a"]).finish(&[], 0).is_empty());
    }

    #[test]
    fn the_last_names_are_omitted_if_the_lines_would_be_too_long() {
        let many: Vec<String> = (0..20_000)
            .map(|number| format!("column_{number:05}"))
            .collect();
        let listed = |images| {
            CustomNamesCollector::default()
                .finish(&many, images)
                .variables
        };
        // Each name takes 20 bytes. A table may have 16,384 columns.
        assert_eq!(listed(1).len(), 26_214.min(many.len()));
        assert_eq!(listed(1_000_000), many[..214]);
        assert!(listed(u64::MAX).is_empty());
    }

    #[test]
    fn the_memory_for_names_is_bounded() {
        let mut reader = CustomNamesCollector::default();
        (0..1_000_000)
            .for_each(|number| reader.variables.note(&format!("variable-of-item-{number}")));
        assert!(
            reader.variables.ranks.len() < 30_000,
            "{}",
            reader.variables.ranks.len()
        );
        assert!(!reader.finish(&[], 1).variables.is_empty());
    }
}
