//! The rows of a manifest that is a table, as its user wrote them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One line of `rows.jsonl`: one row of the manifest, in order. The first is the header.
///
/// The manifest may be overwritten or deleted before the job ends, so the plan keeps its rows.
/// [`PlanLine::line`](super::PlanLine::line) of an image is the line of its row.
///
/// ```json
/// {"line":2,"cells":["SKU-1","a canvas sneaker",""]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow<'a> {
    /// The line of the manifest on which the row begins, from 1.
    pub line: u64,
    /// The texts of its cells, with their blanks. A row may have fewer cells than the header, or
    /// further empty ones.
    pub cells: Vec<Cow<'a, str>>,
}
