//! The whole chain on one machine: stand-ins for S3, SQS and the Gemini API, and a host for the functions.
//!
//! The functions here are the ones that run on Lambda; only what is behind the wire is another.

pub mod bucket;
pub mod chain;
pub mod cloud;
pub mod command;
pub mod credentials;
pub mod disk;
pub mod documents;
pub mod gemini;
mod hexadecimal;
pub mod host;
pub mod listen;
pub mod queue;
pub mod signed;
pub mod time;
pub mod wire;
pub mod words;
