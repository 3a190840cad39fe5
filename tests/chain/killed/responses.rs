//! A responses file on disk that is served as Gemini does it, to readers that are killed at a given
//! byte.

use std::{
    fs::File,
    io::{BufWriter, Write},
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use base64_simd::STANDARD;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE},
};
use http_body::Frame;
use http_body_util::StreamBody;
use seam::transport::{Body, BoxError, BoxFuture, Transport, TransportError};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The size of the pieces in which the file is sent, in bytes.
pub(super) const PIECE_BYTES: u64 = 64 * 1024;

/// A responses file, and the offset at which its reader is killed.
pub(super) struct Responses {
    file: File,
    length: u64,
    /// The offset of the end of each line.
    ends: Vec<u64>,
    kill_at: AtomicU64,
    reached: Notify,
    honors_range: AtomicBool,
}

impl Responses {
    /// Creates a file with a line for each key. One line in 16 is an error, and one in 32 is
    /// repeated. An image is the header of a PNG and noise.
    pub(super) fn make(keys: &[String], image_bytes: Range<usize>, seed: u64) -> Arc<Self> {
        let mut random = Rng::with_seed(seed);
        let file = tempfile::tempfile().unwrap();
        let mut out = BufWriter::new(&file);
        let (mut length, mut ends) = (0, Vec::new());
        for key in keys {
            let line = if random.u8(..16) == 0 {
                json!({ "key": key, "error": { "code": 13, "message": "internal" } })
            } else {
                image_line(key, &mut random, image_bytes.clone())
            };
            let text = format!("{line}\n");
            for _ in 0..if random.u8(..32) == 0 { 2 } else { 1 } {
                out.write_all(text.as_bytes()).unwrap();
                length += text.len() as u64;
                ends.push(length);
            }
        }
        out.flush().unwrap();
        drop(out);
        let (kill_at, honors_range) = (AtomicU64::new(u64::MAX), AtomicBool::new(true));
        Arc::new(Self {
            file,
            length,
            ends,
            kill_at,
            reached: Notify::new(),
            honors_range,
        })
    }

    /// Returns its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the offset of the end of each line, in order.
    pub(super) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// Sends nothing from `offset` on to readers that begin before it.
    pub(super) fn stop_at(&self, offset: u64) {
        self.kill_at.store(offset, Ordering::Relaxed);
    }

    /// Sets whether a download may begin elsewhere than at the start.
    pub(super) fn honor_range(&self, honors: bool) {
        self.honors_range.store(honors, Ordering::Relaxed);
    }

    /// Waits until a reader has received all bytes before the offset at which nothing more is sent.
    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }

    async fn piece(self: Arc<Self>, at: u64) -> Option<(Result<Frame<Bytes>, BoxError>, u64)> {
        let stop = self.kill_at.load(Ordering::Relaxed);
        if at == stop {
            self.reached.notify_one();
            return std::future::pending().await;
        }
        let until = self.length.min(at + PIECE_BYTES);
        let until = if at < stop { until.min(stop) } else { until };
        let mut piece = vec![
            0;
            usize::try_from(until - at)
                .ok()
                .filter(|length| *length > 0)?
        ];
        let read = self
            .file
            .read_exact_at(&mut piece, at)
            .map(|()| Frame::data(Bytes::from(piece)));
        Some((read.map_err(Into::into), until))
    }
}

/// Returns a line with an image, as Gemini writes it.
fn image_line(key: &str, random: &mut Rng, image_bytes: Range<usize>) -> Value {
    let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x04\0\x08\x02\0\0\0";
    let mut image = vec![0; random.usize(image_bytes)];
    random.fill(&mut image);
    image[..header.len()].copy_from_slice(header);
    let part = json!({ "inlineData": { "mimeType": "image/png", "data": STANDARD.encode_to_string(&image) } });
    let candidate = json!({ "content": { "parts": [part], "role": "model" }, "finishReason": "STOP", "index": 0 });
    json!({ "key": key, "response": { "candidates": [candidate] } })
}

/// A Gemini whose only file is the responses file.
#[derive(Clone)]
pub(super) struct Served(pub(super) Arc<Responses>);

impl Transport for Served {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let range = request
            .headers()
            .get(RANGE)
            .and_then(|range| range.to_str().ok());
        let start = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        let responses = Arc::clone(&self.0);
        let honors = responses.honors_range.load(Ordering::Relaxed);
        let start: u64 = start.filter(|_| honors).unwrap_or(0);
        let length = responses.length;
        Box::pin(async move {
            let pieces = stream::unfold(start, move |at| Arc::clone(&responses).piece(at));
            let mut response = Response::new(Body::new(StreamBody::new(pieces)));
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length - start));
            if start > 0 {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {start}-{}/{length}", length - 1);
                response
                    .headers_mut()
                    .insert(CONTENT_RANGE, HeaderValue::from_str(&range).unwrap());
            }
            Ok(response)
        })
    }
}
