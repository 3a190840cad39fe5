//! The download of a batch's results, from any offset.

use std::{fmt, time::Duration};

use bytes::Bytes;
use darkroom::names::FileName;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{
    HeaderMap, Method, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE},
};
use http_body_util::BodyDataStream;
use seam::transport::Body;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    Gemini,
    call::{Call, refusal_of, with_timeout},
    error::ApiError,
    files::file_path,
};

/// How long the head of a response may take. Google may have to fetch a file of gigabytes first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a body may pause between two pieces.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a whole download may take. A function ends after 15 minutes anyway; on one machine,
/// some gigabytes take hours over a slow connection.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The bytes of a file, from an offset to its end.
pub struct Download {
    /// The offset of the first byte of `body`: the requested one, or 0 if the server ignores the
    /// request for a range. In that case the caller skips the bytes before its offset.
    pub starts_at: u64,
    /// The bytes up to the end of the file. An error is the last item. A body that ends without an
    /// error is complete.
    pub body: BoxStream<'static, Result<Bytes, ApiError>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("starts_at", &self.starts_at)
            .finish_non_exhaustive()
    }
}

impl Gemini {
    /// Downloads a file from `offset` to its end. Google does not document whether it honors the
    /// offset; see [`Download::starts_at`].
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is no such file, and the other [`ApiError`]s. The body can
    /// end with an error too.
    pub async fn download(&self, file: &FileName, offset: u64) -> Result<Download, ApiError> {
        let path = format!("{}:download", file_path(file)?);
        match self.download_from(self.url(&path), offset).await {
            // The path in Google's documentation differs from the one that its SDKs use.
            Err(ApiError::NotFound { .. }) => {
                self.download_from(self.url_under("/download", &path), offset)
                    .await
            }
            outcome => outcome,
        }
    }

    async fn download_from(&self, mut url: Url, offset: u64) -> Result<Download, ApiError> {
        url.query_pairs_mut().append_pair("alt", "media");
        let mut call = Call::new(Method::GET, url).header("accept-encoding", "identity")?;
        if offset > 0 {
            call = call.header("range", &format!("bytes={offset}-"))?;
        }
        self.open_with_retry(&call, offset).await
    }

    /// Starts a download at `offset`, and repeats the call once, without a pause, if it fails
    /// temporarily.
    pub(super) async fn open_with_retry(
        &self,
        call: &Call,
        offset: u64,
    ) -> Result<Download, ApiError> {
        match self.open(call, offset).await {
            Err(ApiError::Transient { .. }) => self.open(call, offset).await,
            outcome => outcome,
        }
    }

    /// Sends the call and checks that the response starts at `offset` or at the start of the file.
    async fn open(&self, call: &Call, offset: u64) -> Result<Download, ApiError> {
        let exchange = self.with_key(call, async |key| {
            let request = call.request(key)?;
            let response = self.downloads.send(request).await?;
            // Offsets count the bytes of the file itself, and this client decompresses nothing.
            if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
                && encoding != "identity"
            {
                return Err(ApiError::malformed(
                    "a download in an encoding that was not requested",
                ));
            }
            // The range in the response is authoritative: a wrong one would put bytes in the wrong
            // place.
            let range = ContentRange::of(response.headers());
            match (response.status(), range) {
                (StatusCode::OK, _) => Ok(Download {
                    starts_at: 0,
                    body: body(response),
                }),
                (StatusCode::PARTIAL_CONTENT, Some(ContentRange::From(start)))
                    if start == offset =>
                {
                    Ok(Download {
                        starts_at: offset,
                        body: body(response),
                    })
                }
                (StatusCode::PARTIAL_CONTENT, _) => Err(ApiError::malformed(
                    "a download of another range than requested",
                )),
                // The offset is the end of the file: the file is complete already.
                (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange::Length(length)))
                    if length == offset =>
                {
                    Ok(Download {
                        starts_at: offset,
                        body: stream::empty().boxed(),
                    })
                }
                _ => Err(refusal_of(response, key).await),
            }
        });
        with_timeout(HEAD_TIMEOUT, exchange).await
    }
}

/// The header `content-range`: `bytes 5-9/10`, or `bytes */10` for a range outside of the file.
enum ContentRange {
    /// The offset of the first byte of the body.
    From(u64),
    /// The length of the file, which contains no such range.
    Length(u64),
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
        match range.split_once('-') {
            Some((start, _)) => start.parse().ok().map(Self::From),
            None => length
                .parse()
                .ok()
                .filter(|_| range == "*")
                .map(Self::Length),
        }
    }
}

/// The body of a response, with its time limits and a check of its length.
fn body(response: Response<Body>) -> BoxStream<'static, Result<Bytes, ApiError>> {
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let remainder = Remainder {
        bytes: BodyDataStream::new(response.into_body()),
        missing: announced.unwrap_or(0),
        deadline: Instant::now() + DOWNLOAD_TIMEOUT,
    };
    stream::unfold(Some(remainder), |remainder| async {
        remainder?.next().await
    })
    .boxed()
}

/// The part of a download that has not been read.
struct Remainder {
    bytes: BodyDataStream<Body>,
    /// The number of announced bytes that have not arrived.
    missing: u64,
    /// The end of the whole download's time.
    deadline: Instant,
}

impl Remainder {
    /// Returns the next piece and the remainder after it. There is no remainder after an error.
    async fn next(mut self) -> Option<(Result<Bytes, ApiError>, Option<Self>)> {
        let deadline = self.deadline.min(Instant::now() + IDLE_TIMEOUT);
        let error = match timeout_at(deadline, self.bytes.next()).await {
            Ok(Some(Ok(piece))) => {
                self.missing = self.missing.saturating_sub(piece.len() as u64);
                return Some((Ok(piece), Some(self)));
            }
            Ok(None) if self.missing == 0 => return None,
            // An HTTP client checks the length itself. A stand-in that is called in process may
            // not, and a file that ends early looks like one whose last results are missing.
            Ok(None) => ApiError::transient("the download ended early"),
            Ok(Some(Err(error))) => ApiError::body_interrupted(error),
            Err(_) => ApiError::transient("the download stalled"),
        };
        Some((Err(error), None))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use http_body_util::StreamBody;
    use seam::transport::BoxError;
    use serde_json::json;

    use super::*;
    use crate::fake_transport::{
        FakeTransport, Reply, client, interrupted, json as answer, never_sent, reply,
    };

    const PATH: &str = "GET /v1beta/files/batch-1:download?alt=media";
    const OTHER_PATH: &str = "GET /download/v1beta/files/batch-1:download?alt=media";

    fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
        if let Ok(response) = &mut reply {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        reply
    }

    /// A response with status 200 whose body is these pieces, and then, if `stalls`, never ends.
    fn pieces(pieces: Vec<Result<&'static str, BoxError>>, stalls: bool) -> Reply {
        let pieces = stream::iter(pieces).map(|piece| {
            piece.map(|piece| http_body::Frame::data(Bytes::from_static(piece.as_bytes())))
        });
        let tail = if stalls {
            stream::pending().left_stream()
        } else {
            stream::empty().right_stream()
        };
        Ok(Response::new(Body::new(StreamBody::new(
            pieces.chain(tail),
        ))))
    }

    async fn download(
        fake: &std::sync::Arc<FakeTransport>,
        offset: u64,
    ) -> Result<Download, ApiError> {
        client(fake)
            .download(&FileName::new("files/batch-1"), offset)
            .await
    }

    async fn bytes(download: Download) -> Result<Vec<u8>, ApiError> {
        download
            .body
            .try_collect::<Vec<_>>()
            .await
            .map(|pieces| pieces.concat())
    }

    #[tokio::test]
    async fn a_whole_file_is_requested_without_a_range() {
        let fake = FakeTransport::replies([reply(200, "0123456789")]);
        let file = download(&fake, 0).await.unwrap();
        assert_eq!(file.starts_at, 0);
        assert_eq!(bytes(file).await.unwrap(), b"0123456789");
        let [request] = &fake.requests()[..] else {
            panic!("{:?}", fake.lines())
        };
        assert_eq!(request.line(), PATH);
        assert_eq!(
            (request.header("range"), request.header("accept-encoding")),
            (None, Some("identity"))
        );
    }

    #[tokio::test]
    async fn a_range_starts_at_the_requested_offset() {
        let fake =
            FakeTransport::replies([with(reply(206, "56789"), "content-range", "bytes 5-9/10")]);
        let file = download(&fake, 5).await.unwrap();
        assert_eq!(fake.requests()[0].header("range"), Some("bytes=5-"));
        assert_eq!(file.starts_at, 5);
        assert_eq!(bytes(file).await.unwrap(), b"56789");
    }

    #[tokio::test]
    async fn a_server_without_ranges_sends_the_whole_file() {
        let fake = FakeTransport::replies([reply(200, "0123456789")]);
        assert_eq!(download(&fake, 5).await.unwrap().starts_at, 0);
    }

    #[tokio::test]
    async fn a_range_that_was_not_requested_is_malformed() {
        for range in ["bytes 4-9/10", "bytes x-9/10", "5-9/10", ""] {
            let fake = FakeTransport::replies([with(reply(206, "56789"), "content-range", range)]);
            let file = download(&fake, 5).await;
            assert!(
                matches!(file, Err(ApiError::Malformed { .. })),
                "{range}: {file:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_offset_at_the_end_of_the_file_is_an_empty_body() {
        let end = || with(reply(416, ""), "content-range", "bytes */10");
        let file = download(&FakeTransport::replies([end()]), 10)
            .await
            .unwrap();
        assert_eq!(file.starts_at, 10);
        assert_eq!(bytes(file).await.unwrap(), b"");
        let file = download(&FakeTransport::replies([end()]), 11).await;
        assert!(matches!(file, Err(ApiError::Invalid { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn a_compressed_file_is_malformed() {
        let fake = FakeTransport::replies([with(reply(200, "x"), "content-encoding", "gzip")]);
        let file = download(&fake, 0).await;
        assert!(matches!(file, Err(ApiError::Malformed { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn the_other_path_is_tried_once_after_not_found() {
        let fake = FakeTransport::replies([answer(404, &json!({})), reply(200, "0")]);
        assert_eq!(
            bytes(download(&fake, 0).await.unwrap()).await.unwrap(),
            b"0"
        );
        assert_eq!(fake.lines(), [PATH, OTHER_PATH]);
        let fake = FakeTransport::replies([answer(404, &json!({})), answer(404, &json!({}))]);
        let file = download(&fake, 0).await;
        assert!(matches!(file, Err(ApiError::NotFound { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn an_interrupted_start_is_repeated_once() {
        for first in [interrupted(), never_sent(), answer(503, &json!({}))] {
            let fake = FakeTransport::replies([first, reply(200, "0")]);
            download(&fake, 0).await.unwrap();
            assert_eq!(fake.lines(), [PATH, PATH]);
        }
    }

    #[tokio::test]
    async fn a_rejected_start_is_not_repeated() {
        for status in [302, 400, 403, 429] {
            let fake = FakeTransport::replies([answer(status, &json!({}))]);
            download(&fake, 0).await.unwrap_err();
            assert_eq!(fake.lines(), [PATH]);
        }
    }

    #[tokio::test]
    async fn an_incomplete_body_ends_with_an_error() {
        let broken = || pieces(vec![Ok("01"), Err("reset".into()), Ok("never read")], false);
        let short = || with(pieces(vec![Ok("01")], false), "content-length", "10");
        for reply in [broken(), short()] {
            let mut body = download(&FakeTransport::replies([reply]), 0)
                .await
                .unwrap()
                .body;
            assert_eq!(body.next().await.unwrap().unwrap(), "01");
            let error = body.next().await.unwrap().unwrap_err();
            assert!(matches!(error, ApiError::Transient { .. }), "{error:?}");
            assert!(body.next().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_ends_with_an_error() {
        let fake = FakeTransport::replies([pieces(vec![Ok("01")], true)]);
        let mut body = download(&fake, 0).await.unwrap().body;
        assert_eq!(body.next().await.unwrap().unwrap(), "01");
        let error = body.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ApiError::Transient { .. }), "{error:?}");
    }
}
