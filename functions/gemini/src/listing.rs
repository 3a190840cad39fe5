//! Google's paginated lists: complete or an error, with each entry once.

use std::{collections::HashSet, time::Duration};

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Gemini,
    batches::CALL_TIMEOUT,
    call::{Call, with_timeout},
    error::ApiError,
};

/// How long a whole list may take. That is enough for some hundred pages, more than a project
/// accumulates in the six weeks for which Google keeps batches.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);

/// The maximum. Without a page size, the API has returned an empty list although there were
/// batches.
const PAGE_SIZE: &str = "100";

/// A type of resource that Google lists.
pub(super) trait Listed: TryFrom<Self::Wire, Error = ApiError> {
    /// Its form on a page.
    type Wire: DeserializeOwned;

    /// The path of the list.
    const PATH: &'static str;

    /// The member of a page that holds the entries.
    const MEMBER: &'static str;

    /// Its unique name.
    fn name(&self) -> &str;
}

impl Gemini {
    /// Returns all entries of the project, in Google's order, each once. An incomplete list is an
    /// error, so an empty list means that there is none.
    ///
    /// # Errors
    /// The error of the first page that fails, or [`ApiError::Malformed`] when the pages form a
    /// cycle.
    pub(super) async fn list<T: Listed>(&self) -> Result<Vec<T>, ApiError> {
        with_timeout(LIST_TIMEOUT, self.all_pages()).await
    }

    async fn all_pages<T: Listed>(&self) -> Result<Vec<T>, ApiError> {
        let mut entries = Vec::new();
        // The list can change between two pages, so an entry can be on both.
        let mut names = HashSet::new();
        let mut tokens = HashSet::new();
        let mut token = String::new();
        loop {
            let mut url = self.url(T::PATH);
            url.query_pairs_mut().append_pair("pageSize", PAGE_SIZE);
            if !token.is_empty() {
                url.query_pairs_mut().append_pair("pageToken", &token);
            }
            // A page with any other content is an error, never an empty page.
            let page = self
                .send_with_retry(&Call::new(Method::GET, url), CALL_TIMEOUT)
                .await?
                .json()?;
            let Page {
                entries: found,
                next_page_token,
            } = Page::<T::Wire>::read(page, T::MEMBER)?;
            for entry in found {
                let entry = T::try_from(entry)?;
                if names.insert(entry.name().to_owned()) {
                    entries.push(entry);
                }
            }
            // A token that appears twice would make this loop endless.
            token = next_page_token;
            if token.is_empty() {
                return Ok(entries);
            }
            if !tokens.insert(token.clone()) {
                return Err(ApiError::malformed("the pages of the list form a cycle"));
            }
        }
    }
}

/// `{"files":[…],"nextPageToken":"…"}`, and `{}` for an empty list.
struct Page<W> {
    entries: Vec<W>,
    next_page_token: String,
}

impl<W: DeserializeOwned> Page<W> {
    /// Reads a page. An empty list is `{}`; any other object without entries, such as an error,
    /// must not count as one.
    fn read(mut page: Map<String, Value>, member: &str) -> Result<Self, ApiError> {
        let unreachable: Vec<String> = take_member(&mut page, "unreachable")?;
        if !unreachable.is_empty() {
            return Err(ApiError::transient("a part of the list is unreachable"));
        }
        let next_page_token = take_member(&mut page, "nextPageToken")?;
        let entries: Vec<W> = take_member(&mut page, member)?;
        if entries.is_empty() && !page.is_empty() {
            return Err(ApiError::malformed(format!("not a list of {member}")));
        }
        Ok(Self {
            entries,
            next_page_token,
        })
    }
}

/// Removes a member of a page. It is the default if the member is absent or null. The error
/// contains nothing of its value.
fn take_member<T: DeserializeOwned + Default>(
    page: &mut Map<String, Value>,
    member: &str,
) -> Result<T, ApiError> {
    let value = page.remove(member).unwrap_or_default();
    let value: Option<T> = serde_json::from_value(value)
        .map_err(|_| ApiError::malformed(format!("a list whose {member} can't be read")))?;
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use darkroom::names::FileName;
    use serde_json::json;

    use super::*;
    use crate::{
        File,
        fake_transport::{FakeTransport, Reply, client, interrupted, json as answer},
    };

    async fn files(replies: impl IntoIterator<Item = Reply>) -> Result<Vec<File>, ApiError> {
        client(&FakeTransport::replies(replies)).files().await
    }

    fn page(names: &[&str], token: &str) -> Reply {
        let files: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        answer(200, &json!({ "files": files, "nextPageToken": token }))
    }

    #[tokio::test]
    async fn an_empty_object_and_null_members_are_empty_lists() {
        for empty in [
            json!({}),
            json!({ "files": null, "nextPageToken": null, "unreachable": [] }),
        ] {
            assert_eq!(files([answer(200, &empty)]).await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn a_page_without_entries_can_have_a_successor() {
        let found = files([page(&[], "a"), page(&["files/1"], "")])
            .await
            .unwrap();
        assert_eq!(
            found.into_iter().map(|file| file.name).collect::<Vec<_>>(),
            [FileName::new("files/1")]
        );
    }

    #[tokio::test]
    async fn a_page_with_other_content_is_an_error() {
        for other in [
            json!({ "operations": [] }),
            json!({ "error": { "code": 500 } }),
            json!({ "files": {} }),
            json!({ "files": "canary" }),
            json!({ "files": [{ "name": "files/1" }], "nextPageToken": 7 }),
        ] {
            let error = files([answer(200, &other)]).await.unwrap_err();
            assert!(
                matches!(error, ApiError::Malformed { .. })
                    && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn an_interrupted_page_is_requested_again() {
        let found = files([
            page(&["files/1"], "a"),
            interrupted(),
            page(&["files/2"], ""),
        ])
        .await
        .unwrap();
        assert_eq!(found.len(), 2);
    }
}
