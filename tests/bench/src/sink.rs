//! The stand-in for S3: images are compared with the dataset's list and discarded. All other calls
//! go to the stand-ins of the product.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64_simd::STANDARD;
use crc_fast::{CrcAlgorithm::Crc32IsoHdlc, Digest};
use http::{Method, Request, Response, StatusCode, header::CONTENT_ENCODING, header::ETAG};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxError, BoxFuture, Transport, TransportError, empty};
use serde::Serialize;

use crate::{aws_chunked::AwsChunked, dataset::Expected};

/// The checksum that a client may send before the body.
const CHECKSUM: &str = "x-amz-checksum-crc32";

/// The extensions of the names of images. A collector may choose either, because the name is
/// compared without it.
const EXTENSIONS: [&str; 2] = [".png", ".jpg"];

/// Responds to every `PUT` of an object whose name ends in one of [`EXTENSIONS`], and forwards all
/// other requests.
pub(crate) struct Sink {
    others: Arc<dyn Transport>,
    run: Mutex<Run>,
}

/// What one collector has stored so far.
#[derive(Default)]
struct Run {
    /// The images by request key.
    expected: HashMap<String, Expected>,
    stored: HashSet<String>,
    tally: Tally,
}

/// How a collector handled a dataset. It is correct if `stored` equals `images` and all else is
/// zero.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// The number of images in the dataset.
    pub(crate) images: usize,
    /// The images that were stored with the right bytes.
    pub(crate) stored: usize,
    /// The images that were stored with other bytes or with a wrong checksum.
    pub(crate) wrong: usize,
    /// The images that were stored for an unknown key.
    pub(crate) unknown: usize,
    /// The images that were stored again.
    pub(crate) repeated: usize,
}

impl Sink {
    /// Creates a sink that expects no images and forwards other requests to `others`.
    pub(crate) fn new(others: Arc<dyn Transport>) -> Self {
        Self {
            others,
            run: Mutex::default(),
        }
    }

    /// Resets the tally and expects these images.
    pub(crate) fn expect(&self, images: Vec<Expected>) {
        let tally = Tally {
            images: images.len(),
            ..Tally::default()
        };
        let expected = images
            .into_iter()
            .map(|image| (image.key.clone(), image))
            .collect();
        *self.run() = Run {
            expected,
            stored: HashSet::new(),
            tally,
        };
    }

    /// Returns what was stored since.
    pub(crate) fn tally(&self) -> Tally {
        self.run().tally.clone()
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        // Every change leaves a consistent state, so a panic elsewhere can't have broken it.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a whole image. Returns the status of the response.
    async fn take(&self, request: Request<Body>) -> Result<StatusCode, BoxError> {
        let (head, mut body) = request.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING);
        let mut chunked = encoding
            .is_some_and(|value| value == "aws-chunked")
            .then(AwsChunked::new);
        let (mut digest, mut length) = (Digest::new(Crc32IsoHdlc), 0);
        let mut see = |bytes: &[u8]| {
            digest.update(bytes);
            length += bytes.len() as u64;
        };
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                match &mut chunked {
                    Some(chunked) => chunked.feed(&bytes, &mut see)?,
                    None => see(&bytes),
                }
            }
        }
        let crc32 = digest.finalize() as u32;
        let announced = head.headers.get(CHECKSUM);
        let as_announced =
            announced.is_none_or(|sum| *sum == STANDARD.encode_to_string(crc32.to_be_bytes()));
        let whole = as_announced && chunked.is_none_or(|chunked| chunked.is_complete());
        let key = image_key(head.uri.path()).unwrap_or_default();
        Ok(self.run().see(key, length, crc32, whole))
    }
}

/// Returns the request key of the image at `path`, or `None` if the object is not an image.
fn image_key(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    EXTENSIONS
        .iter()
        .find_map(|extension| name.strip_suffix(*extension))
}

impl Run {
    fn see(&mut self, key: &str, bytes: u64, crc32: u32, whole: bool) -> StatusCode {
        match self.expected.get(key) {
            None => self.tally.unknown += 1,
            Some(image) if !whole || image.bytes != bytes || image.crc32 != crc32 => {
                self.tally.wrong += 1
            }
            Some(_) if self.stored.insert(key.to_owned()) => {
                self.tally.stored += 1;
                return StatusCode::OK;
            }
            Some(_) => {
                self.tally.repeated += 1;
                return StatusCode::OK;
            }
        }
        StatusCode::BAD_REQUEST
    }
}

impl Transport for Sink {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        if request.method() != Method::PUT || image_key(request.uri().path()).is_none() {
            return self.others.send(request);
        }
        Box::pin(async move {
            let status = self
                .take(request)
                .await
                .map_err(TransportError::Interrupted)?;
            let reply = Response::builder()
                .status(status)
                .header(ETAG, "\"0123456789abcdef0123456789abcdef\"");
            reply
                .body(empty())
                .map_err(|error| TransportError::Interrupted(error.into()))
        })
    }
}
