//! Request bodies: JSON held whole up to a limit, files written to disk as they arrive.

use std::path::Path;

use bytes::Bytes;
use clients::transport::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt},
};

use super::{
    proto::{Message, read},
    reply::{Refused, Unserved},
};

/// Reads a JSON body of at most `limit_bytes` as a message; no body at all is an empty message.
///
/// # Errors
/// 400 when it is too long, not JSON, or not that message.
pub(super) async fn read_json(body: Body, message: &Message, limit_bytes: usize) -> Result<Value, Unserved> {
    let limited: Body = Limited::new(body, limit_bytes).boxed();
    let bytes = match limited.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let told = format!("Request payload size exceeds the limit: {limit_bytes} bytes.");
            return Err(Refused::invalid(told).into());
        }
        Err(error) => return Err(Unserved::BrokeOff(error)),
    };
    let value = if bytes.is_empty() { json!({}) } else { parse(&bytes)? };
    read(value, message).map_err(|faults| Refused::faults(&faults).into())
}

/// Writes a body into the file at `path` from byte `offset` on, and answers with the file's length after it. What the
/// file held from there on, left by a chunk that broke off, is overwritten.
///
/// # Errors
/// 400 when the file would become longer than `limit_bytes`.
pub(super) async fn write_file(mut body: Body, path: &Path, offset: u64, limit_bytes: u64) -> Result<u64, Unserved> {
    let mut file = File::options().create(true).write(true).truncate(false).open(path).await?;
    file.set_len(offset).await?;
    file.seek(std::io::SeekFrom::End(0)).await?;
    let mut length = offset;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(Unserved::BrokeOff)?.into_data() else { continue };
        length += bytes.len() as u64;
        if length > limit_bytes {
            return Err(Refused::invalid(format!("Upload exceeds {limit_bytes} bytes")).into());
        }
        file.write_all(&bytes).await?;
    }
    file.flush().await?;
    Ok(length)
}

fn parse(bytes: &Bytes) -> Result<Value, Refused> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Only the place: serde_json's own words could quote the request.
        Refused::invalid(format!(
            "Invalid JSON payload received. Parsing failed at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}
