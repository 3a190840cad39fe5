//! The operations on multipart uploads.

use std::{
    io::{Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
    time::SystemTime,
};

use s3s::{
    Body, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, ChecksumType, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyPartResult, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, ETag, ListPartsInput, ListPartsOutput, Part, StreamingBlob,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    attributes::{Attributes, Description, strip_aws_chunked},
    blocking,
    body::copy_body,
    checksum::{self, Algorithm, Checksums},
    completed_uploads::CompletionRequest,
    condition::{ReadCondition, WriteCondition},
    disk_error,
    multipart::{self, NamedPart, ObjectChecksum, Upload},
    notification::Created,
    service::Service,
    store::Object,
};

/// The maximum number of parts in one page.
const MAX_PAGE: i32 = 1_000;

impl Service {
    pub(super) async fn begin_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        // S3 computes CRC64NVME over the whole object unless the request asks otherwise, and the
        // other algorithms over the parts' checksums.
        let algorithm = input.checksum_algorithm.as_ref().map(|named| {
            Algorithm::named(named.as_str()).ok_or_else(|| {
                s3_error!(InvalidRequest, "This checksum algorithm is not supported.")
            })
        });
        let checksum = algorithm.transpose()?.map(|algorithm| {
            let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
            let whole = kind.map_or(algorithm == Algorithm::Crc64Nvme, |kind| {
                kind == ChecksumType::FULL_OBJECT
            });
            ObjectChecksum { algorithm, whole }
        });
        let upload = Upload {
            key: input.key.clone(),
            begun_at: self.store.now(),
            checksum,
            description: Description {
                content_type: input.content_type,
                content_disposition: input.content_disposition,
                content_encoding: strip_aws_chunked(input.content_encoding),
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
        };
        let (store, bucket) = (Arc::clone(&self.store), input.bucket.clone());
        let id = blocking(move || upload.create(&store, &bucket)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn receive_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request {
            input,
            headers,
            trailing_headers,
            ..
        } = request;
        multipart::check_part_number(input.part_number)?;
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let body = input
            .body
            .unwrap_or_else(|| StreamingBlob::from(Body::empty()));
        let trailers = || trailing_headers.and_then(|trailers| trailers.take());
        let content = self
            .receive(body, &headers, input.content_length, trailers)
            .await?;
        // The answer reports the checksums of the received content.
        let headers = checksum::to_headers(&content.checksums);
        let (store, number) = (Arc::clone(&self.store), input.part_number);
        let etag =
            blocking(move || multipart::store_part(&store.disk, &folder, number, &content)).await?;
        let output = UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..UploadPartOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    /// Stores a part that is copied from another object, or from a range of it.
    pub(super) async fn copy_part(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        multipart::check_part_number(input.part_number)?;
        let (upload, folder) =
            Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let condition = ReadCondition {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        let Object {
            mut file,
            attributes,
        } = self.source(&input.copy_source, condition).await?;
        let size = attributes.file.size;
        let range = input
            .copy_source_range
            .map_or(Ok(0..size), |range| copied_range(&range, size))?;

        // The part is hashed while it is copied, like one that is received.
        let (store, number, copied_at) =
            (Arc::clone(&self.store), input.part_number, self.store.now());
        let hasher = checksum::hasher(upload.checksum.map(|checksum| checksum.algorithm));
        let (etag, checksums) = blocking(move || {
            file.seek(SeekFrom::Start(range.start))
                .map_err(disk_error)?;
            let content = copy_body(
                store.temporary_path(),
                hasher,
                file.take(range.end - range.start),
            )
            .map_err(disk_error)?;
            let etag = multipart::store_part(&store.disk, &folder, number, &content)?;
            Ok((etag, content.checksums))
        })
        .await?;
        let sums = checksum::to_dto(&checksums);
        let result = CopyPartResult {
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(SystemTime::from(copied_at).into()),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        }))
    }

    pub(super) async fn complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let expected = checksum::from_headers(&request.headers);
        let input = request.input;
        let condition = WriteCondition::new(input.if_match, input.if_none_match)?;
        // Every part of the list must have a number and an ETag.
        let named = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default()
            .into_iter()
            .map(|part| {
                Ok(NamedPart {
                    number: part.part_number.ok_or_else(|| s3_error!(InvalidPart))?,
                    etag: part
                        .e_tag
                        .map(ETag::into_value)
                        .ok_or_else(|| s3_error!(InvalidPart))?,
                })
            });
        let named = named.collect::<S3Result<Vec<_>>>()?;
        let completion = CompletionRequest {
            bucket: input.bucket,
            key: input.key,
            upload: input.upload_id,
            parts: named,
        };
        let completed = match self
            .make_object(&completion, expected, input.mpu_object_size, condition)
            .await
        {
            // The upload no longer exists after its completion. A client that lost the answer
            // repeats the request, and S3 then repeats its answer.
            Err(error) => self.store.completed_uploads.find(&completion).ok_or(error),
            completed => completed,
        };
        let attributes = completed?;
        let sums = checksum::to_dto(&attributes.checksums);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", completion.bucket, completion.key)),
            bucket: Some(completion.bucket),
            key: Some(completion.key),
            e_tag: Some(ETag::Strong(attributes.etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    /// Assembles the parts into an object, commits it and removes the upload.
    async fn make_object(
        &self,
        completion: &CompletionRequest,
        expected: Checksums,
        size: Option<i64>,
        condition: WriteCondition,
    ) -> S3Result<Attributes> {
        let (upload, folder) = Upload::find(
            &self.store,
            &completion.bucket,
            &completion.key,
            &completion.upload,
        )?;
        let (store, parts, named) = (
            Arc::clone(&self.store),
            folder.clone(),
            completion.parts.clone(),
        );
        let new = blocking(move || {
            let new = multipart::assemble(&store, &upload, &parts, &named)?;
            let length = new.file.metadata().map_err(disk_error)?.len();
            if size.is_some_and(|size| u64::try_from(size) != Ok(length)) {
                return Err(s3_error!(
                    InvalidRequest,
                    "The object does not have the size that you specified."
                ));
            }
            checksum::compare(&comparable(expected, &new.checksums), &new.checksums)?;
            Ok(new)
        })
        .await?;
        let (bucket, key) = (completion.bucket.clone(), completion.key.clone());
        let attributes = self
            .commit(
                Created::CompleteMultipartUpload,
                new,
                bucket,
                key,
                condition,
            )
            .await?;
        self.store
            .completed_uploads
            .add(completion.clone(), attributes.clone());
        // The object is committed. Parts that can't be removed only take up space.
        let _ = blocking(move || multipart::remove(&folder).map_err(disk_error)).await;
        Ok(attributes)
    }

    pub(super) async fn abort_upload(&self, input: AbortMultipartUploadInput) -> S3Result {
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        blocking(move || multipart::remove(&folder).map_err(disk_error)).await
    }

    pub(super) async fn parts(
        &self,
        input: ListPartsInput,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let max = input.max_parts.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
        let after = input.part_number_marker.unwrap_or_default();
        let mut parts = blocking(move || multipart::parts(&folder).map_err(disk_error)).await?;
        parts.retain(|part| part.number > after);
        let page = usize::try_from(max).unwrap_or_default();
        let is_truncated = parts.len() > page;
        parts.truncate(page);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(max),
            part_number_marker: Some(after),
            next_part_number_marker: parts.last().map(|part| part.number),
            is_truncated: Some(is_truncated),
            parts: Some(parts.into_iter().map(listed).collect()),
            ..ListPartsOutput::default()
        }))
    }
}

/// Parses `bytes=first-last`, the only form that S3 accepts here, for a source of `size` bytes.
///
/// # Errors
/// `InvalidArgument` for another form, and for a range beyond the end of the source.
fn copied_range(range: &str, size: u64) -> S3Result<Range<u64>> {
    let parse = |number: &str| {
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| number.parse::<u64>().ok())?
    };
    // The form is checked before the bounds, because S3 reports them differently.
    let ends = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = ends.and_then(|(first, last)| Some((parse(first)?, parse(last)?)))
    else {
        return Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
        ));
    };
    if first > last || last >= size {
        return Err(s3_error!(
            InvalidArgument,
            "Range specified is not valid for source object of size: {size}"
        ));
    }
    Ok(first..last + 1)
}

fn listed(part: multipart::Part) -> Part {
    Part {
        part_number: Some(part.number),
        e_tag: Some(ETag::Strong(part.etag)),
        size: i64::try_from(part.size).ok(),
        last_modified: Some(part.received_at.into()),
        ..Part::default()
    }
}

/// Returns the expected checksums that can be compared with `found`. A caller may give a checksum
/// over checksums with or without the number of parts.
fn comparable(expected: Checksums, found: &Checksums) -> Checksums {
    let named =
        |(algorithm, value): (Algorithm, String)| match found.get(&algorithm)?.rsplit_once('-') {
            Some((sum, parts)) if sum == value => Some((algorithm, format!("{sum}-{parts}"))),
            Some(_) | None => Some((algorithm, value)),
        };
    expected.into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_range_must_lie_within_the_source() {
        assert_eq!(copied_range("bytes=0-0", 1).unwrap(), 0..1);
        assert_eq!(copied_range("bytes=3-9", 10).unwrap(), 3..10);
        for range in [
            "",
            "0-1",
            "bytes=",
            "bytes=-5",
            "bytes=5-",
            "bytes=+1-2",
            "bytes=1-2,4-5",
            "bytes=4-3",
            "bytes=3-10",
        ] {
            assert!(copied_range(range, 10).is_err(), "{range}");
        }
        assert!(copied_range("bytes=0-0", 0).is_err());
    }
}
