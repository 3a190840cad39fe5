//! Reads and writes objects through the S3 client. Errors are classified by what the caller can do.

mod error;
mod list;
mod payload;
mod writer;

use std::collections::BTreeMap;

use aws_sdk_s3::{Client, primitives::ByteStream};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use self::payload::UnsignedOverTls;
pub use self::{error::BucketError, writer::ObjectWriter};
use crate::lazy::Lazy;

/// How many times a conditional write is sent if it conflicts with a concurrent one (409).
const MAX_CONFLICT_ATTEMPTS: u32 = 5;

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Lazy<Client>,
    name: String,
}

/// An object's content and its version.
#[derive(Clone, Debug)]
pub struct Object {
    /// The content.
    pub bytes: Bytes,
    /// The ETag, with its quotes.
    pub etag: String,
}

/// An object's attributes.
#[derive(Clone, Debug)]
pub struct ObjectHead {
    /// The length of the content, in bytes.
    pub size: u64,
    /// The ETag, with its quotes.
    pub etag: String,
    /// When it was written, by S3's clock, in whole seconds.
    pub last_modified: Option<Timestamp>,
    /// The user metadata. Names are without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// The outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// The object was written; it has this ETag.
    Written(String),
    /// The condition did not hold: the object exists, or has another version. The stored object may
    /// be our own: the SDK repeats a request whose response was lost. Read it back to find out.
    Refused,
}

impl Bucket {
    /// The bucket `name`, through `client`.
    pub fn new(client: impl Into<Lazy<Client>>, name: impl Into<String>) -> Self {
        Self {
            client: client.into(),
            name: name.into(),
        }
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another bucket through the same client.
    pub fn other(&self, name: &str) -> Self {
        Self::new(self.client.clone(), name)
    }

    /// Reads a small object. Returns none if there is no such object.
    ///
    /// # Errors
    /// [`BucketError`]; a missing object is not one.
    pub async fn read(&self, key: &str) -> Result<Option<Object>, BucketError> {
        let Some((stream, etag)) = self.open(key, None).await? else {
            return Ok(None);
        };
        let bytes = stream
            .collect()
            .await
            .map_err(|error| BucketError::body(key, error))?
            .into_bytes();
        Ok(Some(Object { bytes, etag }))
    }

    /// Opens an object as a stream and returns it with its ETag. Returns none if there is no such
    /// object. If `etag` is given, only that version is opened.
    ///
    /// # Errors
    /// [`BucketError::Changed`] if the object no longer has the version `etag`.
    pub async fn open(
        &self,
        key: &str,
        etag: Option<&str>,
    ) -> Result<Option<(ByteStream, String)>, BucketError> {
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_if_match(etag.map(str::to_owned));
        match request.send().await {
            Ok(reply) => Ok(Some((reply.body, reply.e_tag.unwrap_or_default()))),
            Err(error) => BucketError::unless_missing(key, error),
        }
    }

    /// Reads up to `most` bytes from the start of an object and returns them with the length of the
    /// whole, by one request. Returns none if there is no such object.
    ///
    /// # Errors
    /// [`BucketError`]; a missing object is not one.
    pub async fn peek(&self, key: &str, most: u64) -> Result<Option<(Bytes, u64)>, BucketError> {
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .range(range);
        let reply = match request.send().await {
            Ok(reply) => reply,
            // An empty object has no first byte, so no range can be satisfied.
            Err(error) if error::status(&error) == Some(416) => return Ok(Some((Bytes::new(), 0))),
            Err(error) => return BucketError::unless_missing(key, error),
        };
        // `bytes 0-63/4096`. A response without this header holds the whole object.
        let whole = reply
            .content_range
            .as_deref()
            .and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let whole = whole
            .or(reply
                .content_length
                .and_then(|length| u64::try_from(length).ok()))
            .unwrap_or_default();
        // A server that ignores the range sends more than was requested.
        let (mut body, mut start) = (reply.body, BytesMut::new());
        while (start.len() as u64) < most
            && let Some(bytes) = body
                .try_next()
                .await
                .map_err(|error| BucketError::body(key, error))?
        {
            start.extend_from_slice(&bytes);
        }
        start.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Some((start.freeze(), whole)))
    }

    /// An object's attributes. Returns none if there is no such object.
    ///
    /// # Errors
    /// [`BucketError`]; a missing object is not one.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectHead>, BucketError> {
        match self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
        {
            Ok(reply) => {
                let size = reply
                    .content_length
                    .and_then(|length| u64::try_from(length).ok())
                    .unwrap_or_default();
                let metadata = reply.metadata.unwrap_or_default().into_iter().collect();
                let last_modified = reply
                    .last_modified
                    .and_then(|time| Timestamp::from_second(time.secs()).ok());
                Ok(Some(ObjectHead {
                    size,
                    etag: reply.e_tag.unwrap_or_default(),
                    last_modified,
                    metadata,
                }))
            }
            Err(error) => BucketError::unless_missing(key, error),
        }
    }

    /// Opens the bytes of an object from `range.0` up to, not including, `range.1`. A range beyond the
    /// end yields the bytes that exist.
    ///
    /// # Errors
    /// [`BucketError`], also if there is no such object.
    pub async fn open_range(
        &self,
        key: &str,
        range: (u64, u64),
    ) -> Result<ByteStream, BucketError> {
        if range.0 >= range.1 {
            return Ok(ByteStream::from_static(b""));
        }
        let range = format!("bytes={}-{}", range.0, range.1 - 1);
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .range(range);
        request
            .send()
            .await
            .map(|reply| reply.body)
            .map_err(|error| BucketError::of(key, error))
    }

    /// Writes an object unconditionally and returns its ETag.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn put(
        &self,
        key: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<String, BucketError> {
        self.put_described(key, content_type, bytes, BTreeMap::new())
            .await
    }

    /// Writes an object unconditionally, with user metadata, and returns its ETag. Names of metadata
    /// are without `x-amz-meta-`.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn put_described(
        &self,
        key: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
        metadata: BTreeMap<String, String>,
    ) -> Result<String, BucketError> {
        let metadata = (!metadata.is_empty()).then(|| metadata.into_iter().collect());
        let request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .content_type(content_type);
        let request = request.set_metadata(metadata);
        match request
            .body(ByteStream::from(bytes.into()))
            .customize()
            .interceptor(UnsignedOverTls)
            .send()
            .await
        {
            Ok(reply) => Ok(reply.e_tag.unwrap_or_default()),
            Err(error) => Err(BucketError::of(key, error)),
        }
    }

    /// Writes an object only if there is none with this key.
    ///
    /// # Errors
    /// [`BucketError`]; an existing object is not one.
    pub async fn create(
        &self,
        key: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Conditional, BucketError> {
        self.put_if(key, content_type, bytes.into(), None).await
    }

    /// Writes an object only if it replaces the version `etag`.
    ///
    /// # Errors
    /// [`BucketError`]; another version or a missing object is not one.
    pub async fn replace(
        &self,
        key: &str,
        etag: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Conditional, BucketError> {
        self.put_if(key, content_type, bytes.into(), Some(etag))
            .await
    }

    async fn put_if(
        &self,
        key: &str,
        content_type: &str,
        bytes: Bytes,
        etag: Option<&str>,
    ) -> Result<Conditional, BucketError> {
        let mut attempts = 1;
        loop {
            let request = self
                .client
                .put_object()
                .bucket(&self.name)
                .key(key)
                .content_type(content_type);
            let request = match etag {
                Some(etag) => request.if_match(etag),
                None => request.if_none_match("*"),
            };
            match request.body(ByteStream::from(bytes.clone())).send().await {
                Ok(reply) => return Ok(Conditional::Written(reply.e_tag.unwrap_or_default())),
                Err(error) => match error::status(&error) {
                    Some(412 | 404) => return Ok(Conditional::Refused),
                    // Another conditional write of this key is in progress. The SDK does not retry
                    // this status.
                    Some(409) if attempts < MAX_CONFLICT_ATTEMPTS => attempts += 1,
                    _ => return Err(BucketError::of(key, error)),
                },
            }
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`BucketError`]; a missing object is not one.
    pub async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let deleted = self
            .client
            .delete_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        deleted
            .map(drop)
            .map_err(|error| BucketError::of(key, error))
    }

    /// Creates a writer for an object of unknown length. It uses constant memory, and the object
    /// becomes visible when the writer is finished.
    pub fn writer(&self, key: &str, content_type: &str) -> ObjectWriter {
        ObjectWriter::new(self.clone(), key, content_type)
    }
}
