//! Rows without a key, and the columns whose values could be the keys.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use super::column::fold;
use crate::manifest::{diagnostics::quote, resolve::variables::spelling};

/// Names of columns that usually hold unique values, the most likely first, folded.
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

/// Rows without a key, and the columns that could be the key.
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
    /// Looks for columns that could be the key. If the table has a key, it looks for none.
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

    /// Adds a row. A column with an empty or a repeated value is no longer a candidate.
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

    /// Describes the rows without a key and suggests a column. The line of the first such row comes
    /// with the message.
    pub(crate) fn describe(&self) -> Option<(u64, String)> {
        if self.rows == 0 {
            return None;
        }

        // The message names the problem and the best solution.
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
                "the column {} has a different value in each row: use it with the metadata \
                 key={{{}}}",
                quote(&candidate.name),
                spelling(&candidate.name)
            ),
            None => "add a column key, so that images keep their names if rows move".to_owned(),
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
