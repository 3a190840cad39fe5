//! The operation `ListMultipartUploads`.

use std::{sync::Arc, time::SystemTime};

use s3s::{
    S3Response, S3Result,
    dto::{
        CommonPrefix, ListMultipartUploadsInput, ListMultipartUploadsOutput, MultipartUpload,
        StorageClass,
    },
};

use super::{
    blocking, disk_error,
    list_objects::{KeyEncoding, page_length},
    multipart::{ActiveUpload, Upload},
    page::{Item, Query, roll_up},
    service::Service,
};

/// One page of uploads.
#[derive(Debug, Default)]
struct UploadPage<'a> {
    uploads: Vec<&'a ActiveUpload>,
    /// The common prefixes, without repetition.
    common_prefixes: Vec<&'a str>,
    /// The key, and the upload id within that key, after which the next page begins; none on the
    /// last page.
    next: Option<(&'a str, Option<&'a str>)>,
}

impl<'a> UploadPage<'a> {
    /// Returns the page for `query` that begins after the upload `after_id` of the key
    /// `query.after`. `all` is ordered by key and id.
    fn of(all: &'a [ActiveUpload], query: &Query<'_>, after_id: &str) -> Self {
        let mut page = Self::default();
        let mut last = None;
        for active in all {
            let key = active.upload.key.as_str();
            // Without an id, the page begins after all uploads of the key.
            let is_after = key > query.after
                || (key == query.after && !after_id.is_empty() && *active.id > *after_id);
            if !key.starts_with(query.prefix) || !is_after {
                continue;
            }
            // A common prefix covers adjacent uploads and is listed once.
            let item = roll_up(key, query);
            if let Item::CommonPrefix(prefix) = item
                && (prefix == query.after || page.common_prefixes.last() == Some(&prefix))
            {
                continue;
            }
            if page.uploads.len() + page.common_prefixes.len() >= query.max {
                page.next = last;
                break;
            }
            match item {
                Item::Key(key) => {
                    page.uploads.push(active);
                    last = Some((key, Some(active.id.as_str())));
                }
                Item::CommonPrefix(prefix) => {
                    page.common_prefixes.push(prefix);
                    last = Some((prefix, None));
                }
            }
        }
        page
    }
}

impl Service {
    pub(super) async fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let encoding = KeyEncoding::of(input.encoding_type.as_ref());
        let max = page_length(input.max_uploads)?;
        let (store, bucket) = (Arc::clone(&self.store), input.bucket.clone());
        // Uploads are few, so all of them are read for each page.
        let all = blocking(move || {
            store.check_bucket(&bucket)?;
            Upload::all(&store, &bucket).map_err(disk_error)
        })
        .await?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.key_marker.as_deref().unwrap_or_default(),
            max: usize::try_from(max).unwrap_or_default(),
        };
        let page = UploadPage::of(
            &all,
            &query,
            input.upload_id_marker.as_deref().unwrap_or_default(),
        );
        let common_prefix = |prefix: &&str| CommonPrefix {
            prefix: Some(encoding.apply(prefix)),
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(
                page.uploads
                    .iter()
                    .map(|active| listed(active, encoding))
                    .collect(),
            ),
            common_prefixes: Some(page.common_prefixes.iter().map(common_prefix).collect()),
            is_truncated: Some(page.next.is_some()),
            next_key_marker: page.next.map(|(key, _)| encoding.apply(key)),
            next_upload_id_marker: page.next.and_then(|(_, id)| id).map(str::to_owned),
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|prefix| encoding.apply(&prefix)),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(&delimiter)),
            key_marker: Some(encoding.apply(&input.key_marker.unwrap_or_default())),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            max_uploads: Some(max),
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

fn listed(active: &ActiveUpload, encoding: KeyEncoding) -> MultipartUpload {
    MultipartUpload {
        key: Some(encoding.apply(&active.upload.key)),
        upload_id: Some(active.id.clone()),
        initiated: Some(SystemTime::from(active.upload.begun_at).into()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..MultipartUpload::default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{super::attributes::Description, *};

    fn active(uploads: &[(&str, &str)]) -> Vec<ActiveUpload> {
        let active = |(key, id): &(&str, &str)| ActiveUpload {
            id: (*id).to_owned(),
            upload: Upload {
                key: (*key).to_owned(),
                begun_at: Timestamp::UNIX_EPOCH,
                description: Description::default(),
                checksum: None,
            },
        };
        uploads.iter().map(active).collect()
    }

    /// Returns all pages, with `query.max` items each.
    fn pages(all: &[ActiveUpload], query: &Query<'_>) -> Vec<Vec<String>> {
        let (mut pages, mut after, mut after_id) =
            (Vec::new(), query.after.to_owned(), String::new());
        loop {
            let page = UploadPage::of(
                all,
                &Query {
                    after: &after,
                    ..query.clone()
                },
                &after_id,
            );
            let uploads = page
                .uploads
                .iter()
                .map(|active| format!("{}#{}", active.upload.key, active.id));
            pages.push(
                uploads
                    .chain(
                        page.common_prefixes
                            .iter()
                            .map(|prefix| (*prefix).to_owned()),
                    )
                    .collect(),
            );
            let Some((key, id)) = page.next else {
                return pages;
            };
            (after, after_id) = (key.to_owned(), id.unwrap_or_default().to_owned());
        }
    }

    #[test]
    fn pages_continue_within_a_key_and_after_a_common_prefix() {
        let all = active(&[
            ("a", "1"),
            ("a", "2"),
            ("b/c", "3"),
            ("b/d", "4"),
            ("c", "5"),
        ]);
        let query = Query {
            max: 1,
            ..Query::default()
        };
        let single: Vec<String> = pages(&all, &query).concat();
        assert_eq!(single, ["a#1", "a#2", "b/c#3", "b/d#4", "c#5"]);
        let rolled_up = pages(
            &all,
            &Query {
                delimiter: "/",
                ..query.clone()
            },
        );
        assert_eq!(rolled_up.concat(), ["a#1", "a#2", "b/", "c#5"]);
        assert_eq!(
            pages(
                &all,
                &Query {
                    prefix: "b/",
                    max: 10,
                    ..query.clone()
                }
            ),
            [["b/c#3", "b/d#4"]]
        );
        assert_eq!(
            pages(
                &all,
                &Query {
                    after: "a",
                    max: 10,
                    ..query.clone()
                }
            ),
            [["b/c#3", "b/d#4", "c#5"]]
        );
        assert_eq!(
            pages(&all, &Query { max: 0, ..query }),
            [Vec::<String>::new()]
        );
    }
}
