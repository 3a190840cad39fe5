//! The `darkroom` command, and the host that runs the whole chain on one machine.
//!
//! The functions are those that run on Lambda; the host only replaces what is behind the wire.

pub mod cloud;
pub mod command;
pub mod host;
pub mod time;
pub mod words;
