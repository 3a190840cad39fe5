//! The S3 operations that are implemented. `s3s` answers every other one with `NotImplemented`.

use std::{fs, io, sync::Arc, time::SystemTime};

use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, BucketLocationConstraint,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput,
        CopyObjectOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, DeletedObject, ETagCondition, Error, GetBucketLocationInput,
        GetBucketLocationOutput, GetBucketNotificationConfigurationInput,
        GetBucketNotificationConfigurationOutput, GetObjectInput, GetObjectOutput,
        GetObjectTaggingInput, GetObjectTaggingOutput, HeadBucketInput, HeadBucketOutput,
        HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
        ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput,
        ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, ObjectIdentifier,
        PutBucketNotificationConfigurationInput, PutBucketNotificationConfigurationOutput,
        PutObjectInput, PutObjectOutput, PutObjectTaggingInput, PutObjectTaggingOutput,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use super::{
    attributes::Attributes,
    blocking,
    condition::WriteCondition,
    configuration::QueueRule,
    disk_error,
    notification::{Created, Event, Notifications},
    store::{NewObject, Store},
};
use crate::wire::REGION;

/// The S3 service: a store and its notifications.
pub(super) struct Service {
    pub(super) store: Arc<Store>,
    notifications: Arc<Notifications>,
}

impl Service {
    pub(super) fn new(store: Store, notifications: Notifications) -> Self {
        Self {
            store: Arc::new(store),
            notifications: Arc::new(notifications),
        }
    }

    /// Deletes one of several objects, under the condition that the request gives for it.
    async fn delete_one(&self, bucket: &str, object: ObjectIdentifier) -> S3Result {
        // S3 supports these conditions only in directory buckets. Ignoring them could delete an
        // object that they protect.
        if object.last_modified_time.is_some() || object.size.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "Deleting by last-modified time or size is not supported: use the ETag."
            ));
        }
        let condition = object.e_tag.map(|etag| match etag.value() {
            "*" => ETagCondition::Any,
            _ => ETagCondition::ETag(etag),
        });
        self.delete(
            bucket.to_owned(),
            object.key,
            WriteCondition::new(condition, None)?,
        )
        .await
    }

    /// Commits a new object and sends its notifications. Completes even if the caller disconnects.
    pub(super) async fn commit(
        &self,
        created: Created,
        new: NewObject,
        bucket: String,
        key: String,
        condition: WriteCondition,
    ) -> S3Result<Attributes> {
        let (store, notifications) = (Arc::clone(&self.store), Arc::clone(&self.notifications));
        blocking(move || {
            let attributes = store.commit(new, &bucket, &key, &condition)?;
            let (size, at) = (attributes.file.size, store.clock.now());
            notifications.notify(&Event {
                created,
                bucket: &bucket,
                key: &key,
                size,
                etag: &attributes.etag,
                at,
            });
            Ok(attributes)
        })
        .await
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = request.input.bucket;
        match fs::create_dir(self.store.paths.bucket(&bucket)) {
            // In us-east-1, and in no other region, an owner can create an existing bucket again
            // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>, read
            // 2026-11).
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(disk_error(error)),
            Ok(()) | Err(_) => Ok(S3Response::new(CreateBucketOutput {
                location: Some(format!("/{bucket}")),
            })),
        }
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.check_bucket(&request.input.bucket)?;
        // The location of us-east-1 is an empty element.
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: None::<BucketLocationConstraint>,
        }))
    }

    async fn get_bucket_notification_configuration(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
        let bucket = request.input.bucket;
        self.store.check_bucket(&bucket)?;
        let rules = self
            .notifications
            .rules(&bucket)
            .iter()
            .map(QueueRule::to_dto)
            .collect();
        Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
            queue_configurations: Some(rules),
            ..GetBucketNotificationConfigurationOutput::default()
        }))
    }

    async fn put_bucket_notification_configuration(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketNotificationConfigurationOutput>> {
        let PutBucketNotificationConfigurationInput {
            bucket,
            notification_configuration,
            skip_destination_validation,
            ..
        } = request.input;
        self.store.check_bucket(&bucket)?;
        let rules = QueueRule::parse_all(notification_configuration)?;
        let tested = !skip_destination_validation.unwrap_or_default();
        let (notifications, at) = (Arc::clone(&self.notifications), self.store.clock.now());
        blocking(move || notifications.replace(&bucket, rules, at, tested)).await?;
        Ok(S3Response::new(
            PutBucketNotificationConfigurationOutput::default(),
        ))
    }

    async fn list_buckets(
        &self,
        _: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = Arc::clone(&self.store);
        let buckets = blocking(move || store.buckets().map_err(disk_error)).await?;
        let bucket = |(name, since): (String, SystemTime)| Bucket {
            name: Some(name),
            creation_date: Some(since.into()),
            ..Bucket::default()
        };
        let buckets = buckets.into_iter().map(bucket).collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            ..ListBucketsOutput::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.put(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.get(request.input).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.head(request.input).await
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        self.copy(request.input).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let condition = WriteCondition::new(input.if_match, None)?;
        self.delete(input.bucket, input.key, condition).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        self.store.check_bucket(&input.bucket)?;
        // Each object has its own outcome: one refusal does not affect the others.
        let quiet = input.delete.quiet.unwrap_or_default();
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            let key = Some(object.key.clone());
            match self.delete_one(&input.bucket, object).await {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key,
                    ..DeletedObject::default()
                }),
                Err(error) => {
                    let (code, message) = (
                        error.code().as_str().to_owned(),
                        error.message().map(str::to_owned),
                    );
                    errors.push(Error {
                        key,
                        code: Some(code),
                        message,
                        ..Error::default()
                    });
                }
            }
        }
        let (deleted, errors) = (Some(deleted), Some(errors));
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted,
            errors,
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.tags(request.input).await
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        self.tag(request.input).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.list(request.input).await
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        self.list_by_marker(request.input).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(request.input).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.receive_part(request).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.copy_part(request.input).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.list_uploads(request.input).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(request.input).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts(request.input).await
    }
}
