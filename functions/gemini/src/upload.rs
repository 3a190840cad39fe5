//! The upload of a file by Google's resumable protocol. A first request returns the upload's own
//! URL, the chunks go to that URL, and the response to the last chunk describes the file.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use darkroom::names::FileName;
use futures_util::Stream;
use http::{HeaderMap, Method};
use seam::transport::BoxError;
use serde::Serialize;
use url::Url;

use super::{
    Gemini,
    batches::CALL_TIMEOUT,
    call::{Call, with_timeout},
    error::{ApiError, UploadError},
    file::File,
    upload_buffer::UploadBuffer,
    upload_session::{COMMAND, UploadSession, text},
};

/// The chunk size of Google's SDKs, which is also the granularity that the API reports.
const CHUNK_BYTES: usize = 8 << 20;
/// The maximum granularity. A whole chunk is in memory.
const MAX_CHUNK_BYTES: usize = 64 << 20;
/// How long an upload may take. A function ends after 15 minutes anyway; on one machine, 2 GB take
/// almost an hour over a slow connection.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// The description of a file to upload.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// The display name, up to 512 characters.
    pub display_name: String,
    /// The MIME type; see [`Gemini::input_mime_type`] for a batch's input.
    pub mime_type: String,
    /// The number of bytes, up to 2 GB.
    pub size_bytes: u64,
    /// The requested name: `files/` and up to 40 lower-case letters, digits and dashes, without a
    /// dash at either end. Without one, Google assigns a name.
    pub name: Option<FileName>,
}

#[derive(Serialize)]
struct StartBody<'a> {
    file: NewFile<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewFile<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a FileName>,
    display_name: &'a str,
    mime_type: &'a str,
    /// An int64, which is a string in proto3 JSON.
    size_bytes: String,
}

impl Gemini {
    /// Uploads the bytes of `body` and returns the file, which may not be ready yet; see
    /// [`File::state`]. One chunk of 8 MiB is in memory.
    ///
    /// # Errors
    /// [`UploadError::Body`] and [`UploadError::Length`] for problems of the bytes, and
    /// [`UploadError::Api`] for problems of the API: [`ApiError::Conflict`] if the name exists.
    pub async fn upload<S, E>(&self, request: UploadRequest, body: S) -> Result<File, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<BoxError> + Send,
    {
        with_timeout(
            UPLOAD_TIMEOUT,
            self.upload_in_chunks(&request, body, CHUNK_BYTES),
        )
        .await
    }

    async fn upload_in_chunks<S, E>(
        &self,
        request: &UploadRequest,
        body: S,
        chunk_bytes: usize,
    ) -> Result<File, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<BoxError> + Send,
    {
        let session = self.start(request, chunk_bytes).await?;
        let body = pin!(body);
        let file = session
            .send_all(&mut UploadBuffer::new(body, request.size_bytes))
            .await?;
        if file.size_bytes != request.size_bytes {
            return Err(UploadError::Length {
                announced: request.size_bytes,
                actual: file.size_bytes,
            });
        }
        Ok(file)
    }

    /// Starts an upload. An abandoned upload is free, so this request can be repeated.
    async fn start(
        &self,
        request: &UploadRequest,
        chunk: usize,
    ) -> Result<UploadSession<'_>, ApiError> {
        let size = request.size_bytes.to_string();
        let call = Call::new(Method::POST, self.url_under("/upload", "files"))
            .header("x-goog-upload-protocol", "resumable")?
            .header(COMMAND, "start")?
            .header("x-goog-upload-header-content-length", &size)?
            .header("x-goog-upload-header-content-type", &request.mime_type)?
            .json(&StartBody {
                file: NewFile {
                    name: request.name.as_ref(),
                    display_name: &request.display_name,
                    mime_type: &request.mime_type,
                    size_bytes: size,
                },
            })?;
        let answer = self.send_with_retry(&call, CALL_TIMEOUT).await?;
        let url = self.upload_url(&answer.headers)?;
        Ok(UploadSession::new(
            self,
            url,
            chunk_size(&answer.headers, chunk)?,
        ))
    }

    /// The URL for the chunks. Only the configured host ever receives any.
    fn upload_url(&self, headers: &HeaderMap) -> Result<Url, ApiError> {
        let url = text(headers, "x-goog-upload-url")
            .and_then(|text| Url::parse(text).ok())
            .ok_or_else(|| ApiError::malformed("an upload without a URL"))?;
        let is_same_origin = url.origin() == self.base.origin();
        if !is_same_origin || !url.username().is_empty() || url.password().is_some() {
            return Err(ApiError::malformed(
                "an upload URL on another host than the configured one",
            ));
        }
        Ok(url)
    }
}

/// The largest multiple of the granularity up to `preferred`, or one granule. Every chunk except
/// the last must be a multiple.
fn chunk_size(headers: &HeaderMap, preferred: usize) -> Result<usize, ApiError> {
    let Some(granularity) = text(headers, "x-goog-upload-chunk-granularity") else {
        return Ok(preferred);
    };
    match granularity.parse() {
        Ok(granularity @ 1..=MAX_CHUNK_BYTES) => {
            Ok((preferred - preferred % granularity).max(granularity))
        }
        _ => Err(ApiError::malformed(
            "an upload with an unusable chunk granularity",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::Response;
    use seam::transport::full;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fake_transport::{
            CANARY, FakeTransport, Reply, assert_valid, client, error_chain, json as answer,
        },
        fake_upload_server::{UPLOAD_URL, server, started},
    };

    fn request(size_bytes: u64) -> UploadRequest {
        UploadRequest {
            display_name: "studio/j/0000/1".to_owned(),
            mime_type: "application/jsonl".to_owned(),
            size_bytes,
            name: None,
        }
    }

    fn body(pieces: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
            .collect();
        stream::iter(pieces)
    }

    #[tokio::test]
    async fn the_start_request_is_valid_and_describes_the_file() {
        let (fake, upload) = server(10, 4, |_| None);
        let request = UploadRequest {
            name: Some(FileName::new("files/ref-1")),
            ..request(10)
        };
        let file = client(&fake)
            .upload(request, body(&["012", "", "3456789"]))
            .await
            .unwrap();
        assert_eq!((file.name.as_str(), file.size_bytes), ("files/1", 10));
        assert_eq!(upload.lock().unwrap().received, b"0123456789");
        let start = &fake.requests()[0];
        assert_eq!(start.line(), "POST /upload/v1beta/files");
        for (name, value) in [
            ("x-goog-api-key", CANARY),
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-length", "10"),
            ("x-goog-upload-header-content-type", "application/jsonl"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(start.header(name), Some(value), "{name}");
        }
        let expected = json!({ "file": {
            "name": "files/ref-1", "displayName": "studio/j/0000/1",
            "mimeType": "application/jsonl", "sizeBytes": "10",
        } });
        assert_eq!(start.json(), expected);
        assert_valid("CreateFileRequest", &start.json());
    }

    #[tokio::test]
    async fn an_upload_url_on_another_host_receives_nothing() {
        for url in [
            "https://evil.example/upload/v1beta/files?upload_id=x",
            "https://generativelanguage.googleapis.com.evil.example/upload?upload_id=x",
            "https://generativelanguage.googleapis.com@evil.example/upload?upload_id=x",
            "https://user@generativelanguage.googleapis.com/upload?upload_id=x",
            "https://generativelanguage.googleapis.com:8443/upload?upload_id=x",
            "http://generativelanguage.googleapis.com/upload?upload_id=x",
            "/upload?upload_id=x",
        ] {
            let reply = Ok(Response::builder()
                .header("x-goog-upload-url", url)
                .body(full("{}"))
                .unwrap());
            let fake = FakeTransport::replies([reply]);
            let error = client(&fake)
                .upload(request(3), body(&["abc"]))
                .await
                .unwrap_err();
            assert!(
                matches!(error, UploadError::Api(ApiError::Malformed { .. })),
                "{url}: {error:?}"
            );
            assert!(!error_chain(&error).contains("upload_id"), "{error}");
            assert_eq!(fake.lines(), ["POST /upload/v1beta/files"]);
        }
    }

    #[tokio::test]
    async fn a_start_without_a_url_is_malformed() {
        let error = client(&FakeTransport::replies([answer(200, &json!({}))]))
            .upload(request(3), body(&["abc"]))
            .await
            .unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Malformed { .. })),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn an_existing_name_is_a_conflict() {
        let error = client(&FakeTransport::replies([answer(409, &json!({}))]))
            .upload(request(3), body(&["abc"]))
            .await
            .unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Conflict { .. })),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_body_of_another_length_creates_no_file() {
        for pieces in [&["ab"][..], &["abc", "", "d"], &["abcd"], &[]] {
            let (fake, upload) = server(3, 2, |_| None);
            let error = client(&fake)
                .upload(request(3), body(pieces))
                .await
                .unwrap_err();
            assert!(
                matches!(error, UploadError::Length { announced: 3, .. }),
                "{pieces:?}: {error:?}"
            );
            assert!(!upload.lock().unwrap().finished);
        }
    }

    #[tokio::test]
    async fn a_body_that_fails_creates_no_file() {
        let (fake, upload) = server(3, 2, |_| None);
        let body = stream::iter([Ok(Bytes::from_static(b"ab")), Err("disk gone")]);
        let error = client(&fake).upload(request(3), body).await.unwrap_err();
        assert!(matches!(error, UploadError::Body(_)), "{error:?}");
        assert!(!upload.lock().unwrap().finished);
    }

    #[tokio::test]
    async fn another_stored_size_is_an_error() {
        let file: Value = json!({ "file": { "name": "files/1", "sizeBytes": "2" } });
        let end: Reply = Ok(Response::builder()
            .header("x-goog-upload-status", "final")
            .body(full(file.to_string()))
            .unwrap());
        let fake = FakeTransport::replies([started(8), end]);
        let error = client(&fake)
            .upload(request(3), body(&["abc"]))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                UploadError::Length {
                    announced: 3,
                    actual: 2
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_chunk_is_the_largest_multiple_of_the_granularity() {
        let size = |granularity: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(granularity) = granularity {
                headers.insert(
                    "x-goog-upload-chunk-granularity",
                    granularity.parse().unwrap(),
                );
            }
            chunk_size(&headers, 1000)
        };
        assert_eq!(size(None).unwrap(), 1000);
        assert_eq!(size(Some("1")).unwrap(), 1000);
        assert_eq!(size(Some("300")).unwrap(), 900);
        assert_eq!(size(Some("1000")).unwrap(), 1000);
        assert_eq!(size(Some("2000")).unwrap(), 2000);
        for unusable in ["0", "-1", "x", "67108865"] {
            size(Some(unusable)).unwrap_err();
        }
    }

    #[tokio::test]
    async fn chunks_go_to_the_upload_url_in_steps_of_the_granularity() {
        let (fake, _) = server(10, 4, |_| None);
        let upload = client(&fake);
        upload
            .upload_in_chunks(&request(10), body(&["0123456789"]), 4)
            .await
            .unwrap();
        let sizes: Vec<_> = fake.requests()[1..]
            .iter()
            .map(|chunk| chunk.body.len())
            .collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert!(
            fake.requests()[1..]
                .iter()
                .all(|chunk| chunk.head.uri == UPLOAD_URL)
        );
    }
}
