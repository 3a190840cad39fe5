//! The last data element of the page: the sums over all rows.

use serde::Serialize;

use crate::{
    money::Usd,
    report::{Counts, ProvenanceCounts},
};

/// The sums over all rows.
///
/// ```json
/// {"counts":{"expected":27,"succeeded":27,…,"waiting":0,"held":0},"cost":671000,"provenance":{"iptc":0,"c2pa":0,"none":27}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// The number of rows by status.
    pub counts: RowCounts,
    /// The cost so far in millionths of a dollar.
    pub cost: i64,
    /// The number of images by their marks of provenance.
    pub provenance: ProvenanceCounts,
}

/// The number of rows by status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// All rows, and those with a result.
    #[serde(flatten)]
    pub results: Counts,
    /// Rows without a result.
    pub waiting: u64,
    /// Rows without a result whose shard waits for an approval.
    pub held: u64,
}

impl Sums {
    /// Returns the sums of a page. `results` counts the rows with a result, and `cost` is what they
    /// cost.
    pub fn new(
        results: &Counts,
        (waiting, held): (u64, u64),
        cost: Usd,
        provenance: ProvenanceCounts,
    ) -> Self {
        let results = Counts {
            expected: results.expected + waiting + held,
            ..results.clone()
        };
        Self {
            counts: RowCounts {
                results,
                waiting,
                held,
            },
            cost: cost.micros(),
            provenance,
        }
    }
}
