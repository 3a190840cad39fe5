//! `aws-chunked`: the encoding in which the SDKs of AWS send a body with a trailing checksum
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>, read 2026-11).

/// A decoder that receives the body in pieces. Each variant is a position in the body.
#[derive(Debug)]
pub(crate) enum AwsChunked {
    /// In the line before a chunk, which holds its size in hexadecimal. The field has the line so
    /// far.
    Size(Vec<u8>),
    /// In a chunk, with the number of bytes that are missing.
    Data(usize),
    /// In the line break after a chunk.
    End,
    /// In the trailers.
    Trailers,
}

/// The line before a chunk holds no size.
#[derive(Debug, thiserror::Error)]
#[error("no aws-chunked body")]
pub(crate) struct NotChunked;

impl AwsChunked {
    /// Starts at the beginning of a body.
    pub(crate) fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// Decodes the next bytes and passes the content to `sink`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), NotChunked> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self {
                Self::Size(line) if first == b'\n' => {
                    *self = match size(line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                    bytes = rest;
                }
                Self::Size(line) => {
                    line.push(first);
                    bytes = rest;
                }
                Self::Data(0) => *self = Self::End,
                Self::Data(missing) => {
                    let (content, rest) = bytes.split_at(bytes.len().min(*missing));
                    sink(content);
                    *missing -= content.len();
                    bytes = rest;
                }
                Self::End => {
                    if first == b'\n' {
                        *self = Self::new();
                    }
                    bytes = rest;
                }
                Self::Trailers => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether the last chunk has ended.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Self::Trailers)
    }
}

fn size(line: &[u8]) -> Result<usize, NotChunked> {
    let line = str::from_utf8(line).map_err(|_| NotChunked)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    usize::from_str_radix(size, 16).map_err(|_| NotChunked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(body: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut content, mut chunked) = (Vec::new(), AwsChunked::new());
        for piece in body.chunks(piece) {
            chunked
                .feed(piece, |bytes| content.extend_from_slice(bytes))
                .unwrap();
        }
        (content, chunked.is_complete())
    }

    #[test]
    fn the_content_does_not_depend_on_the_pieces() {
        let body = b"5\r\nhello\r\na;chunk-signature=0\r\n, chunked \r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for piece in 1..body.len() {
            assert_eq!(
                content(body, piece),
                (b"hello, chunked ".to_vec(), true),
                "in pieces of {piece}"
            );
        }
        assert_eq!(content(&body[..20], 7), (b"hello".to_vec(), false));
    }

    #[test]
    fn a_line_without_a_size_is_an_error() {
        AwsChunked::new().feed(b"\x89PNG\r\n", |_| ()).unwrap_err();
    }
}
