//! `sweep`: once an hour, what was lost on the way is found.
//!
//! Triggered by a schedule. It sends lost messages again, looks for batches that no shard knows of,
//! cancels second batches of a shard, deletes input files that were read, and makes the ledger
//! agree with the shard states. Nothing depends on it unless something went wrong that should not;
//! so it counts what it finds.

mod batches;
pub mod deps;
mod files;
pub mod handler;
mod jobs;
mod known;
mod ledger;
mod overwritten;
