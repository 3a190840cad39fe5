//! The operations of multipart uploads.

use std::sync::Arc;

use s3s::{
    Body, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListPartsInput, ListPartsOutput, Part,
        StreamingBlob, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    attributes::Description,
    blocking,
    checksum::{self, Algorithm, Checksums},
    condition::WriteCondition,
    disk_error,
    multipart::{self, NamedPart, ObjectChecksum, Upload},
    notification::Created,
    service::Service,
};

/// The numbers that parts can have.
const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

/// The most parts of one page.
const LONGEST_PAGE: i32 = 1_000;

impl Service {
    pub(super) async fn begin_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let algorithm = input.checksum_algorithm.as_ref().map(|named| {
            Algorithm::named(named.as_str())
                .ok_or_else(|| s3_error!(InvalidRequest, "This checksum algorithm is not known here."))
        });
        let checksum = algorithm.transpose()?.map(|algorithm| {
            let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
            let whole = kind.map_or(algorithm == Algorithm::Crc64Nvme, |kind| kind == ChecksumType::FULL_OBJECT);
            ObjectChecksum { algorithm, whole }
        });
        let upload = Upload {
            key: input.key.clone(),
            checksum,
            description: Description {
                content_type: input.content_type,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                cache_control: input.cache_control,
                metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            },
        };
        let (store, bucket) = (Arc::clone(&self.store), input.bucket.clone());
        let id = blocking(move || upload.begin(&store, &bucket)).await?;
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
        let S3Request { input, headers, trailing_headers, .. } = request;
        if !PART_NUMBERS.contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive."));
        }
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let body = input.body.unwrap_or_else(|| StreamingBlob::from(Body::empty()));
        let trailers = || trailing_headers.and_then(|trailers| trailers.take());
        let content = self.receive(body, &headers, input.content_length, trailers).await?;
        let headers = checksum::to_headers(&content.checksums);
        let (store, number) = (Arc::clone(&self.store), input.part_number);
        let etag = blocking(move || multipart::keep_part(&store.disk, &folder, number, &content)).await?;
        let output = UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..UploadPartOutput::default() };
        Ok(S3Response::with_headers(output, headers))
    }

    pub(super) async fn complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let expected = checksum::values(&request.headers);
        let input = request.input;
        let condition = WriteCondition::new(input.if_match, input.if_none_match)?;
        let named =
            input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default().into_iter().map(|part| {
                Ok(NamedPart {
                    number: part.part_number.ok_or_else(|| s3_error!(InvalidPart))?,
                    etag: part.e_tag.map(ETag::into_value).ok_or_else(|| s3_error!(InvalidPart))?,
                })
            });
        let named = named.collect::<S3Result<Vec<_>>>()?;
        let (upload, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let (store, parts, size) = (Arc::clone(&self.store), folder.clone(), input.mpu_object_size);
        let new = blocking(move || {
            let new = multipart::assemble(&store, &upload, &parts, &named)?;
            let length = new.file.metadata().map_err(disk_error)?.len();
            if size.is_some_and(|size| u64::try_from(size) != Ok(length)) {
                return Err(s3_error!(InvalidRequest, "The object is not of the size you specified."));
            }
            checksum::compare(&comparable(expected, &new.checksums), &new.checksums)?;
            Ok(new)
        })
        .await?;
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let attributes = self.commit(Created::CompleteMultipartUpload, new, bucket, key, condition).await?;
        // The object is there: that its parts are too costs some room and no more.
        let _ = blocking(move || multipart::forget(&folder).map_err(disk_error)).await;
        let sums = checksum::to_dto(&attributes.checksums);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(attributes.etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn abort_upload(&self, input: AbortMultipartUploadInput) -> S3Result {
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        blocking(move || multipart::forget(&folder).map_err(disk_error)).await
    }

    pub(super) async fn parts(&self, input: ListPartsInput) -> S3Result<S3Response<ListPartsOutput>> {
        let (_, folder) = Upload::find(&self.store, &input.bucket, &input.key, &input.upload_id)?;
        let max = input.max_parts.unwrap_or(LONGEST_PAGE).clamp(0, LONGEST_PAGE);
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

fn listed(part: multipart::Part) -> Part {
    Part {
        part_number: Some(part.number),
        e_tag: Some(ETag::Strong(part.etag)),
        size: i64::try_from(part.size).ok(),
        last_modified: Some(part.received_at.into()),
        ..Part::default()
    }
}

/// What the caller expects of the object, as far as it was computed; a checksum over checksums is named with and
/// without the number of parts.
fn comparable(expected: Checksums, found: &Checksums) -> Checksums {
    let named = |(algorithm, value): (Algorithm, String)| match found.get(&algorithm)?.rsplit_once('-') {
        Some((sum, parts)) if sum == value => Some((algorithm, format!("{sum}-{parts}"))),
        Some(_) | None => Some((algorithm, value)),
    };
    expected.into_iter().filter_map(named).collect()
}
