//! Hostile manifests and result files, each with the exact outcome that it must have, in flat
//! memory.
//!
//! Instructive cases are files in `events/manifests/bad` and `tests/corpus/results`, each with its
//! expected outcome in `<name>.expected`. Those that are too large to store are generated here. The
//! outcome must not depend on how the bytes arrive: all at once, in 64 KiB, in sevens, or one by
//! one.
#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

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
