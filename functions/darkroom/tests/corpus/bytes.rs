//! Bytes that are generated while they are read, so that a case of gigabytes takes no memory.

use std::io::{self, Read};

/// Pieces of bytes, in order.
pub(crate) type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

/// Generates a case, once for each reading.
pub(crate) type Make = Box<dyn Fn() -> Pieces>;

/// A single text as pieces.
pub(crate) fn text(text: impl Into<Vec<u8>>) -> Pieces {
    Box::new(std::iter::once(text.into()))
}

/// Repeats a piece `count` times. Short pieces are joined.
pub(crate) fn repeated(piece: &str, count: usize) -> Pieces {
    let together = (64 << 10) / piece.len().max(1) + 1;
    let piece = piece.to_owned();
    Box::new(
        (0..count)
            .step_by(together)
            .map(move |done| piece.repeat(together.min(count - done)).into_bytes()),
    )
}

/// Joins pieces, in order.
pub(crate) fn chain(all: impl IntoIterator<Item = Pieces> + 'static) -> Pieces {
    Box::new(all.into_iter().flatten())
}

/// A reader that returns at most `size` bytes at a time.
pub(crate) struct Slow {
    pieces: Pieces,
    piece: Vec<u8>,
    at: usize,
    size: usize,
}

impl Slow {
    pub(crate) fn new(pieces: Pieces, size: usize) -> Self {
        Self {
            pieces,
            piece: Vec::new(),
            at: 0,
            size,
        }
    }

    /// Returns the next bytes, or `None` at the end.
    pub(crate) fn next_chunk(&mut self) -> Option<&[u8]> {
        while self.at == self.piece.len() {
            (self.piece, self.at) = (self.pieces.next()?, 0);
        }
        let from = self.at;
        self.at = self.piece.len().min(from + self.size);
        Some(&self.piece[from..self.at])
    }
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.size;
        self.size = size.min(buffer.len());
        let chunk = self.next_chunk().unwrap_or_default();
        let count = chunk.len();
        buffer[..count].copy_from_slice(chunk);
        self.size = size;
        Ok(count)
    }
}
