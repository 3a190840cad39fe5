//! The `darkroom` command, and the host that runs the whole chain on one machine.
//!
//! The functions are the ones that run on Lambda. The host replaces only the services behind the
//! wire.

pub mod cloud;
pub mod command;
pub mod controls;
pub mod host;
mod listing;
pub mod time;
