//! Writes an object in parts.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};

use super::{Bucket, BucketError, payload::UnsignedOverTls};

/// The size of a part in bytes. S3 requires at least 5 MiB and allows 10,000 parts
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>, read 2026-11), so an object
/// can have 78 GiB.
const PART_BYTES: usize = 8 << 20;

/// Writes an object of unknown length: with one PUT if it is small, otherwise as a multipart upload
/// with parts of 8 MiB.
///
/// The object becomes visible with [`ObjectWriter::finish`]. A dropped writer may leave an unfinished
/// multipart upload, which the bucket's lifecycle rule removes.
#[derive(Debug)]
pub struct ObjectWriter {
    bucket: Bucket,
    key: String,
    content_type: String,
    pending: BytesMut,
    written: u64,
    upload: Option<Upload>,
    /// The content of the first part after the beginning, if the beginning is written last.
    first: Option<BytesMut>,
}

#[derive(Debug)]
struct Upload {
    id: String,
    parts: Vec<CompletedPart>,
}

impl ObjectWriter {
    pub(super) fn new(bucket: Bucket, key: &str, content_type: &str) -> Self {
        Self {
            bucket,
            key: key.to_owned(),
            content_type: content_type.to_owned(),
            pending: BytesMut::new(),
            written: 0,
            upload: None,
            first: None,
        }
    }

    /// Makes this a writer of an object whose beginning depends on the rest: pass it to
    /// [`ObjectWriter::finish_with`]. The first part stays in memory until then.
    #[must_use]
    pub fn with_late_beginning(self) -> Self {
        Self {
            first: Some(BytesMut::new()),
            ..self
        }
    }

    /// The number of bytes accepted so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Appends bytes, and uploads a part when it is full.
    ///
    /// # Errors
    /// [`BucketError`] if a part can't be uploaded. The object is not written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BucketError> {
        self.written += bytes.len() as u64;
        if let Some(first) = &mut self.first
            && first.len() < PART_BYTES
        {
            first.extend_from_slice(bytes);
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= PART_BYTES {
            let part = self.pending.split_to(PART_BYTES).freeze();
            self.send(self.next_number(), part).await?;
        }
        Ok(())
    }

    /// Writes the beginning of the object, and makes the object visible.
    ///
    /// # Errors
    /// [`BucketError`]. Whether the object was written is unknown: write it again.
    pub async fn finish_with(mut self, beginning: &[u8]) -> Result<(), BucketError> {
        let mut part = BytesMut::from(beginning);
        part.extend(self.first.take().unwrap_or_default());
        if self.upload.is_none() {
            part.extend(std::mem::take(&mut self.pending));
            self.pending = part;
        } else {
            self.send(1, part.freeze()).await?;
        }
        self.finish().await
    }

    /// Makes the object visible.
    ///
    /// # Errors
    /// [`BucketError`]. Whether the object was written is unknown: write it again.
    pub async fn finish(mut self) -> Result<(), BucketError> {
        // A small object has no parts yet and needs none.
        let rest = self.pending.split().freeze();
        if self.upload.is_none() {
            self.bucket.put(&self.key, &self.content_type, rest).await?;
            return Ok(());
        }
        if !rest.is_empty() {
            self.send(self.next_number(), rest).await?;
        }
        let Some(Upload { id, mut parts }) = self.upload else {
            return Ok(());
        };
        parts.sort_by_key(|part| part.part_number);

        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let (client, bucket) = (&self.bucket.client, &self.bucket.name);
        let request = client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(&self.key)
            .upload_id(id);
        request
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|error| BucketError::of(&self.key, error))?;
        Ok(())
    }

    /// Returns the number of the next part. The first one is reserved for a late beginning.
    fn next_number(&self) -> usize {
        let sent = self.upload.as_ref().map_or(0, |upload| upload.parts.len());
        sent + 1 + usize::from(self.first.is_some())
    }

    /// Uploads a part, and starts the multipart upload before the first one.
    async fn send(&mut self, number: usize, part: Bytes) -> Result<(), BucketError> {
        let (client, bucket) = (&self.bucket.client, &self.bucket.name);
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let request = client
                    .create_multipart_upload()
                    .bucket(bucket)
                    .key(&self.key);
                let reply = request.content_type(&self.content_type).send().await;
                let reply = reply.map_err(|error| BucketError::of(&self.key, error))?;
                self.upload.insert(Upload {
                    id: reply.upload_id.unwrap_or_default(),
                    parts: Vec::new(),
                })
            }
        };

        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let request = client
            .upload_part()
            .bucket(bucket)
            .key(&self.key)
            .upload_id(&upload.id)
            .part_number(number);
        let reply = request
            .body(ByteStream::from(part))
            .customize()
            .interceptor(UnsignedOverTls)
            .send()
            .await;
        let reply = reply.map_err(|error| BucketError::of(&self.key, error))?;
        upload.parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(reply.e_tag)
                .set_checksum_crc32(reply.checksum_crc32)
                .build(),
        );
        Ok(())
    }
}
