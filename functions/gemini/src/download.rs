//! Download of a batch's results, from any offset.

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
    error::ApiError,
    exchange::{Call, in_time, refused},
    files::file_path,
};

/// Until the first byte: Google may have to fetch a file of gigabytes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest silence between two pieces of the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// All of it. No function lives longer than 15 minutes; on one machine, a slow line takes hours for
/// some gigabytes.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The bytes of a file, from an offset on.
pub struct Download {
    /// The offset of the first byte of `body`: the one that was asked for, or 0 where the server
    /// sends the whole file whatever it is asked for; then the caller skips.
    pub starts_at: u64,
    /// The bytes up to the end of the file. An error is the last item; a body that ends without one
    /// is complete.
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
    /// Downloads a file from `offset` on. That Google honors the offset is not documented: see
    /// [`Download::starts_at`].
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is no such file; others by their meaning. The body has
    /// errors of its own.
    pub async fn download(&self, file: &FileName, offset: u64) -> Result<Download, ApiError> {
        let path = format!("{}:download", file_path(file)?);
        match self.download_from(self.url(&path), offset).await {
            // Google's pages show another path than its SDKs use.
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
        self.open_twice(&call, offset).await
    }

    /// Opens an answer from `offset` on; once more, at once, if the first time was interrupted.
    pub(super) async fn open_twice(&self, call: &Call, offset: u64) -> Result<Download, ApiError> {
        match self.open(call, offset).await {
            Err(ApiError::Transient { .. }) => self.open(call, offset).await,
            outcome => outcome,
        }
    }

    async fn open(&self, call: &Call, offset: u64) -> Result<Download, ApiError> {
        let exchange = self.with_key(call, async |key| {
            let response = self.respond(call, key).await?;
            if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
                && encoding != "identity"
            {
                return Err(ApiError::malformed(
                    "a download in an encoding that was not asked for",
                ));
            }
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
                    "a download of another part than was asked for",
                )),
                // Asked for what follows the last byte: nothing does.
                (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange::Length(length)))
                    if length == offset =>
                {
                    Ok(Download {
                        starts_at: offset,
                        body: stream::empty().boxed(),
                    })
                }
                _ => Err(refused(response, key).await),
            }
        });
        in_time(HEAD_TIMEOUT, exchange).await
    }
}

/// `bytes 5-9/10`, or `bytes */10` where the range is outside of the file.
enum ContentRange {
    From(u64),
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

fn body(response: Response<Body>) -> BoxStream<'static, Result<Bytes, ApiError>> {
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let rest = Rest {
        bytes: BodyDataStream::new(response.into_body()),
        missing: announced.unwrap_or(0),
        until: Instant::now() + DOWNLOAD_TIMEOUT,
    };
    stream::unfold(Some(rest), |rest| async { rest?.next().await }).boxed()
}

/// What is still to come of a download.
struct Rest {
    bytes: BodyDataStream<Body>,
    /// How many bytes are missing of those that were announced.
    missing: u64,
    until: Instant,
}

impl Rest {
    /// The next piece and what follows; nothing follows an error.
    async fn next(mut self) -> Option<(Result<Bytes, ApiError>, Option<Self>)> {
        let until = self.until.min(Instant::now() + IDLE_TIMEOUT);
        let error = match timeout_at(until, self.bytes.next()).await {
            Ok(Some(Ok(piece))) => {
                self.missing = self.missing.saturating_sub(piece.len() as u64);
                return Some((Ok(piece), Some(self)));
            }
            Ok(None) if self.missing == 0 => return None,
            // HTTP itself looks after its lengths; a stand-in that is mounted in process may not,
            // and a file that ends early looks like one with results missing.
            Ok(None) => ApiError::transient("the download ended early"),
            Ok(Some(Err(error))) => ApiError::broken_off(error),
            Err(_) => ApiError::transient("the download stands still"),
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
    use crate::script::{Reply, Script, client, interrupted, json as answer, never_sent, reply};

    const PATH: &str = "GET /v1beta/files/batch-1:download?alt=media";
    const OTHER_PATH: &str = "GET /download/v1beta/files/batch-1:download?alt=media";

    fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
        if let Ok(response) = &mut reply {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        reply
    }

    /// A 200 whose body is these pieces, and then, where `silent`, nothing at all.
    fn pieces(pieces: Vec<Result<&'static str, BoxError>>, silent: bool) -> Reply {
        let pieces = stream::iter(pieces).map(|piece| {
            piece.map(|piece| http_body::Frame::data(Bytes::from_static(piece.as_bytes())))
        });
        let tail = if silent {
            stream::pending().left_stream()
        } else {
            stream::empty().right_stream()
        };
        Ok(Response::new(Body::new(StreamBody::new(
            pieces.chain(tail),
        ))))
    }

    async fn download(script: &std::sync::Arc<Script>, offset: u64) -> Result<Download, ApiError> {
        client(script)
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
    async fn whole_file_is_asked_for_without_a_range() {
        let script = Script::replies([reply(200, "0123456789")]);
        let file = download(&script, 0).await.unwrap();
        assert_eq!(file.starts_at, 0);
        assert_eq!(bytes(file).await.unwrap(), b"0123456789");
        let [request] = &script.seen()[..] else {
            panic!("{:?}", script.lines())
        };
        assert_eq!(request.line(), PATH);
        assert_eq!(
            (request.header("range"), request.header("accept-encoding")),
            (None, Some("identity"))
        );
    }

    #[tokio::test]
    async fn part_begins_where_it_was_asked_to() {
        let script = Script::replies([with(reply(206, "56789"), "content-range", "bytes 5-9/10")]);
        let file = download(&script, 5).await.unwrap();
        assert_eq!(script.seen()[0].header("range"), Some("bytes=5-"));
        assert_eq!(file.starts_at, 5);
        assert_eq!(bytes(file).await.unwrap(), b"56789");
    }

    #[tokio::test]
    async fn server_without_ranges_sends_the_file_from_its_start() {
        let script = Script::replies([reply(200, "0123456789")]);
        assert_eq!(download(&script, 5).await.unwrap().starts_at, 0);
    }

    #[tokio::test]
    async fn part_that_was_not_asked_for_is_malformed() {
        for range in ["bytes 4-9/10", "bytes x-9/10", "5-9/10", ""] {
            let script = Script::replies([with(reply(206, "56789"), "content-range", range)]);
            let file = download(&script, 5).await;
            assert!(
                matches!(file, Err(ApiError::Malformed { .. })),
                "{range}: {file:?}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_follows_the_last_byte() {
        let end = || with(reply(416, ""), "content-range", "bytes */10");
        let file = download(&Script::replies([end()]), 10).await.unwrap();
        assert_eq!(file.starts_at, 10);
        assert_eq!(bytes(file).await.unwrap(), b"");
        let file = download(&Script::replies([end()]), 11).await;
        assert!(matches!(file, Err(ApiError::Invalid { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn compressed_file_is_malformed() {
        let script = Script::replies([with(reply(200, "x"), "content-encoding", "gzip")]);
        let file = download(&script, 0).await;
        assert!(matches!(file, Err(ApiError::Malformed { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn other_path_is_tried_once_when_the_first_is_not_there() {
        let script = Script::replies([answer(404, &json!({})), reply(200, "0")]);
        assert_eq!(
            bytes(download(&script, 0).await.unwrap()).await.unwrap(),
            b"0"
        );
        assert_eq!(script.lines(), [PATH, OTHER_PATH]);
        let script = Script::replies([answer(404, &json!({})), answer(404, &json!({}))]);
        let file = download(&script, 0).await;
        assert!(matches!(file, Err(ApiError::NotFound { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn interrupted_start_is_repeated_once() {
        for first in [interrupted(), never_sent(), answer(503, &json!({}))] {
            let script = Script::replies([first, reply(200, "0")]);
            download(&script, 0).await.unwrap();
            assert_eq!(script.lines(), [PATH, PATH]);
        }
    }

    #[tokio::test]
    async fn refused_start_is_not_repeated() {
        for status in [302, 400, 403, 429] {
            let script = Script::replies([answer(status, &json!({}))]);
            download(&script, 0).await.unwrap_err();
            assert_eq!(script.lines(), [PATH]);
        }
    }

    #[tokio::test]
    async fn body_that_breaks_off_ends_with_an_error() {
        let broken = || pieces(vec![Ok("01"), Err("reset".into()), Ok("never read")], false);
        let short = || with(pieces(vec![Ok("01")], false), "content-length", "10");
        for reply in [broken(), short()] {
            let mut body = download(&Script::replies([reply]), 0).await.unwrap().body;
            assert_eq!(body.next().await.unwrap().unwrap(), "01");
            let error = body.next().await.unwrap().unwrap_err();
            assert!(matches!(error, ApiError::Transient { .. }), "{error:?}");
            assert!(body.next().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_stands_still_ends_with_an_error() {
        let script = Script::replies([pieces(vec![Ok("01")], true)]);
        let mut body = download(&script, 0).await.unwrap().body;
        assert_eq!(body.next().await.unwrap().unwrap(), "01");
        let error = body.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ApiError::Transient { .. }), "{error:?}");
    }
}
