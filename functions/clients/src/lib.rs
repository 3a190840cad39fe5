//! The outside world, as Darkroom's functions see it: S3, SQS, the Gemini API, and time.

pub mod aws;
pub mod bucket;
pub mod catalogue;
pub mod chance;
pub mod clock;
pub mod deliveries;
pub mod gemini;
pub mod lambda;
pub mod ledger;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod parts;
pub mod queue;
pub mod references;
pub mod rejection;
pub mod secret;
pub mod states;
pub mod swap;
pub mod transport;
pub mod uploads;
pub mod variables;
pub mod wake;
pub mod web;
