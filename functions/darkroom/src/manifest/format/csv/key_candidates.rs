//! Rows without a key, and the columns whose values could be their keys.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use super::column::fold;
use crate::manifest::{diagnostics::quote, resolve::variables::spelling};

/// Columns whose values usually are one's own, the likeliest first, folded.
const CANDIDATES: [&str; 24] = [
    "sku",
    "variantsku",
    "itemsku",
    "productsku",
    "handle",
    "handleid",
    "urlhandle",
    "slug",
    "productid",
    "itemid",
    "variantid",
    "articlenumber",
    "articleno",
    "itemnumber",
    "partnumber",
    "gtin",
    "ean",
    "upc",
    "asin",
    "isbn",
    "mpn",
    "uid",
    "uuid",
    "code",
];

/// Rows without a key, and the columns that could be one.
#[derive(Default)]
pub(crate) struct KeyCandidates {
    rows: u64,
    line: u64,
    candidates: Vec<Candidate>,
    hasher: RandomState,
}

struct Candidate {
    column: usize,
    /// Its rank in [`CANDIDATES`].
    rank: usize,
    name: String,
    /// The hashes of its values so far.
    seen: HashSet<u64>,
}

impl KeyCandidates {
    /// Looks for columns that could be the key; for none, where the table has a key.
    pub(crate) fn new(names: &[String], has_key: bool) -> Self {
        let candidate = |(column, name): (usize, &String)| {
            let rank = CANDIDATES
                .iter()
                .position(|candidate| *candidate == fold(name))?;
            Some(Candidate {
                column,
                rank,
                name: name.clone(),
                seen: HashSet::new(),
            })
        };
        let mut candidates: Vec<Candidate> = if has_key {
            Vec::new()
        } else {
            names.iter().enumerate().filter_map(candidate).collect()
        };
        candidates.sort_by_key(|candidate| candidate.rank);
        Self {
            candidates,
            ..Self::default()
        }
    }

    /// Takes note of a row. A column with a value twice, or without one, can't be the key.
    pub(crate) fn add(&mut self, line: u64, cells: &[Cow<'_, str>], is_keyless: bool) {
        if is_keyless {
            if self.rows == 0 {
                self.line = line;
            }
            self.rows += 1;
        }
        let hasher = &self.hasher;
        self.candidates.retain_mut(|candidate| {
            let cell = cells.get(candidate.column).map_or("", Cow::as_ref);
            !cell.is_empty() && candidate.seen.insert(hasher.hash_one(cell))
        });
    }

    /// Whether the key is missing in so many rows, and which column to use; with the line of the
    /// first such row.
    pub(crate) fn describe(&self) -> Option<(u64, String)> {
        if self.rows == 0 {
            return None;
        }
        let (rows, named) = if self.rows == 1 {
            ("1 row has".to_owned(), "is named by its line")
        } else {
            (
                format!("{} rows have", self.rows),
                "are named by their lines",
            )
        };
        let hint = match self.candidates.first() {
            Some(candidate) => format!(
                "the column {} has a value of its own in each row: use it by the metadata key={{{}}}",
                quote(&candidate.name),
                spelling(&candidate.name)
            ),
            None => "add a column key, so that images keep their names when lines move".to_owned(),
        };
        Some((
            self.line,
            format!(
                "{rows} no key and {named}, such as line-{:06}: {hint}",
                self.line
            ),
        ))
    }
}
