//! `control`: carries out what a user requests for a job by uploading `control/<job>/cancel` or
//! `control/<job>/approve`.
//!
//! Triggered by (controls). A cancellation is recorded for the other functions, which check for it;
//! `poll` cancels the batches. An approval continues held shards. `control` has no Gemini API key
//! and sends Gemini no request.

pub mod deps;
pub mod error;
pub mod handler;
