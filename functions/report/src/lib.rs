//! `report`: watches a job's shards, and closes the job when all are over.
//!
//! Triggered by (reports), after every change of a shard. It keeps `job.json` fresh, and when every shard and round is
//! terminal it writes the results, the summary, what to retry, and last of all the marker. It buys nothing and asks
//! Gemini nothing.

mod close;
pub mod config;
pub mod handler;
mod status;
