//! The services that functions and clients receive from their caller: the network, the time,
//! randomness and the environment.
//!
//! All of them are values, so that a test or the local host can replace them. No AWS SDK is among
//! the dependencies.

pub mod clock;
pub mod environment;
#[cfg(any(test, feature = "fake-proxy"))]
pub mod fake_proxy;
pub mod guarded;
pub mod https;
pub mod proxies;
pub mod rng;
pub mod tls;
pub mod transport;
