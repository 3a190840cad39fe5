//! `notify`: sends events about jobs to other programs and to people.
//!
//! It is triggered by (notifications). A message names a job; the job's stored documents decide
//! which events follow, and its record `events.json` which of them were sent. An event is sent to
//! each target at least once, and always with the same id. `notify` has no Gemini API key and
//! changes nothing that another function reads.

pub mod deps;
mod documents;
pub mod error;
mod event_bus;
pub mod handler;
mod secret;
pub mod targets;
mod topic;
mod webhook;
