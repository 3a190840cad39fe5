//! The names that a manifest gives to values of its own: they come back in every result of the job.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::manifest::PlannedImage;

/// Bytes of all names together, as they stand in a line. Their list is a part of `plan.lock`, which
/// is read as a whole.
const MAX_BYTES: u64 = 512 << 10;

/// Bytes of the names in all lines of a job together. Most of what they name may be empty, and a
/// job that repeats thousands of empty members in each of a million lines could not be closed in
/// time.
const MAX_BYTES_IN_ALL_LINES: u64 = 4 << 30;

/// Bytes that a line of JSON has for a member without a value in addition to its name: `"":null,`.
const BYTES_AROUND_NAME: u64 = 8;

/// The names that the items of a job give to values of their own, each once.
///
/// ```json
/// {"keys":["custom_id"],"variables":["title","color"]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnNames {
    /// What the items call their key, where that isn't `key`.
    pub keys: Vec<String>,
    /// The variables: first those of a table, in the order of its columns, then the others, in the
    /// order in which the items use them, those of one item by their names.
    pub variables: Vec<String>,
}

impl OwnNames {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.variables.is_empty()
    }
}

/// Collects the names of a manifest while it is read, in bounded memory.
#[derive(Debug, Default)]
pub struct OwnNamesReader {
    keys: Ranks,
    variables: Ranks,
}

impl OwnNamesReader {
    /// Notes the names of one image.
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

    /// The names of a job of so many images, whose table has variables in these columns. Where
    /// there are more variables than all lines can hold, the last ones are left out.
    pub fn finish(self, columns: &[String], images: u64) -> OwnNames {
        let max_bytes = MAX_BYTES.min(MAX_BYTES_IN_ALL_LINES / images.max(1));
        let (mut bytes, mut seen) = (0, HashSet::new());
        let variables = columns.iter().cloned().chain(self.variables.in_order());
        let variables = variables
            .filter(|name| seen.insert(name.clone()))
            .take_while(|name| {
                bytes += bytes_of(name);
                bytes <= max_bytes
            });
        OwnNames {
            variables: variables.collect(),
            keys: self.keys.in_order(),
        }
    }
}

/// Names by when they came first.
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

    fn reader(variables: &[&str]) -> OwnNamesReader {
        let mut reader = OwnNamesReader::default();
        variables
            .iter()
            .for_each(|name| reader.variables.note(name));
        reader
    }

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_come_first_then_the_rest_as_they_were_met_each_once() {
        let mut reader = reader(&["z", "color", "a", "z"]);
        ["recordId", "id", "recordId"]
            .iter()
            .for_each(|name| reader.keys.note(name));
        let names = reader.finish(&columns(&["title", "color", "title", "notes"]), 10);
        assert_eq!(names.variables, ["title", "color", "notes", "z", "a"]);
        assert_eq!(names.keys, ["recordId", "id"]);
    }

    #[test]
    fn a_job_without_names_of_its_own_has_none() {
        assert!(OwnNamesReader::default().finish(&[], 0).is_empty());
        assert!(!reader(&["a"]).finish(&[], 0).is_empty());
    }

    #[test]
    fn names_are_left_out_from_the_last_on_once_all_lines_would_be_too_long() {
        let many: Vec<String> = (0..20_000)
            .map(|number| format!("column_{number:05}"))
            .collect();
        let listed = |images| OwnNamesReader::default().finish(&many, images).variables;
        // A column is 20 bytes: a table may have 16,384.
        assert_eq!(listed(1).len(), 26_214.min(many.len()));
        assert_eq!(listed(1_000_000), many[..214]);
        assert!(listed(u64::MAX).is_empty());
    }

    #[test]
    fn collecting_ends_before_the_names_fill_the_memory() {
        let mut reader = OwnNamesReader::default();
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
