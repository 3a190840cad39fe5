//! `collect`: an ended batch becomes decoded images in S3, and one result line per request key.
//!
//! Triggered by (results). It reads the responses file as a stream, writes images while it reads
//! on, writes down what it has every so often, and goes on from there when Lambda's time runs out.
//! It never writes a request file.

pub mod deps;
mod expected;
mod finish;
pub mod handler;
mod pieces;
mod read;
mod setback;
mod store;
mod unmatched;
mod work;
