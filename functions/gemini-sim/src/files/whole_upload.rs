//! Uploads of a whole file in one request: the protocols `multipart` and `raw`.
//!
//! The protocol is named in `X-Goog-Upload-Protocol`, or in the query as `upload_protocol` or
//! `uploadType`. A request with neither a protocol nor a command is raw: its body is the file, and
//! its content type is the file's. Source: working requests in discuss.ai.google.dev/t/6904, and
//! Google's own `@google/generative-ai` 0.24, read 2026-11-26.

use std::fs;

use http::{Response, header::CONTENT_TYPE, request::Parts};
use seam::transport::{Body, full};
use serde_json::Value;

use crate::{
    files::{
        Files, MAX_FILE_BYTES, StoredFile, multipart,
        uploads::{Caller, Upload, Uploads, final_response, text},
    },
    wire::{
        body::{read_message, read_whole, write_file},
        messages::CREATE_FILE,
        reply::{ApiError, ServeError},
        route::parameter,
    },
};

/// The maximum size of a multipart upload, which is held in memory. Larger files need the resumable
/// protocol.
const MAX_MULTIPART_BYTES: usize = 200 * 1024 * 1024;

/// How a file is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The request starts the upload, and further requests send the content.
    Resumable,
    /// One request sends the description and the content.
    Multipart,
    /// One request sends the content alone.
    Raw,
}

/// A file that arrives in one request.
struct WholeFile {
    /// The description, in the format of `CreateFileRequest`.
    description: Value,
    mime_type: Option<String>,
    content: Body,
}

impl Protocol {
    /// Returns the protocol of a request that starts an upload.
    ///
    /// # Errors
    /// 400 for an unknown protocol, or a command without a protocol.
    pub(crate) fn of(request: &Parts) -> Result<Self, ApiError> {
        let in_query = || {
            ["upload_protocol", "uploadType"]
                .iter()
                .find_map(|name| parameter(&request.uri, name))
        };
        let named = text(&request.headers, "x-goog-upload-protocol").or_else(in_query);
        match named {
            Some("resumable") => Ok(Self::Resumable),
            Some("multipart") => Ok(Self::Multipart),
            Some("raw" | "media") => Ok(Self::Raw),
            None if !request.headers.contains_key("x-goog-upload-command") => Ok(Self::Raw),
            _ => Err(ApiError::invalid(
                "Upload protocol must be resumable, multipart or raw",
            )),
        }
    }
}

impl WholeFile {
    async fn read(protocol: Protocol, request: &Parts, body: Body) -> Result<Self, ServeError> {
        let content_type = request
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let announced =
            text(&request.headers, "x-goog-upload-header-content-type").map(str::to_owned);
        if protocol != Protocol::Multipart {
            let mime_type = announced.or_else(|| content_type.map(str::to_owned));
            return Ok(Self {
                description: Value::Null,
                mime_type,
                content: body,
            });
        }
        let body = read_whole(body, MAX_MULTIPART_BYTES).await?;
        let parts = multipart::split(content_type.unwrap_or_default(), &body)?;
        Ok(Self {
            description: read_message(&parts.description, &CREATE_FILE)?,
            mime_type: announced.or(parts.mime_type),
            content: full(parts.content),
        })
    }
}

impl Uploads {
    /// Uploads a whole file. `new_id` becomes the file's id if the caller does not name it.
    ///
    /// # Errors
    /// 400, 409 or 429 when such a file can't be added.
    pub(crate) async fn upload_whole(
        &self,
        files: &Files,
        caller: &Caller,
        (protocol, request): (Protocol, &Parts),
        body: Body,
        new_id: &str,
    ) -> Result<Response<Body>, ServeError> {
        // The description is known before the content is stored.
        let whole = WholeFile::read(protocol, request, body).await?;
        let upload = Upload::new(
            caller,
            &whole.description["file"],
            whole.mime_type.as_deref(),
            None,
            new_id,
        )?;
        let upload_id = format!("upload-{new_id}");

        // A name in use is rejected before the content arrives.
        files.admit(&upload_id, Some(&upload.file_id), 0, caller.now)?;
        let kept = self
            .receive_whole(files, caller, upload, &upload_id, whole.content)
            .await;
        if kept.is_err() {
            // A file that can't be removed now is removed when the folder is next opened.
            let _ = fs::remove_file(self.part(&upload_id));
        }
        Ok(final_response(&kept?, caller))
    }

    async fn receive_whole(
        &self,
        files: &Files,
        caller: &Caller,
        mut upload: Upload,
        upload_id: &str,
        content: Body,
    ) -> Result<StoredFile, ServeError> {
        upload.received_bytes =
            write_file(content, &self.part(upload_id), 0, MAX_FILE_BYTES).await?;
        self.store(files, &upload, upload_id, caller).await
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn protocol(uri: &str, headers: &[(&str, &str)]) -> Result<Protocol, String> {
        let request = headers
            .iter()
            .fold(Request::post(uri), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Protocol::of(&parts).map_err(|refused| refused.to_string())
    }

    #[test]
    fn the_protocol_is_named_in_a_header_or_in_the_query() {
        let header = |name| protocol("/upload/v1beta/files", &[("X-Goog-Upload-Protocol", name)]);
        assert_eq!(header("resumable"), Ok(Protocol::Resumable));
        assert_eq!(header("multipart"), Ok(Protocol::Multipart));
        assert_eq!(header("raw"), Ok(Protocol::Raw));
        assert!(header("carrier-pigeon").is_err());
        assert_eq!(
            protocol("/upload/v1beta/files?uploadType=multipart&key=a", &[]),
            Ok(Protocol::Multipart)
        );
        assert_eq!(
            protocol("/upload/v1beta/files?upload_protocol=raw", &[]),
            Ok(Protocol::Raw)
        );
    }

    #[test]
    fn a_body_alone_is_raw_and_a_command_alone_is_invalid() {
        assert_eq!(
            protocol("/upload/v1beta/files", &[("Content-Type", "image/png")]),
            Ok(Protocol::Raw)
        );
        assert!(
            protocol(
                "/upload/v1beta/files",
                &[("X-Goog-Upload-Command", "start")]
            )
            .is_err()
        );
    }
}
