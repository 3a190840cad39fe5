//! `submit`: a shard becomes a Gemini input file and exactly one batch.
//!
//! Triggered by (shards). It reads the shard's request file and reference pictures, uploads them to
//! Gemini, creates the batch, and forwards the shard to (polls). It writes the shard's state, the
//! records of uploaded references, and the results of requests that Gemini refuses.

mod attempt;
pub mod deps;
pub mod error;
pub mod handler;
mod input;
mod recovery;
mod refused;
mod replan;
