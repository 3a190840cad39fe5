//! An open upload: chunks to its URL, until the file is there.
//!
//! A chunk without an answer is not lost: the server is asked how much it has, and the upload goes
//! on from there. The upload's URL is a capability, as whoever has it can write the file: no error
//! shows it.

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
    error::{ApiError, UploadError},
    exchange::{Answer, Call},
    file::{File, WireFile},
    refusal,
    window::Window,
};

/// A chunk of 8 MiB passes at 70 KB/s within this time.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a chunk is sent, as in Google's SDKs.
const CHUNK_TRIES: u32 = 3;
/// The wait before a second try; before the third it is twice as long. Enough for a connection that
/// blinked. What takes longer is for the caller's queue to wait for.
const PAUSE: Duration = Duration::from_millis(250);

/// The header that says what a request of an upload is.
pub(super) const COMMAND: &str = "x-goog-upload-command";
const OFFSET: &str = "x-goog-upload-offset";
const STATUS: &str = "x-goog-upload-status";

/// An open upload. There is no `Debug`: the URL must not be shown.
pub(super) struct Session<'a> {
    gemini: &'a Gemini,
    url: Url,
    chunk: usize,
}

/// How far the server is.
enum Progress {
    /// It has all bytes before this offset.
    Received(u64),
    /// It has all bytes, and made the file.
    Finished(File),
}

impl<'a> Session<'a> {
    /// An upload to `url`, in chunks of `chunk` bytes.
    pub(super) fn new(gemini: &'a Gemini, url: Url, chunk: usize) -> Self {
        Self { gemini, url, chunk }
    }

    /// Sends all that is in the window and behind it.
    pub(super) async fn send_all<S, E>(&self, window: &mut Window<S>) -> Result<File, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BoxError> + Send,
    {
        let mut failures = 0;
        loop {
            window.fill(self.chunk).await?;
            let (start, end) = (window.offset(), window.end());
            let progress = match self.send(start, window.held(), window.is_last()).await {
                Err(ApiError::Transient { .. }) if failures + 1 < CHUNK_TRIES => {
                    failures += 1;
                    sleep(PAUSE * failures).await;
                    self.query().await?
                }
                outcome => outcome?,
            };
            match progress {
                Progress::Finished(file) => return Ok(file),
                Progress::Received(received) => {
                    window.advance_to(received)?;
                    // The next chunk has its own tries. (The last one may be all there and still
                    // not finished.)
                    if received == end && end > start {
                        failures = 0;
                    }
                }
            }
        }
    }

    async fn send(&self, offset: u64, bytes: Bytes, last: bool) -> Result<Progress, ApiError> {
        let end = offset + bytes.len() as u64;
        let command = if last { "upload, finalize" } else { "upload" };
        let call = self
            .call(command)?
            .header(OFFSET, &offset.to_string())?
            .body(bytes);
        let answer = self.gemini.once(&call, CHUNK_TIMEOUT).await?;
        match (text(&answer.headers, STATUS), last) {
            (Some("final"), true) => Ok(Progress::Finished(finished(&answer)?)),
            (Some("active"), false) => Ok(Progress::Received(end)),
            _ => Err(unexpected(&answer)),
        }
    }

    /// Asks how far the server is, after a chunk without an answer.
    async fn query(&self) -> Result<Progress, ApiError> {
        let answer = self
            .gemini
            .again(&self.call("query")?, CALL_TIMEOUT)
            .await?;
        match text(&answer.headers, STATUS) {
            Some("final") => Ok(Progress::Finished(finished(&answer)?)),
            Some("active") => text(&answer.headers, "x-goog-upload-size-received")
                .and_then(|received| received.parse().ok())
                .map(Progress::Received)
                .ok_or_else(|| ApiError::malformed("an open upload that does not say what it has")),
            _ => Err(unexpected(&answer)),
        }
    }

    /// The upload's URL is all the right it takes: the API key stays here.
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

/// The file at the end of an upload.
fn finished(answer: &Answer) -> Result<File, ApiError> {
    match answer.json::<Finished>() {
        Ok(finished) => finished.file.try_into(),
        Err(error) => Err(refusal::hidden(&answer.headers, &answer.body).unwrap_or(error)),
    }
}

/// An answer whose upload status is missing or does not fit: a refusal inside of it, or else no
/// answer to rely on.
fn unexpected(answer: &Answer) -> ApiError {
    refusal::hidden(&answer.headers, &answer.body).unwrap_or_else(|| {
        ApiError::transient("an answer without the upload status that was expected")
    })
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
        script::{Reply, Script, client, interrupted, json as answer, reply, shown},
        upload_server::{Fault, UPLOAD_URL, server},
    };

    /// Uploads `bytes` in pieces of `piece` and chunks of `chunk`. Time jumps over the pauses.
    fn send(
        script: &std::sync::Arc<Script>,
        bytes: &[u8],
        piece: usize,
        chunk: usize,
    ) -> Result<File, UploadError> {
        let gemini = client(script);
        let session = Session::new(&gemini, UPLOAD_URL.parse().unwrap(), chunk);
        let pieces: Vec<_> = bytes
            .chunks(piece)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut window = Window::new(stream::iter(pieces), bytes.len() as u64);
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        paused.unwrap().block_on(session.send_all(&mut window))
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
        fn file_is_the_same_whichever_chunks_fail(
            size in 0..200_usize,
            piece in 1..40_usize,
            granularity in 1..20_usize,
            multiple in 1..3_usize,
            // Two tries of three may fail, so the third of each group never does.
            faults in proptest::collection::vec(proptest::option::of(fault()), 0..60),
        ) {
            let bytes = bytes(size);
            let mut in_a_row = 0;
            let (script, upload) = server(size, granularity, move |chunk| {
                let fault = faults.get(chunk).copied().flatten().filter(|_| in_a_row < 2);
                in_a_row = if fault.is_some() { in_a_row + 1 } else { 0 };
                fault
            });
            let file = send(&script, &bytes, piece, granularity * multiple).unwrap();
            let upload = upload.lock().unwrap();
            prop_assert_eq!(file.size_bytes, size as u64);
            prop_assert!(upload.finished);
            prop_assert!(upload.received == bytes);
        }
    }

    #[test]
    fn lost_answer_does_not_send_the_chunk_again() {
        let (script, upload) = server(10, 5, |chunk| (chunk == 0).then_some(Fault::AnswerLost));
        send(&script, &bytes(10), 10, 5).unwrap();
        assert_eq!(upload.lock().unwrap().chunks, 2);
    }

    #[test]
    fn chunk_is_sent_three_times_and_no_more() {
        for fault in [Fault::NeverSent, Fault::Cut(1), Fault::Unavailable] {
            let (script, upload) = server(50, 10, move |chunk| (chunk >= 1).then_some(fault));
            let error = send(&script, &bytes(50), 10, 10).unwrap_err();
            assert!(
                matches!(error, UploadError::Api(ApiError::Transient { .. })),
                "{error:?}"
            );
            assert_eq!(
                upload.lock().unwrap().chunks,
                4,
                "one that went well, then three"
            );
        }
    }

    #[test]
    fn end_that_never_comes_is_an_error() {
        // All bytes arrive, and the server goes on to say that the upload is open.
        let script = Script::new(|seen| {
            let received = if seen.header(COMMAND) == Some("query") {
                "10"
            } else {
                "0"
            };
            status("active", received, "")
        });
        let error = send(&script, &bytes(10), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Transient { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn refusal_of_a_chunk_is_final() {
        let refusal =
            json!({ "error": { "code": 400, "message": "Unsupported MIME type: jsonl" } });
        let with_status = status("final", "10", &refusal.to_string());
        for reply in [answer(400, &refusal), answer(200, &refusal), with_status] {
            let script = Script::replies([reply]);
            let error = send(&script, &bytes(10), 10, 10).unwrap_err();
            let UploadError::Api(ApiError::Invalid { message, .. }) = error else {
                panic!("{error:?}")
            };
            assert_eq!(message, "Unsupported MIME type: jsonl");
        }
    }

    #[test]
    fn end_without_a_file_is_malformed() {
        for body in ["", "{}", r#"{"file":{}}"#] {
            let error = send(
                &Script::replies([status("final", "10", body)]),
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
    fn server_that_counts_wrongly_is_not_followed() {
        let open = || status("active", "", "");
        let too_much = Script::replies([open(), interrupted(), status("active", "21", "")]);
        let error = send(&too_much, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Malformed { .. })),
            "{error:?}"
        );
        let too_little = Script::replies([open(), interrupted(), status("active", "9", "")]);
        let error = send(&too_little, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Transient { .. })),
            "{error:?}"
        );
        let silent = Script::replies([open(), interrupted(), status("active", "", "")]);
        let error = send(&silent, &bytes(30), 10, 10).unwrap_err();
        assert!(
            matches!(error, UploadError::Api(ApiError::Malformed { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn upload_url_shows_in_no_error() {
        let message = format!("the upload {UPLOAD_URL} is gone");
        let body = json!({ "error": { "code": 404, "message": message } });
        for status in [400, 404, 410, 302] {
            let script = Script::replies([answer(status, &body)]);
            let shown = shown(&send(&script, &bytes(10), 10, 10).unwrap_err());
            assert!(!shown.contains("capability-77"), "{shown}");
        }
        let script = Script::new(|_| reply(503, ""));
        let shown = shown(&send(&script, &bytes(10), 10, 10).unwrap_err());
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
