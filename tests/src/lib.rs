//! What the tests of this crate share: the chain in process ([`TestCloud`]), the connections that a
//! test can watch and cut ([`wire`]), the content of a page ([`gallery`]), jobs that have ended
//! ([`made_job`]), the fault harness ([`faults`]), and the simulation of large jobs ([`scale`]).

mod cloud;
pub mod faults;
pub mod gallery;
pub mod made_job;
pub mod scale;
pub mod wire;

use bytes::Bytes;
use darkroom::names::FileName;
use futures_util::stream;
use gemini::{Gemini, UploadRequest};

pub use crate::cloud::{BatchResponse, TestCloud, TestCloudBuilder, TestJob};

/// The longer side, in pixels, of images whose content does not matter. They are quick to draw, to
/// shrink and to store, and cost as much as the size that was requested.
pub const TINY_SIDE: u16 = 64;

/// Uploads a small file to Gemini.
///
/// # Errors
/// Returns an error if Gemini refuses the file or can't be reached.
pub async fn upload(
    gemini: &Gemini,
    display_name: &str,
    content: &'static [u8],
) -> anyhow::Result<FileName> {
    let request = UploadRequest {
        display_name: display_name.to_owned(),
        mime_type: gemini.input_mime_type().to_owned(),
        size_bytes: content.len() as u64,
        name: None,
    };
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(content))]);
    Ok(gemini.upload(request, body).await?.name)
}
