//! What the benchmark and the guard work on: images, lines of responses files, and lines of plans.
//! They are the same on every machine.

pub mod plan;
pub mod responses;
