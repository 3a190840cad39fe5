//! An open upload: it sends chunks to the upload's URL until the file exists.
//!
//! After a chunk without a response, the session queries how many bytes the server has received,
//! and resumes there. The upload's URL is a capability that allows its holder to write the file, so
//! no error contains it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Method};
use seam::transport::BoxError;
use serde::Deserialize;
use tokio::time::sleep;
use url::Url;

use super::{
    Gemini,
    batches::CALL_TIMEOUT,
    call::{Answer, Call},
    error::{ApiError, UploadError},
    file::{File, WireFile},
    refusal,
    upload_buffer::UploadBuffer,
};

/// How long one chunk may take. 8 MiB need 70 KB/s.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(120);
/// How many times a chunk is sent, as in Google's SDKs.
const MAX_CHUNK_ATTEMPTS: u32 = 3;
/// The wait before the second attempt; it doubles for the third. That bridges a short interruption
/// of the connection. The caller's queue handles a longer one.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The header with the command of a request.
pub(super) const COMMAND: &str = "x-goog-upload-command";
const OFFSET: &str = "x-goog-upload-offset";
const STATUS: &str = "x-goog-upload-status";

/// An open upload. There is no `Debug`, because the URL must not be shown.
pub(super) struct UploadSession<'a> {
    gemini: &'a Gemini,
    url: Url,
    chunk: usize,
}

/// How many bytes the server has received.
enum Progress {
    /// All bytes before this offset.
    Received(u64),
    /// All bytes, and the file exists.
    Finished(File),
}

impl<'a> UploadSession<'a> {
    /// An upload to `url`, in chunks of `chunk` bytes.
    pub(super) fn new(gemini: &'a Gemini, url: Url, chunk: usize) -> Self {
        Self { gemini, url, chunk }
    }

    /// Sends the whole content of the buffer and its stream.
    pub(super) async fn send_all<S, E>(
        &self,
        buffer: &mut UploadBuffer<S>,
    ) -> Result<File, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BoxError> + Send,
    {
        let mut failures = 0;
        loop {
            buffer.fill(self.chunk).await?;
            let (start, end) = (buffer.offset(), buffer.end());

            // After a lost response the server may have received any part of the chunk.
            let progress = match self.send(start, buffer.bytes(), buffer.is_last()).await {
                Err(ApiError::Transient { .. }) if failures + 1 < MAX_CHUNK_ATTEMPTS => {
                    failures += 1;
                    sleep(RETRY_DELAY * failures).await;
                    self.query().await?
                }
                outcome => outcome?,
            };
            match progress {
                Progress::Finished(file) => return Ok(file),
                Progress::Received(received) => {
                    buffer.advance_to(received)?;
                    // Each chunk has its own attempts. After the last chunk the upload can still be
                    // unfinished; then there is no progress, and the attempts are not renewed.
                    if received == end && end > start {
                        failures = 0;
                    }
                }
            }
        }
    }

    /// Sends one chunk.
    async fn send(&self, offset: u64, bytes: Bytes, last: bool) -> Result<Progress, ApiError> {
        let end = offset + bytes.len() as u64;
        let command = if last { "upload, finalize" } else { "upload" };
        let call = self
            .call(command)?
            .header(OFFSET, &offset.to_string())?
            .body(bytes);
        let answer = self.gemini.send_once(&call, CHUNK_TIMEOUT).await?;
        match (text(&answer.headers, STATUS), last) {
            (Some("final"), true) => Ok(Progress::Finished(finished(&answer)?)),
            (Some("active"), false) => Ok(Progress::Received(end)),
            _ => Err(unexpected(&answer)),
        }
    }

    /// Queries how many bytes the server has received, after a chunk without a response.
    async fn query(&self) -> Result<Progress, ApiError> {
        let answer = self
            .gemini
            .send_with_retry(&self.call("query")?, CALL_TIMEOUT)
            .await?;
        match text(&answer.headers, STATUS) {
            Some("final") => Ok(Progress::Finished(finished(&answer)?)),
            Some("active") => text(&answer.headers, "x-goog-upload-size-received")
                .and_then(|received| received.parse().ok())
                .map(Progress::Received)
                .ok_or_else(|| {
                    ApiError::malformed(
                        "an open upload without the number of bytes that it received",
                    )
                }),
            _ => Err(unexpected(&answer)),
        }
    }

    /// A request to the upload's URL. The URL itself authorizes it, so the API key is not sent.
    fn call(&self, command: &str) -> Result<Call, ApiError> {
        Call::new(Method::POST, self.url.clone())
            .without_key()
            .header(COMMAND, command)
    }
}

#[derive(Deserialize)]
struct Finished {
    file: WireFile,
}

/// Reads the file at the end of an upload.
fn finished(answer: &Answer) -> Result<File, ApiError> {
    match answer.json::<Finished>() {
        Ok(finished) => finished.file.try_into(),
        Err(error) => Err(refusal::in_success(&answer.headers, &answer.body).unwrap_or(error)),
    }
}

/// The error for a response with a missing or unexpected upload status: the rejection inside it, or
/// a temporary failure.
fn unexpected(answer: &Answer) -> ApiError {
    refusal::in_success(&answer.headers, &answer.body)
        .unwrap_or_else(|| ApiError::transient("a response without the expected upload status"))
}

/// A header's value, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::Response;
    use proptest::prelude::*;
    use seam::transport::full;
    use serde_json::json;

    use super::*;
    use crate::{
        fake_transport::{
            FakeTransport, Reply, client, error_chain, interrupted, json as answer, reply,
        },
        fake_upload_server::{Fault, UPLOAD_URL, server},
    };

    /// Uploads `bytes` from a stream of pieces of size `piece`, in chunks of size `chunk`. Time
    /// skips the delays.
    fn send(
        fake: &std::sync::Arc<FakeTransport>,
        bytes: &[u8],
        piece: usize,
        chunk: usize,
    ) -> Result<File, UploadError> {
        let gemini = client(fake);
        let session = UploadSession::new(&gemini, UPLOAD_URL.parse().unwrap(), chunk);
        let pieces: Vec<_> = bytes
            .chunks(piece)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut buffer = UploadBuffer::new(stream::iter(pieces), bytes.len() as u64);
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        paused.unwrap().block_on(session.send_all(&mut buffer))
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|n| (n * 31 % 251) as u8).collect()
    }

    fn fault() -> impl Strategy<Value = Fault> {
        prop_oneof![
            Just(Fault::NeverSent),
            (0..20_usize).prop_map(Fault::Cut),
            Just(Fault::AnswerLost),
            Just(Fault::NoStatus),
            Just(Fault::Unavailable),
        ]
    }

    proptest! {
        #[test]
        fn the_file_is_the_same_whichever_chunks_fail(
            size in 0..200_usize,
            piece in 1..40_usize,
            granularity in 1..20_usize,
            multiple in 1..3_usize,
            // At most two attempts in a row fail.
            faults in proptest::collection::vec(proptest::option::of(fault()), 0..60),
        ) {
            let bytes = bytes(size);
            let mut in_a_row = 0;
            let (fake, upload) = server(size, granularity, move |chunk| {
                let fault = faults.get(chunk).copied().flatten().filter(|_| in_a_row < 2);
                in_a_row = if fault.is_some() { in_a_row + 1 } else { 0 };
                fault
            });
            let file = send(&fake, &bytes, piece, granularity * multiple).unwrap();
            let upload = upload.lock().unwrap();
            prop_assert_eq!(file.size_bytes, size as u64);
            prop_assert!(upload.finished);
            prop_assert!(upload.received == bytes);
        }
    }

    #[test]
    fn a_chunk_is_not_repeated_after_a_lost_response() {
        let (fake, upload) = server(10, 5, |chunk| (chunk == 0).then_some(Fault::AnswerLost));
        send(&fake, &bytes(10), 10, 5).unwrap();
        assert_eq!(upload.lock().unwrap().chunks, 2);
    }

    #[test]
    fn a_chunk_is_sent_three_times_at_most() {
        for fault in [Fault::NeverSent, Fault::Cut(1), Fault::Unavailable] {
            let (fake, upload) = server(50, 10, move |chunk| (chunk >= 1).then_some(fault));
            let error = send(&fake, &bytes(50), 10, 10).unwrap_err();
            assert!(
                matches!(error, UploadError::Api(ApiError::Transient { .. })),
                "{error:?}"
            );
            assert_eq!(
                upload.lock().unwrap().chunks,
                4,
                "one success, then three attempts"
            );
        }
    }

    #[test]
    fn an_upload_that_never_finishes_is_an_error() {
        // All bytes arrive, and the server still reports that the upload is open.
        let fake = FakeTransport::new(|request| {
            let received = if request.header(COMMAND) == Some("query") {
                "10"
            } else {
                "0"
            };
            status("active", received, "")
        });
        let error = send(&fake, &bytes(10), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Transient { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_rejected_chunk_is_not_repeated() {
        let refusal =
            json!({ "error": { "code": 400, "message": "Unsupported MIME type: jsonl" } });
        let with_status = status("final", "10", &refusal.to_string());
        for reply in [answer(400, &refusal), answer(200, &refusal), with_status] {
            let fake = FakeTransport::replies([reply]);
            let error = send(&fake, &bytes(10), 10, 10).unwrap_err();
            let UploadError::Api(ApiError::Invalid { message, .. }) = error else {
                panic!("{error:?}")
            };
            assert_eq!(message, "Unsupported MIME type: jsonl");
        }
    }

    #[test]
    fn an_end_without_a_file_is_malformed() {
        for body in ["", "{}", r#"{"file":{}}"#] {
            let error = send(
                &FakeTransport::replies([status("final", "10", body)]),
                &bytes(10),
                10,
                10,
            )
            .unwrap_err();
            assert!(
                matches!(error, UploadError::Api(ApiError::Malformed { .. })),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_wrong_count_of_received_bytes_is_an_error() {
        let open = || status("active", "", "");
        let too_much = FakeTransport::replies([open(), interrupted(), status("active", "21", "")]);
        let error = send(&too_much, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Malformed { .. })),
            "{error:?}"
        );
        let too_little = FakeTransport::replies([open(), interrupted(), status("active", "9", "")]);
        let error = send(&too_little, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Transient { .. })),
            "{error:?}"
        );
        let silent = FakeTransport::replies([open(), interrupted(), status("active", "", "")]);
        let error = send(&silent, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Malformed { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn no_error_contains_the_upload_url() {
        let message = format!("the upload {UPLOAD_URL} is gone");
        let body = json!({ "error": { "code": 404, "message": message } });
        for status in [400, 404, 410, 302] {
            let fake = FakeTransport::replies([answer(status, &body)]);
            let shown = error_chain(&send(&fake, &bytes(10), 10, 10).unwrap_err());
            assert!(!shown.contains("capability-77"), "{shown}");
        }
        let fake = FakeTransport::new(|_| reply(503, ""));
        let shown = error_chain(&send(&fake, &bytes(10), 10, 10).unwrap_err());
        assert!(!shown.contains("capability-77"), "{shown}");
    }

    fn status(status: &str, received: &str, body: &str) -> Reply {
        Ok(Response::builder()
            .header(STATUS, status)
            .header("x-goog-upload-size-received", received)
            .body(full(body.to_owned()))
            .unwrap())
    }
}
