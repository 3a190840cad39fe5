//! Request bodies: JSON is held in memory up to a limit, files are written to disk as they arrive.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use seam::transport::Body;
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt},
};

use crate::wire::{
    loose_json,
    proto::{Message, Parser, read},
    reply::{ApiError, ServeError},
};

/// Reads a JSON body of at most `limit_bytes` as a message. An empty body is an empty message.
///
/// # Errors
/// 400 when it is too long, not JSON, or not that message.
pub(crate) async fn read_json(
    body: Body,
    message: &Message,
    limit_bytes: usize,
) -> Result<Value, ServeError> {
    let bytes = read_whole(body, limit_bytes).await?;
    Ok(read_body(&bytes, message)?)
}

/// Parses a whole JSON body as a message. An empty body is an empty message.
///
/// # Errors
/// 400 when it is not JSON, or not that message.
pub(crate) fn read_body(bytes: &[u8], message: &Message) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        Ok(json!({}))
    } else {
        read_message(bytes, message)
    }
}

/// Parses JSON as a message, as loosely as the front end does.
///
/// # Errors
/// 400 when it is not JSON, or not that message.
pub(crate) fn read_message(bytes: &[u8], message: &Message) -> Result<Value, ApiError> {
    let value = loose_json::parse(bytes).map_err(|malformed| {
        ApiError::invalid(format!("Invalid JSON payload received. {malformed}"))
    })?;
    read(value, message, Parser::FrontEnd).map_err(|errors| ApiError::invalid_fields(&errors))
}

/// Reads a body of at most `limit_bytes`.
///
/// # Errors
/// 400 when it is too long.
pub(crate) async fn read_whole(body: Body, limit_bytes: usize) -> Result<Bytes, ServeError> {
    let limited: Body = Limited::new(body, limit_bytes).boxed();
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request payload size exceeds the limit: {limit_bytes} bytes.");
            Err(ApiError::invalid(message).into())
        }
        Err(error) => Err(ServeError::Interrupted(error)),
    }
}

/// Writes a body into the file at `path` from byte `offset` on, and returns the resulting length of
/// the file. Overwrites what an incomplete chunk left there.
///
/// # Errors
/// 400 when the file would become longer than `limit_bytes`.
pub(crate) async fn write_file(
    mut body: Body,
    path: &Path,
    offset: u64,
    limit_bytes: u64,
) -> Result<u64, ServeError> {
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .await?;
    file.set_len(offset).await?;
    file.seek(std::io::SeekFrom::End(0)).await?;
    let mut length = offset;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(ServeError::Interrupted)?.into_data() else {
            continue;
        };
        length += bytes.len() as u64;
        if length > limit_bytes {
            return Err(ApiError::invalid(format!("Upload exceeds {limit_bytes} bytes")).into());
        }
        file.write_all(&bytes).await?;
    }
    file.flush().await?;
    Ok(length)
}
