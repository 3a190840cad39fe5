//! The input file of a shard: its requests, streamed from S3 to Gemini.

use darkroom::{names::FileName, state::Shard};
use exchange::{
    error::InputError,
    references::{self, ReferencePlaces},
    request_lines::RequestLines,
};
use futures_util::TryStreamExt;
use gemini::{FileState, UploadRequest};

use crate::deps::Deps;

/// Places the references and uploads the input file of `shard`, in flat memory.
///
/// The request file is read two or three times: for its references, for the length of the input
/// file (which Gemini requires before the upload), and to send it. It is read another time if it
/// was frozen for a proof.
///
/// # Errors
/// [`InputError`]; no input file that this shard can use exists then.
pub(crate) async fn upload(
    deps: &Deps,
    shard: &Shard,
    display_name: &str,
) -> Result<FileName, InputError> {
    // References come first, because their file URIs are part of the lines.
    let source = RequestLines::of(&deps.bucket, &deps.states, shard).await?;
    let found = source.references().await?;
    let places = ReferencePlaces {
        bucket: &deps.bucket,
        uploads: &deps.references,
        gemini: &deps.gemini,
        clock: &deps.clock,
    };
    let placed = references::place(places, &shard.job, found).await?;

    // The length is counted in a separate pass, so that memory does not grow with the file.
    let size_bytes = source
        .blocks(&placed)
        .await?
        .try_fold(0, async |sum, block| Ok(sum + block.len() as u64))
        .await?;
    let request = UploadRequest {
        display_name: display_name.to_owned(),
        mime_type: deps.gemini.input_mime_type().to_owned(),
        size_bytes,
        name: None,
    };

    // Only a file that is ready now can be used for a batch.
    let body = Box::pin(source.blocks(&placed).await?);
    let file = deps.gemini.upload(request, body).await?;
    match file.state {
        FileState::Active => Ok(file.name),
        state => Err(InputError::Transient(format!(
            "Gemini's Files API left the input file in state {state:?}"
        ))),
    }
}
