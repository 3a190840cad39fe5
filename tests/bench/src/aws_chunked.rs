//! `aws-chunked`: how the SDKs of AWS send a body whose checksum comes after it
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>, read 2026-11).

/// Takes such a body in pieces and gives what is in it.
#[derive(Debug)]
pub(crate) enum AwsChunked {
    /// In the line before a chunk, which says in hexadecimal how long it is; so far.
    Size(Vec<u8>),
    /// In a chunk, of which so many bytes are still to come.
    Data(usize),
    /// In the line end after a chunk.
    End,
    /// In the trailers.
    Trailers,
}

/// The line before a chunk says no size.
#[derive(Debug, thiserror::Error)]
#[error("no aws-chunked body")]
pub(crate) struct NotChunked;

impl AwsChunked {
    /// The start of a body.
    pub(crate) fn new() -> Self {
        Self::Size(Vec::new())
    }

    /// Takes the next bytes, and gives `sink` those that are content.
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

    /// Whether the last chunk was seen.
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
    fn content_is_the_same_however_the_body_is_cut() {
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
