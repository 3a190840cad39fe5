//! Hostile manifests and result files, each with the exact outcome that it must have, in flat
//! memory.
//!
//! Cases that a person can learn from are files in `events/manifests/bad` and
//! `tests/corpus/results`, with what must come of them beside them in `<name>.expected`. Those that
//! are too large to keep are made here. What comes of a case is compared with what is expected
//! however the bytes arrive: whole, in 64 KiB, in sevens and one by one.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod corpus {
    pub(crate) mod bytes;
    mod cases;
    pub(crate) mod good;
    mod manifests;
    mod manifests_made;
    pub(crate) mod memory;
    mod results;
    mod results_made;
    mod schema;
    pub(crate) mod shelf;
}
