//! Just enough HTTP/1.1.

use anyhow::Context;

/// Where a service is.
pub(super) struct Address {
    /// Host and port.
    pub(super) authority: String,
    /// The host alone.
    pub(super) host: String,
}

impl Address {
    /// From `https://host:port`.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let authority = url
            .strip_prefix("https://")
            .context("an address begins with https://")?
            .to_owned();
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        Ok(Self { authority, host })
    }
}

/// A reply with a `content-length`, as it comes in.
#[derive(Default)]
pub(super) struct Reply {
    head: Vec<u8>,
    missing: Option<usize>,
}

impl Reply {
    /// The part of these bytes, the next of the connection, that belongs to the body.
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

    /// Whether all of it was seen.
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
