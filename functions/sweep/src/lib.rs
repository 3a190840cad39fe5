//! `sweep`: finds and repairs what was lost, once an hour.
//!
//! It is triggered by a schedule. It sends lost messages again, looks for batches without a shard
//! state, cancels second batches of a shard, deletes input files that are no longer needed, and
//! reconciles the ledger with the shard states. As long as nothing goes wrong, no other function
//! depends on it. It counts what it finds, so that an operator notices.

mod abandoned_plans;
mod batches;
pub mod deps;
pub mod error;
mod events;
mod files;
pub mod handler;
mod jobs;
mod ledger;
mod state_cache;
