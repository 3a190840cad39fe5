//! The operation that lists a bucket's multipart uploads under way.

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
    list::{Spelling, page_length},
    listing::{Item, Query, roll_up},
    multipart::{Begun, Upload},
    service::Service,
};

/// One page of uploads.
#[derive(Debug, Default)]
struct Page<'a> {
    uploads: Vec<&'a Begun>,
    /// Each once.
    common_prefixes: Vec<&'a str>,
    /// The key, and the upload of that key, after which the next page begins; none on the last
    /// page.
    next: Option<(&'a str, Option<&'a str>)>,
}

impl<'a> Page<'a> {
    /// The page that answers `query` after the upload `after_id` of its key, of uploads by key and
    /// id.
    fn of(all: &'a [Begun], query: &Query<'_>, after_id: &str) -> Self {
        let mut page = Self::default();
        let mut last = None;
        for begun in all {
            let key = begun.upload.key.as_str();
            // Without an id, what comes after a key is after all uploads of the key.
            let is_after = key > query.after
                || (key == query.after && !after_id.is_empty() && *begun.id > *after_id);
            if !key.starts_with(query.prefix) || !is_after {
                continue;
            }
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
                    page.uploads.push(begun);
                    last = Some((key, Some(begun.id.as_str())));
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
        let spelling = Spelling::of(input.encoding_type.as_ref());
        let max = page_length(input.max_uploads)?;
        let (store, bucket) = (Arc::clone(&self.store), input.bucket.clone());
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
        let page = Page::of(
            &all,
            &query,
            input.upload_id_marker.as_deref().unwrap_or_default(),
        );
        let common_prefix = |prefix: &&str| CommonPrefix {
            prefix: Some(spelling.spell(prefix)),
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(
                page.uploads
                    .iter()
                    .map(|begun| listed(begun, spelling))
                    .collect(),
            ),
            common_prefixes: Some(page.common_prefixes.iter().map(common_prefix).collect()),
            is_truncated: Some(page.next.is_some()),
            next_key_marker: page.next.map(|(key, _)| spelling.spell(key)),
            next_upload_id_marker: page.next.and_then(|(_, id)| id).map(str::to_owned),
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|prefix| spelling.spell(&prefix)),
            delimiter: input.delimiter.map(|delimiter| spelling.spell(&delimiter)),
            key_marker: Some(spelling.spell(&input.key_marker.unwrap_or_default())),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            max_uploads: Some(max),
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

fn listed(begun: &Begun, spelling: Spelling) -> MultipartUpload {
    MultipartUpload {
        key: Some(spelling.spell(&begun.upload.key)),
        upload_id: Some(begun.id.clone()),
        initiated: Some(SystemTime::from(begun.upload.begun_at).into()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..MultipartUpload::default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{super::attributes::Description, *};

    fn begun(uploads: &[(&str, &str)]) -> Vec<Begun> {
        let begun = |(key, id): &(&str, &str)| Begun {
            id: (*id).to_owned(),
            upload: Upload {
                key: (*key).to_owned(),
                begun_at: Timestamp::UNIX_EPOCH,
                description: Description::default(),
                checksum: None,
            },
        };
        uploads.iter().map(begun).collect()
    }

    /// All pages, one after the other, of so many items each.
    fn pages(all: &[Begun], query: &Query<'_>) -> Vec<Vec<String>> {
        let (mut pages, mut after, mut after_id) =
            (Vec::new(), query.after.to_owned(), String::new());
        loop {
            let page = Page::of(
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
                .map(|begun| format!("{}#{}", begun.upload.key, begun.id));
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
        let all = begun(&[
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
