//! `report`: keeps `job.json` up to date, and closes a job when all its shards have ended.
//!
//! It is triggered by the reports queue after every change of a shard. When every shard and round
//! is terminal, it writes the results, the gallery, the summary and the manifest of what to retry,
//! and writes the marker last. Until then it refreshes the gallery while images arrive. It makes no
//! requests to Gemini and spends no money.
//!
//! The amount that it reads does not grow with the square of the shards. A message names the shard
//! that has changed, so only that shard's state is read and merged into `job.json`. All states are
//! read once, when `job.json` shows that every shard has ended.

mod blocked;
mod changes;
mod close;
pub mod deps;
mod documents;
pub mod error;
mod gallery;
mod gallery_file;
pub mod handler;
mod job_update;
mod open_shard;
mod own_table;
mod plan_pass;
mod results;
mod throttle;
mod thumbnails;
