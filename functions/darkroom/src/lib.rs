//! What a Darkroom job *is*: manifests, plans, prices, states, results and reports, as plain data
//! and pure functions.
//!
//! No AWS client, no HTTP, no environment and no clock: whatever is here gives the same answer
//! everywhere.

pub mod batch_bounds;
pub mod billing;
pub mod chain;
pub mod chunks;
pub mod cost;
mod csv_injection;
pub mod digest;
pub mod display_name;
pub mod events;
pub mod folders;
pub mod gallery;
pub mod ignored_files;
pub mod image_paths;
pub mod image_url;
pub mod job;
pub mod key_list;
pub mod lane;
pub mod ledger;
pub mod manifest;
pub mod messages;
pub mod models;
pub mod money;
pub mod names;
pub mod object_keys;
pub mod plan;
pub mod report;
pub mod requests;
pub mod results;
pub mod settings;
pub mod state;
pub mod status;
pub mod thumbnails;
