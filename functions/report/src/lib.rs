//! `report`: watches a job's shards, and closes the job when all are over.
//!
//! Triggered by (reports), after every change of a shard. It keeps `job.json` fresh, and when every
//! shard and round is terminal it writes the results, the summary, what to retry, and last of all
//! the marker. It buys nothing and asks Gemini nothing.
//!
//! What it reads does not grow with the square of the shards: a message names the shard that has
//! changed, whose state alone is read and merged into `job.json`. All states are read once, when
//! `job.json` says that every shard is over.

mod blocked;
mod close;
pub mod deps;
mod documents;
pub mod handler;
mod join;
mod look;
mod pace;
