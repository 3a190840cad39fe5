//! The stand-in for Gemini: downloads of responses files.

use std::{
    fs::File,
    io::{self, Read},
    iter,
    path::PathBuf,
};

use bytes::Bytes;
use futures_util::stream;
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use seam::transport::{Body, BoxError, BoxFuture, Transport, TransportError, empty};

use crate::dataset::Dataset;

/// The number of bytes to read from a file at once.
const PIECE_BYTES: usize = 256 << 10;

/// Responds to `GET /<version>/files/<dataset>:download` with the whole responses file of the
/// dataset.
pub(crate) struct Downloads {
    /// The folder of the datasets.
    pub(crate) folder: PathBuf,
}

impl Transport for Downloads {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let reply = self.reply(request.uri().path());
        Box::pin(async { reply.map_err(TransportError::Interrupted) })
    }
}

impl Downloads {
    fn reply(&self, path: &str) -> Result<Response<Body>, BoxError> {
        let name = path
            .rsplit('/')
            .next()
            .and_then(|last| last.strip_suffix(":download"));
        let found = name
            .map(|name| Dataset::new(&self.folder, name))
            .filter(Dataset::is_complete);
        let Some(dataset) = found else {
            return Ok(Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(empty())?);
        };
        let file = File::open(dataset.responses())?;
        let reply = Response::builder()
            .header(CONTENT_TYPE, "application/jsonl")
            .header(CONTENT_LENGTH, file.metadata()?.len());
        Ok(reply.body(StreamBody::new(stream::iter(pieces(file))).boxed())?)
    }
}

/// Reads a file in pieces. It is in the page cache, so a read does not block for long.
fn pieces(mut file: File) -> impl Iterator<Item = Result<Frame<Bytes>, BoxError>> {
    let mut next = move || -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece)?;
        piece.truncate(read);
        Ok((read > 0).then(|| Bytes::from(piece)))
    };
    iter::from_fn(move || {
        next()
            .map(|piece| piece.map(Frame::data))
            .map_err(BoxError::from)
            .transpose()
    })
}
