//! `plan`: a manifest upload becomes a validated plan, or a line-numbered rejection; nothing is
//! bought here.
//!
//! Triggered by (manifests), which S3 tells of uploads to `inbox/`. It copies references from the
//! web, where those are allowed, writes the plan, a request file and a state for each shard, and
//! sends one message per shard to (shards). It has no key to Gemini and never writes to `inbox/`.

mod cancel;
mod check;
mod content;
pub mod deps;
mod drop;
mod estimate;
pub mod handler;
mod references;
mod reject;
mod sources;
mod terms;
mod time;
pub mod web;
mod write;
