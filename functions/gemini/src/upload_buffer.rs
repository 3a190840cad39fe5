//! The part of an upload that is in memory: one chunk of a stream, at an offset.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::Fuse};
use seam::transport::BoxError;

use super::error::{ApiError, UploadError};

/// The bytes after those that the server has acknowledged, at most one chunk.
///
/// It only moves forward, to the offset that the server reports. After a lost response that offset
/// can be anywhere in the chunk, and the buffer is then filled again from the stream.
pub(super) struct UploadBuffer<S> {
    source: Fuse<S>,
    /// The announced number of bytes.
    size: u64,
    /// The offset of the first byte of `chunk`.
    offset: u64,
    chunk: Bytes,
    /// Read from the stream, and not in `chunk` yet.
    ahead: Bytes,
}

impl<S, E> UploadBuffer<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<BoxError>,
{
    pub(super) fn new(source: S, size: u64) -> Self {
        Self {
            source: source.fuse(),
            size,
            offset: 0,
            chunk: Bytes::new(),
            ahead: Bytes::new(),
        }
    }

    /// The offset of the first byte of the chunk.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The current chunk.
    pub(super) fn bytes(&self) -> Bytes {
        self.chunk.clone()
    }

    /// The offset after the last byte of the chunk.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.chunk.len() as u64
    }

    /// Whether this is the last chunk.
    pub(super) fn is_last(&self) -> bool {
        self.end() == self.size
    }

    /// Reads from the stream until the chunk has `size` bytes, or all remaining ones.
    ///
    /// # Errors
    /// [`UploadError::Body`] when the stream fails, and [`UploadError::Length`] when it has fewer
    /// or more bytes than announced. An excess is found before the last chunk can be sent.
    pub(super) async fn fill(&mut self, size: usize) -> Result<(), UploadError> {
        let left = self.size - self.offset;
        let wanted = usize::try_from(left).map_or(size, |left| left.min(size));
        if self.chunk.len() < wanted {
            let mut chunk = BytesMut::with_capacity(wanted);
            chunk.extend_from_slice(&self.chunk);
            while chunk.len() < wanted {
                if !self.read_ahead().await? {
                    return Err(self.length(self.offset + chunk.len() as u64));
                }
                let taken = self.ahead.len().min(wanted - chunk.len());
                chunk.extend_from_slice(&self.ahead.split_to(taken));
            }
            self.chunk = chunk.freeze();
        }
        if self.is_last() && self.read_ahead().await? {
            return Err(self.length(self.size + self.ahead.len() as u64));
        }
        Ok(())
    }

    /// Drops the bytes that the server has received: those before `received`.
    ///
    /// # Errors
    /// [`ApiError::Transient`] when the server has lost bytes that were dropped, so that only a new
    /// upload can succeed, and [`ApiError::Malformed`] when it reports more bytes than it was sent.
    pub(super) fn advance_to(&mut self, received: u64) -> Result<(), ApiError> {
        if received > self.end() {
            return Err(ApiError::malformed("more bytes received than were sent"));
        }
        let step = received
            .checked_sub(self.offset)
            .ok_or_else(|| ApiError::transient("the upload lost bytes it had received"))?;
        // The step is at most the length of the chunk, so it fits.
        self.chunk
            .advance(usize::try_from(step).unwrap_or(self.chunk.len()));
        self.offset = received;
        Ok(())
    }

    /// Reads ahead if nothing is read ahead yet. Returns whether the stream has more bytes.
    async fn read_ahead(&mut self) -> Result<bool, UploadError> {
        while self.ahead.is_empty() {
            match self.source.next().await {
                Some(Ok(bytes)) => self.ahead = bytes,
                Some(Err(error)) => return Err(UploadError::Body(error.into())),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn length(&self, actual: u64) -> UploadError {
        UploadError::Length {
            announced: self.size,
            actual,
        }
    }
}
