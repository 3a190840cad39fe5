//! `submit`: a shard becomes a Gemini input file and exactly one batch.
//!
//! Triggered by (shards). It reads the shard's request file and reference pictures, uploads them to
//! Gemini, creates the batch, and hands the shard on to (polls). It writes the shard's state and
//! the records of uploaded references.

mod attempt;
pub mod deps;
pub mod handler;
mod input;
mod recovery;
mod references;
mod refused;
mod work;
