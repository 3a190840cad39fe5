//! The operations that list a bucket's objects.

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
    listing::{Item, Page, Query},
    notification::encode,
    service::Service,
    store::Store,
    walk,
};

/// The most keys and common prefixes of one page
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>, read 2026-11).
const LONGEST_PAGE: i32 = 1_000;

/// A page as it is answered.
struct Listed {
    contents: Vec<Object>,
    common_prefixes: Vec<CommonPrefix>,
    /// What the next page comes after.
    next: Option<String>,
}

/// What both operations are asked.
struct Asked {
    bucket: String,
    prefix: String,
    delimiter: String,
    after: String,
    max: i32,
    spelling: Spelling,
}

/// How keys are spelled in the answer.
#[derive(Clone, Copy)]
pub(super) enum Spelling {
    Plain,
    Url,
}

impl Service {
    pub(super) async fn list(
        &self,
        input: ListObjectsV2Input,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let spelling = Spelling::of(input.encoding_type.as_ref());
        let max = page_length(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => parse_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listed = self
            .page(Asked {
                bucket: input.bucket.clone(),
                prefix: input.prefix.clone().unwrap_or_default(),
                delimiter: input.delimiter.clone().unwrap_or_default(),
                after,
                max,
                spelling,
            })
            .await?;
        let count = listed.contents.len() + listed.common_prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(spelling.spell(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| spelling.spell(&delimiter)),
            start_after: input.start_after.map(|after| spelling.spell(&after)),
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
        let spelling = Spelling::of(input.encoding_type.as_ref());
        let max = page_length(input.max_keys)?;
        let listed = self
            .page(Asked {
                bucket: input.bucket.clone(),
                prefix: input.prefix.clone().unwrap_or_default(),
                delimiter: input.delimiter.clone().unwrap_or_default(),
                after: input.marker.clone().unwrap_or_default(),
                max,
                spelling,
            })
            .await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(spelling.spell(&input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| spelling.spell(&delimiter)),
            marker: Some(spelling.spell(&input.marker.unwrap_or_default())),
            max_keys: Some(max),
            encoding_type: input.encoding_type,
            is_truncated: Some(listed.next.is_some()),
            next_marker: listed.next.map(|next| spelling.spell(&next)),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.common_prefixes),
            ..ListObjectsOutput::default()
        }))
    }

    async fn page(&self, asked: Asked) -> S3Result<Listed> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            store.check_bucket(&asked.bucket)?;
            page(&store, &asked).map_err(disk_error)
        })
        .await
    }
}

fn page(store: &Store, asked: &Asked) -> io::Result<Listed> {
    let keys = walk::keys(&store.places, &asked.bucket, &asked.prefix)?;
    let page = Page::of(
        &keys,
        &Query {
            prefix: &asked.prefix,
            delimiter: &asked.delimiter,
            after: &asked.after,
            max: usize::try_from(asked.max).unwrap_or_default(),
        },
    );
    let mut listed = Listed {
        contents: Vec::new(),
        common_prefixes: Vec::new(),
        next: page.next().map(str::to_owned),
    };
    for item in &page.items {
        match item {
            Item::Key(key) => {
                // It may have been deleted since the folder was read.
                let object = store.find_object(&asked.bucket, key)?;
                listed.contents.extend(
                    object.map(|object| summary(asked.spelling.spell(key), object.attributes)),
                );
            }
            Item::CommonPrefix(prefix) => {
                listed.common_prefixes.push(CommonPrefix {
                    prefix: Some(asked.spelling.spell(prefix)),
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
        size: i64::try_from(attributes.of.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        e_tag: Some(ETag::Strong(attributes.etag)),
        ..Object::default()
    }
}

impl Spelling {
    pub(super) fn of(asked: Option<&EncodingType>) -> Self {
        if asked.is_some_and(|asked| asked.as_str() == EncodingType::URL) {
            Self::Url
        } else {
            Self::Plain
        }
    }

    pub(super) fn spell(self, key: &str) -> String {
        match self {
            Self::Plain => key.to_owned(),
            Self::Url => encode(key),
        }
    }
}

pub(super) fn page_length(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(LONGEST_PAGE) {
        asked if asked < 0 => Err(s3_error!(InvalidArgument, "max-keys must not be negative")),
        asked => Ok(asked.min(LONGEST_PAGE)),
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
