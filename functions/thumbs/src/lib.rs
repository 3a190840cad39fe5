//! `thumbs`: a small JPEG of every image, for the page of a job.
//!
//! Triggered by (thumbnails), to which `report` sends every shard that has ended. It is the only
//! function that decodes images, so that a malicious image can harm nothing else: it reads states,
//! chunks and images, and writes thumbnails and their list. A job closes without it.
//!
//! `thumbs.json` is both the list and the checkpoint. An invocation that ends early leaves the list
//! of what it did, and the next one continues there.

mod decode;
pub mod deps;
mod encode;
pub mod error;
pub mod handler;
mod list;
mod shrink;
mod thumbnail;
mod work;
