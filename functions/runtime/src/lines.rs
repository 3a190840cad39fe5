//! Reads an object line by line.

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use bytes::{Bytes, BytesMut};

/// The longest line of a plan, a chunk, a list of keys or a request file, in bytes. A request with
/// inline pictures is the longest.
const DOCUMENT_LINE_BYTES: usize = 64 << 20;

/// Reads an object line by line. It holds at most one line and one network read in memory.
#[derive(Debug)]
pub struct Lines {
    stream: ByteStream,
    pending: BytesMut,
    searched: usize,
    limit: usize,
    ended: bool,
}

/// Why the next line can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The connection broke; reading the object again may work.
    #[error("the connection broke while an object was read: {0}")]
    Stream(#[from] ByteStreamError),
    /// A line is longer than any that Darkroom writes.
    #[error("a line has more than {limit} bytes")]
    TooLong {
        /// The maximum length in bytes.
        limit: usize,
    },
}

impl Lines {
    /// The lines of a document that Darkroom wrote.
    pub fn of_document(stream: ByteStream) -> Self {
        Self::new(stream, DOCUMENT_LINE_BYTES)
    }

    /// The lines of `stream`, of at most `limit` bytes each.
    fn new(stream: ByteStream, limit: usize) -> Self {
        Self {
            stream,
            pending: BytesMut::new(),
            searched: 0,
            limit,
            ended: false,
        }
    }

    /// The next line that isn't empty, without its newline. Returns none at the end.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            if let Some(end) = self.pending[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let mut line = self.pending.split_to(self.searched + end + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                if !line.is_empty() {
                    return Ok(Some(line.freeze()));
                }
            } else if self.ended {
                let rest = self.pending.split().freeze();
                self.searched = 0;
                return Ok((!rest.is_empty()).then_some(rest));
            } else {
                self.searched = self.pending.len();
                if self.searched > self.limit {
                    return Err(LineError::TooLong { limit: self.limit });
                }
                match self.stream.try_next().await? {
                    Some(bytes) => self.pending.extend_from_slice(&bytes),
                    None => self.ended = true,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &'static str, limit: usize) -> Result<Vec<String>, LineError> {
        let mut lines = Lines::new(ByteStream::from_static(text.as_bytes()), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await? {
            found.push(String::from_utf8(line.to_vec()).unwrap());
        }
        Ok(found)
    }

    #[tokio::test]
    async fn skips_empty_lines_and_accepts_a_last_line_without_a_newline() {
        assert_eq!(lines("a\n\nbc\nd", 9).await.unwrap(), ["a", "bc", "d"]);
        assert_eq!(lines("a\n", 9).await.unwrap(), ["a"]);
        assert!(lines("", 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn refuses_a_line_over_the_limit() {
        assert!(matches!(
            lines("abcdefgh", 4).await,
            Err(LineError::TooLong { limit: 4 })
        ));
    }
}
