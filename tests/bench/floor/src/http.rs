//! The part of HTTP/1.1 that the floor needs.

use anyhow::Context;

/// The address of a service.
pub(super) struct Address {
    /// The host and the port.
    pub(super) authority: String,
    /// The host alone.
    pub(super) host: String,
}

impl Address {
    /// Parses `https://host:port`.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let authority = url
            .strip_prefix("https://")
            .context("an address must begin with https://")?
            .to_owned();
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        Ok(Self { authority, host })
    }
}

/// A response with a `content-length`, read in pieces.
#[derive(Default)]
pub(super) struct Reply {
    head: Vec<u8>,
    missing: Option<usize>,
}

impl Reply {
    /// Returns the part of the connection's next bytes that belongs to the body.
    pub(super) fn body<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let body = if self.missing.is_some() {
            bytes
        } else {
            self.read_head(bytes)?
        };
        if let Some(missing) = &mut self.missing {
            *missing = missing
                .checked_sub(body.len())
                .context("more than the announced length")?;
        }
        Ok(body)
    }

    /// Whether the whole response was read.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == Some(0)
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            return Ok(&[]);
        };
        let head = str::from_utf8(&self.head[..end])?.to_ascii_lowercase();
        anyhow::ensure!(head.starts_with("http/1.1 200"), "refused: {head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        self.missing = Some(
            length
                .context("a reply without its length")?
                .trim()
                .parse()?,
        );
        Ok(&bytes[end + 4 - before..])
    }
}
