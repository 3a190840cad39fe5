//! `poll`: waits for a batch to end.
//!
//! Triggered by (polls). Each shard has one message, which is never sent again: while the batch
//! runs, the same message returns later, by its visibility timeout. Once the batch is terminal, the
//! shard is forwarded to (results).

mod answer;
pub mod deps;
pub mod handler;
