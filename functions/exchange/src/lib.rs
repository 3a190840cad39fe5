//! What the lanes have in common: the requests that are sent to Gemini, and what its answers become.
//!
//! `submit` and `generate` send the same request lines, with the same reference pictures in place.
//! `collect` and `generate` store images, result lines and rounds by the same rules. A function that
//! does one of these uses this crate, and adds how its own lane is driven.

pub mod calls;
pub mod error;
pub mod expectations;
pub mod images;
pub mod references;
pub mod request_lines;
pub mod rounds;
