//! `control`: what a person asks of a job, by dropping `control/<job>/cancel` or
//! `control/<job>/approve`.
//!
//! Triggered by (controls). A cancel is written down for the other functions to see, of which
//! `poll` carries it out; an approval lets held shards go on. It asks Gemini nothing, and has no
//! key to.

pub mod deps;
pub mod handler;
