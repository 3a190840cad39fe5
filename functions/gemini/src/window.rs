//! The part of an upload that is held in memory: one chunk, at an offset, of a stream.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::Fuse};
use seam::transport::BoxError;

use super::error::{ApiError, UploadError};

/// What follows the bytes that the server has acknowledged, at most one chunk of it.
///
/// It moves forward only, as far as the server says it has received: after a lost answer that may
/// be anywhere in the chunk that was sent, and the next chunk is then filled up from the stream.
pub(super) struct Window<S> {
    source: Fuse<S>,
    /// As many bytes as were announced.
    size: u64,
    /// Where `held` begins.
    offset: u64,
    held: Bytes,
    /// Read from the stream, not yet held.
    ahead: Bytes,
}

impl<S, E> Window<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<BoxError>,
{
    pub(super) fn new(source: S, size: u64) -> Self {
        Self {
            source: source.fuse(),
            size,
            offset: 0,
            held: Bytes::new(),
            ahead: Bytes::new(),
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn held(&self) -> Bytes {
        self.held.clone()
    }

    /// Where `held` ends.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.held.len() as u64
    }

    /// Nothing follows after what is held.
    pub(super) fn is_last(&self) -> bool {
        self.end() == self.size
    }

    /// Reads until a whole chunk is held, or all that is left.
    ///
    /// # Errors
    /// [`UploadError::Body`] when the stream fails, [`UploadError::Length`] when it has fewer or
    /// more bytes than were announced; the latter before the last chunk is handed out.
    pub(super) async fn fill(&mut self, chunk: usize) -> Result<(), UploadError> {
        let left = self.size - self.offset;
        let want = usize::try_from(left).map_or(chunk, |left| left.min(chunk));
        if self.held.len() < want {
            let mut chunk = BytesMut::with_capacity(want);
            chunk.extend_from_slice(&self.held);
            while chunk.len() < want {
                if !self.read_ahead().await? {
                    return Err(self.length(self.offset + chunk.len() as u64));
                }
                let taken = self.ahead.len().min(want - chunk.len());
                chunk.extend_from_slice(&self.ahead.split_to(taken));
            }
            self.held = chunk.freeze();
        }
        if self.is_last() && self.read_ahead().await? {
            return Err(self.length(self.size + self.ahead.len() as u64));
        }
        Ok(())
    }

    /// Lets go of what the server has received: all bytes before `received`.
    ///
    /// # Errors
    /// [`ApiError::Transient`] when the server has lost bytes that are no longer held, so that only
    /// a new upload helps; [`ApiError::Malformed`] when it has more than it was sent.
    pub(super) fn advance_to(&mut self, received: u64) -> Result<(), ApiError> {
        if received > self.end() {
            return Err(ApiError::malformed("more bytes received than were sent"));
        }
        let step = received
            .checked_sub(self.offset)
            .ok_or_else(|| ApiError::transient("the upload lost bytes it had received"))?;
        // No more than is held, which fits.
        self.held
            .advance(usize::try_from(step).unwrap_or(self.held.len()));
        self.offset = received;
        Ok(())
    }

    /// Makes sure that something is read ahead, if the stream has more.
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
