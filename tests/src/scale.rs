//! What a job costs as it grows: the requests, the bytes and the computing time of the whole chain,
//! simulated on one machine, and how many images a stack can make in a day.
//!
//! The command `scale` prints the figures ([`simulation`], [`alone`], [`bill`], [`throughput`]), and
//! `tests/scale/` checks that the requests are linear in the images and barely grow with the hours
//! of waiting.

pub mod alone;
pub mod bill;
pub mod figures;
pub mod fit;
pub mod meter;
pub mod plot;
pub mod prices;
pub mod simulation;
pub mod tables;
pub mod template;
pub mod throughput;
mod world;
