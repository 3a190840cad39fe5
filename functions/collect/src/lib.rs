//! `collect`: an ended batch becomes decoded images in S3, and one result line per request key.
//!
//! Triggered by (results). It reads the responses file as a stream, writes images while it reads,
//! records its progress at checkpoints, and continues from the last one when Lambda's time runs
//! out. It never writes a request file.

mod checkpoint;
mod chunks;
pub mod deps;
pub mod error;
mod failed_read;
mod finish;
pub mod handler;
mod read;
mod reading;
mod unmatched;
