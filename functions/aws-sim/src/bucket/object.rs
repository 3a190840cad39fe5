//! Operations on one object: put, get, head, copy, delete and tags.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use darkroom::digest::hex;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use s3s::{
    Body, S3Request, S3Response, S3Result,
    dto::{
        ChecksumMode, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag,
        GetObjectInput, GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
        HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput,
        PutObjectTaggingInput, PutObjectTaggingOutput, StreamingBlob,
    },
    s3_error,
};

use super::{
    attributes::{Attributes, BUFFER, Description, md5_of, strip_aws_chunked},
    blocking,
    body::{ReceivedBody, TemporaryFile, receive},
    checksum::{self, ExpectedChecksums},
    condition::{ReadCondition, WriteCondition},
    disk_error,
    notification::Created,
    selection::Selection,
    service::Service,
    store::{NewObject, Object},
};

/// The content type of an object whose uploader gave none.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

impl Service {
    pub(super) async fn put(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request {
            input,
            headers,
            trailing_headers,
            ..
        } = request;
        // Everything that the headers alone decide is checked before the body is read.
        let condition = WriteCondition::new(input.if_match, input.if_none_match)?;
        self.store.check_bucket(&input.bucket)?;
        let body = input
            .body
            .unwrap_or_else(|| StreamingBlob::from(Body::empty()));
        let trailers = || trailing_headers.and_then(|trailers| trailers.take());
        let content = self
            .receive(body, &headers, input.content_length, trailers)
            .await?;
        let new = NewObject {
            temporary: content.temporary,
            file: content.file,
            etag: hex(&content.md5),
            checksums: content.checksums,
            parts: Vec::new(),
            description: Description {
                content_type: input.content_type,
                content_disposition: input.content_disposition,
                content_encoding: strip_aws_chunked(input.content_encoding),
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
        };
        let attributes = self
            .commit(Created::Put, new, input.bucket, input.key, condition)
            .await?;
        let output = PutObjectOutput {
            e_tag: Some(ETag::Strong(attributes.etag)),
            ..PutObjectOutput::default()
        };
        Ok(S3Response::with_headers(
            output,
            checksum::to_headers(&attributes.checksums),
        ))
    }

    /// Receives a body and verifies its length and its checksums.
    ///
    /// # Errors
    /// `IncompleteBody`, `BadDigest`.
    pub(super) async fn receive(
        &self,
        body: StreamingBlob,
        headers: &HeaderMap,
        content_length: Option<i64>,
        trailers: impl FnOnce() -> Option<HeaderMap>,
    ) -> S3Result<ReceivedBody> {
        let expected = ExpectedChecksums::from_headers(headers);
        let content = receive(self.store.temporary_path(), expected.hasher(), body).await?;
        if content_length.is_some_and(|length| u64::try_from(length) != Ok(content.size)) {
            return Err(s3_error!(IncompleteBody));
        }
        expected.verify(trailers().as_ref(), &content.checksums, &content.md5)?;
        Ok(content)
    }

    pub(super) async fn get(&self, input: GetObjectInput) -> S3Result<S3Response<GetObjectOutput>> {
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let Object {
            mut file,
            attributes,
        } = self.find(input.bucket, input.key, condition).await?;
        let selection = Selection::of(&attributes, input.range, input.part_number)?;
        // The file stays open, so a later write to the key does not affect this answer.
        if selection.bytes.start > 0 {
            file.seek(SeekFrom::Start(selection.bytes.start))
                .map_err(disk_error)?;
        }
        let headers = checksum_headers(input.checksum_mode.as_ref(), &attributes, &selection);
        let length = selection.length();
        let last_modified = attributes.last_modified();
        let Description {
            content_type,
            content_disposition,
            content_encoding,
            content_language,
            cache_control,
            metadata,
        } = attributes.description;
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(read(file, length)),
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_length: Some(
                i64::try_from(length)
                    .map_err(io::Error::other)
                    .map_err(disk_error)?,
            ),
            content_range: selection.content_range,
            content_type: Some(content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())),
            e_tag: Some(ETag::Strong(attributes.etag)),
            last_modified: Some(last_modified),
            metadata: Some(metadata.into_iter().collect()),
            parts_count: selection.parts_count,
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    pub(super) async fn head(
        &self,
        input: HeadObjectInput,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let Object { attributes, .. } = self.find(input.bucket, input.key, condition).await?;
        let selection = Selection::of(&attributes, input.range, input.part_number)?;
        let headers = checksum_headers(input.checksum_mode.as_ref(), &attributes, &selection);
        let length = selection.length();
        let last_modified = attributes.last_modified();
        let Description {
            content_type,
            content_disposition,
            content_encoding,
            content_language,
            cache_control,
            metadata,
        } = attributes.description;
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_length: Some(
                i64::try_from(length)
                    .map_err(io::Error::other)
                    .map_err(disk_error)?,
            ),
            content_range: selection.content_range,
            content_type: Some(content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())),
            e_tag: Some(ETag::Strong(attributes.etag)),
            last_modified: Some(last_modified),
            metadata: Some(metadata.into_iter().collect()),
            parts_count: selection.parts_count,
            ..HeadObjectOutput::default()
        };
        // `s3s` sets this status for a `GET`, but not for a `HEAD`.
        let is_partial = output.content_range.is_some();
        let mut response = S3Response::with_headers(output, headers);
        response.status = is_partial.then_some(StatusCode::PARTIAL_CONTENT);
        Ok(response)
    }

    pub(super) async fn tags(
        &self,
        input: GetObjectTaggingInput,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.find(input.bucket, input.key, ReadCondition::default())
            .await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: Vec::new(),
            version_id: None,
        }))
    }

    /// Accepts an empty set of tags, which some clients send. Tags are not stored.
    pub(super) async fn tag(
        &self,
        input: PutObjectTaggingInput,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        self.find(input.bucket, input.key, ReadCondition::default())
            .await?;
        if !input.tagging.tag_set.is_empty() {
            return Err(s3_error!(
                NotImplemented,
                "Tags are not supported: use object metadata instead."
            ));
        }
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    async fn find(
        &self,
        bucket: String,
        key: String,
        condition: ReadCondition,
    ) -> S3Result<Object> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            let object = store.object(&bucket, &key)?;
            condition.check(&object.attributes)?;
            Ok(object)
        })
        .await
    }

    pub(super) async fn delete(
        &self,
        bucket: String,
        key: String,
        condition: WriteCondition,
    ) -> S3Result {
        let store = Arc::clone(&self.store);
        blocking(move || store.delete(&bucket, &key, &condition)).await
    }

    /// Returns the source object of a copy, which becomes a whole object or a part.
    pub(super) async fn source(
        &self,
        from: &CopySource,
        condition: ReadCondition,
    ) -> S3Result<Object> {
        let CopySource::Bucket { bucket, key, .. } = from else {
            return Err(s3_error!(NotImplemented));
        };
        self.find(bucket.to_string(), key.to_string(), condition)
            .await
            .map_err(|error| {
                // The condition is on the source. The answer is about the copy, for which 304 has
                // no meaning.
                if *error.code() == s3s::S3ErrorCode::NotModified {
                    s3_error!(PreconditionFailed)
                } else {
                    error
                }
            })
    }

    pub(super) async fn copy(
        &self,
        input: CopyObjectInput,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let replace = input
            .metadata_directive
            .as_ref()
            .is_some_and(|how| how.as_str() == MetadataDirective::REPLACE);
        // S3 refuses a copy that would change nothing.
        let is_itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
            if **bucket == *input.bucket && **key == *input.key);
        if !replace && is_itself {
            return Err(s3_error!(
                InvalidRequest,
                "An object can be copied to itself only if its metadata is replaced."
            ));
        }
        let condition = ReadCondition {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.source(&input.copy_source, condition).await?;
        // `COPY`, the default, keeps the source's description.
        let description = replace.then(|| Description {
            content_type: input.content_type,
            content_disposition: input.content_disposition,
            content_encoding: strip_aws_chunked(input.content_encoding),
            content_language: input.content_language,
            cache_control: input.cache_control,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        });
        let path = self.store.temporary_path();
        let new =
            blocking(move || duplicate(source, path, description).map_err(disk_error)).await?;
        let attributes = self
            .commit(
                Created::Copy,
                new,
                input.bucket,
                input.key,
                WriteCondition::Any,
            )
            .await?;
        let sums = checksum::to_dto(&attributes.checksums);
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(attributes.etag.clone())),
            last_modified: Some(attributes.last_modified()),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..CopyObjectResult::default()
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }
}

/// Copies an object's content to a temporary file. A copy has no parts, so checksums over parts and
/// the ETag of a multipart upload do not apply to it.
fn duplicate(
    source: Object,
    path: std::path::PathBuf,
    description: Option<Description>,
) -> io::Result<NewObject> {
    let Object {
        mut file,
        attributes,
    } = source;
    let (temporary, mut copy) = TemporaryFile::create(path)?;
    io::copy(&mut file, &mut copy)?;
    // An MD5 of the whole content stays valid. The ETag of a multipart upload must be replaced.
    let etag = if attributes.has_md5_etag() {
        attributes.etag
    } else {
        hex(&md5_of(&mut copy)?)
    };
    let checksums = attributes
        .checksums
        .into_iter()
        .filter(|(_, sum)| !sum.contains('-'))
        .collect();
    let description = description.unwrap_or(attributes.description);
    Ok(NewObject {
        temporary,
        file: copy,
        etag,
        checksums,
        parts: Vec::new(),
        description,
    })
}

/// Returns the checksum headers if the request asks for them. The checksums cover the whole object,
/// so a partial read has none.
fn checksum_headers(
    mode: Option<&ChecksumMode>,
    attributes: &Attributes,
    selection: &Selection,
) -> HeaderMap {
    let is_requested = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let is_whole = selection.length() == attributes.file.size && selection.parts_count.is_none();
    if is_requested && is_whole {
        checksum::to_headers(&attributes.checksums)
    } else {
        HeaderMap::new()
    }
}

/// Streams the next `length` bytes of a file, [`BUFFER`] bytes at a time.
fn read(file: File, length: u64) -> StreamingBlob {
    let chunks = stream::try_unfold((file, length), |(file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let chunk = tokio::task::spawn_blocking(move || {
            let wanted = left.min(BUFFER as u64);
            let mut chunk = Vec::with_capacity(BUFFER.min(usize::try_from(left).unwrap_or(BUFFER)));
            (&file).take(wanted).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                // The file was truncated by hand. A broken answer is better than a short one that
                // looks complete.
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let left = left - chunk.len() as u64;
            Ok((Bytes::from(chunk), (file, left)))
        });
        chunk.await.map_err(io::Error::other)?.map(Some)
    });
    StreamingBlob::wrap(chunks)
}
