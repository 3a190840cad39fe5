//! `plan`: turns an uploaded manifest into a validated plan, or rejects it with the numbers of the
//! lines that have errors. It buys nothing.
//!
//! Triggered by (manifests), to which S3 sends a notification of each upload to `inbox/`. It copies
//! references from the web if those are allowed, writes the plan, and a request file and a state for
//! each shard, and sends one message per shard to (shards). It has no Gemini API key and never writes
//! to `inbox/`.

mod cancel;
mod check;
mod content;
pub mod deps;
mod drop;
pub mod error;
mod estimate;
pub mod handler;
mod pieces;
mod references;
mod reject;
mod sources;
mod terms;
mod time;
pub mod web;
mod write;
