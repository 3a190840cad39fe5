//! `generate`: images of the synchronous lanes, one call each.
//!
//! Triggered by (generations). It sends the requests that a batch would contain, with a bounded
//! number in flight, and stores images, result lines and rounds by the same rules as `collect`. A
//! call can't be repeated safely, so each key is claimed in the shard's state before its call.

mod call;
pub mod deps;
pub mod error;
mod finish;
pub mod handler;
mod pause;
mod requests;
mod session;
