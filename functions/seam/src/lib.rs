//! What is passed in: the wire, the time, randomness and the environment.
//!
//! Every function and client takes these as values, so that a test or the local host can replace them. No AWS SDK is
//! among the dependencies.

pub mod clock;
pub mod environment;
pub mod https;
pub mod rng;
pub mod transport;
