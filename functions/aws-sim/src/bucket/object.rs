//! Single objects: put, read, copied, deleted.

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
    attributes::{Attributes, BUFFER, Description, kept_encoding, md5_of},
    blocking,
    checksum::{self, Expected},
    condition::{ReadCondition, WriteCondition},
    disk_error,
    incoming::{Content, Temporary, receive},
    notification::Created,
    selection::Selection,
    service::Service,
    store::{NewObject, Object},
};

/// The content type of an object of which nobody said one.
const UNKNOWN_TYPE: &str = "binary/octet-stream";

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
                content_encoding: kept_encoding(input.content_encoding),
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

    /// Receives a body and checks that it is what its sender says.
    ///
    /// # Errors
    /// `IncompleteBody`, `BadDigest`.
    pub(super) async fn receive(
        &self,
        body: StreamingBlob,
        headers: &HeaderMap,
        content_length: Option<i64>,
        trailers: impl FnOnce() -> Option<HeaderMap>,
    ) -> S3Result<Content> {
        let expected = Expected::from_headers(headers);
        let content = receive(self.store.temporary(), expected.hasher(), body).await?;
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
            content_type: Some(content_type.unwrap_or_else(|| UNKNOWN_TYPE.to_owned())),
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
            content_type: Some(content_type.unwrap_or_else(|| UNKNOWN_TYPE.to_owned())),
            e_tag: Some(ETag::Strong(attributes.etag)),
            last_modified: Some(last_modified),
            metadata: Some(metadata.into_iter().collect()),
            parts_count: selection.parts_count,
            ..HeadObjectOutput::default()
        };
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

    /// Tags are not kept, so there can be none.
    pub(super) async fn tag(
        &self,
        input: PutObjectTaggingInput,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        self.find(input.bucket, input.key, ReadCondition::default())
            .await?;
        if !input.tagging.tag_set.is_empty() {
            return Err(s3_error!(
                NotImplemented,
                "Tags are not kept here: describe the object by its metadata."
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

    /// The object that another one, or a part of another one, is copied from.
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
                // Of a source, 304 has no meaning.
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
        let is_itself = matches!(&input.copy_source, CopySource::Bucket { bucket, key, .. }
            if **bucket == *input.bucket && **key == *input.key);
        if !replace && is_itself {
            return Err(s3_error!(
                InvalidRequest,
                "An object can be copied to itself only with other metadata."
            ));
        }
        let condition = ReadCondition {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.source(&input.copy_source, condition).await?;
        let description = replace.then(|| Description {
            content_type: input.content_type,
            content_disposition: input.content_disposition,
            content_encoding: kept_encoding(input.content_encoding),
            content_language: input.content_language,
            cache_control: input.cache_control,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        });
        let path = self.store.temporary();
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

/// The same bytes under a temporary name. A copy is one piece: what was of parts is not of it.
fn duplicate(
    source: Object,
    path: std::path::PathBuf,
    description: Option<Description>,
) -> io::Result<NewObject> {
    let Object {
        mut file,
        attributes,
    } = source;
    let (temporary, mut copy) = Temporary::create(path)?;
    io::copy(&mut file, &mut copy)?;
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

/// The checksums that were asked for, as headers. They are of the whole object, so a part of it has
/// none.
fn checksum_headers(
    mode: Option<&ChecksumMode>,
    attributes: &Attributes,
    selection: &Selection,
) -> HeaderMap {
    let is_asked = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let is_whole = selection.length() == attributes.of.size && selection.parts_count.is_none();
    if is_asked && is_whole {
        checksum::to_headers(&attributes.checksums)
    } else {
        HeaderMap::new()
    }
}

/// The next `length` bytes of a file, a buffer at a time.
fn read(file: File, length: u64) -> StreamingBlob {
    let pieces = stream::try_unfold((file, length), |(file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let piece = tokio::task::spawn_blocking(move || {
            let wanted = left.min(BUFFER as u64);
            let mut piece = Vec::with_capacity(BUFFER.min(usize::try_from(left).unwrap_or(BUFFER)));
            (&file).take(wanted).read_to_end(&mut piece)?;
            if piece.is_empty() {
                // Somebody cut the file by hand: better no answer than one that is too short and
                // looks whole.
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let left = left - piece.len() as u64;
            Ok((Bytes::from(piece), (file, left)))
        });
        piece.await.map_err(io::Error::other)?.map(Some)
    });
    StreamingBlob::wrap(pieces)
}
