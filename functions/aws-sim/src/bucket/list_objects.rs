//! The operations `ListObjectsV2` and `ListObjects`.

use std::{io, sync::Arc};

use s3s::{
    S3Response, S3Result,
    dto::{
        CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, ObjectStorageClass,
    },
    s3_error,
};

use super::{
    attributes::Attributes,
    blocking, disk_error,
    notification::encode,
    page::{Item, Page, Query},
    service::Service,
    store::Store,
    walk,
};

/// The maximum number of keys and common prefixes in one page
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>, read 2026-11).
const MAX_PAGE: i32 = 1_000;

/// A page in the form of the answer.
struct ListedPage {
    contents: Vec<Object>,
    common_prefixes: Vec<CommonPrefix>,
    /// The key or common prefix after which the next page begins, if there is one.
    next: Option<String>,
}

/// The parameters that both operations share.
struct ListRequest {
    bucket: String,
    prefix: String,
    delimiter: String,
    after: String,
    max: i32,
    encoding: KeyEncoding,
}

/// The encoding of keys in the answer.
#[derive(Clone, Copy)]
pub(super) enum KeyEncoding {
    Plain,
    Url,
}

impl Service {
    pub(super) async fn list(
        &self,
        input: ListObjectsV2Input,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let encoding = KeyEncoding::of(input.encoding_type.as_ref());
        let max = page_length(input.max_keys)?;
        // A token continues an earlier list, so it takes precedence over `StartAfter`.
        let after = match &input.continuation_token {
            Some(token) => parse_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listed = self
            .page(ListRequest {
                bucket: input.bucket.clone(),
                prefix: input.prefix.clone().unwrap_or_default(),
                delimiter: input.delimiter.clone().unwrap_or_default(),
                after,
                max,
                encoding,
            })
            .await?;
        let count = listed.contents.len() + listed.common_prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.apply(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(&delimiter)),
            start_after: input.start_after.map(|after| encoding.apply(&after)),
            max_keys: Some(max),
            key_count: i32::try_from(count).ok(),
            encoding_type: input.encoding_type,
            continuation_token: input.continuation_token,
            is_truncated: Some(listed.next.is_some()),
            next_continuation_token: listed
                .next
                .map(|next| base64_simd::URL_SAFE.encode_to_string(next)),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.common_prefixes),
            ..ListObjectsV2Output::default()
        }))
    }

    pub(super) async fn list_by_marker(
        &self,
        input: ListObjectsInput,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let encoding = KeyEncoding::of(input.encoding_type.as_ref());
        let max = page_length(input.max_keys)?;
        let listed = self
            .page(ListRequest {
                bucket: input.bucket.clone(),
                prefix: input.prefix.clone().unwrap_or_default(),
                delimiter: input.delimiter.clone().unwrap_or_default(),
                after: input.marker.clone().unwrap_or_default(),
                max,
                encoding,
            })
            .await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.apply(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(&delimiter)),
            marker: Some(encoding.apply(&input.marker.unwrap_or_default())),
            max_keys: Some(max),
            encoding_type: input.encoding_type,
            is_truncated: Some(listed.next.is_some()),
            next_marker: listed.next.map(|next| encoding.apply(&next)),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.common_prefixes),
            ..ListObjectsOutput::default()
        }))
    }

    async fn page(&self, requested: ListRequest) -> S3Result<ListedPage> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            store.check_bucket(&requested.bucket)?;
            page(&store, &requested).map_err(disk_error)
        })
        .await
    }
}

fn page(store: &Store, requested: &ListRequest) -> io::Result<ListedPage> {
    // Only the entries of this page need their attributes, which may have to be computed.
    let keys = walk::keys(&store.paths, &requested.bucket, &requested.prefix)?;
    let page = Page::of(
        &keys,
        &Query {
            prefix: &requested.prefix,
            delimiter: &requested.delimiter,
            after: &requested.after,
            max: usize::try_from(requested.max).unwrap_or_default(),
        },
    );
    let mut listed = ListedPage {
        contents: Vec::new(),
        common_prefixes: Vec::new(),
        next: page.next().map(str::to_owned),
    };
    for item in &page.items {
        match item {
            Item::Key(key) => {
                // The object may have been deleted after its folder was read.
                let object = store.find_object(&requested.bucket, key)?;
                listed.contents.extend(
                    object.map(|object| summary(requested.encoding.apply(key), object.attributes)),
                );
            }
            Item::CommonPrefix(prefix) => {
                listed.common_prefixes.push(CommonPrefix {
                    prefix: Some(requested.encoding.apply(prefix)),
                });
            }
        }
    }
    Ok(listed)
}

fn summary(key: String, attributes: Attributes) -> Object {
    Object {
        key: Some(key),
        last_modified: Some(attributes.last_modified()),
        size: i64::try_from(attributes.file.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        e_tag: Some(ETag::Strong(attributes.etag)),
        ..Object::default()
    }
}

impl KeyEncoding {
    pub(super) fn of(requested: Option<&EncodingType>) -> Self {
        if requested.is_some_and(|requested| requested.as_str() == EncodingType::URL) {
            Self::Url
        } else {
            Self::Plain
        }
    }

    pub(super) fn apply(self, key: &str) -> String {
        match self {
            Self::Plain => key.to_owned(),
            Self::Url => encode(key),
        }
    }
}

pub(super) fn page_length(requested: Option<i32>) -> S3Result<i32> {
    match requested.unwrap_or(MAX_PAGE) {
        requested if requested < 0 => {
            Err(s3_error!(InvalidArgument, "max-keys must not be negative"))
        }
        requested => Ok(requested.min(MAX_PAGE)),
    }
}

fn parse_token(token: &str) -> S3Result<String> {
    let after = base64_simd::URL_SAFE
        .decode_to_vec(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    after.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        )
    })
}
