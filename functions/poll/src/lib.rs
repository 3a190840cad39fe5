//! `poll`: waits for a batch to end.
//!
//! Triggered by (polls). One message per shard, never sent again: while the batch runs, the same
//! message comes back later, by visibility. When the batch is terminal, the shard is handed on to
//! (results).

mod answer;
pub mod deps;
pub mod handler;
mod work;
