//! Google's lists: page after page, each entry once, whole or not at all.

use std::{collections::HashSet, time::Duration};

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Gemini,
    batches::CALL_TIMEOUT,
    error::ApiError,
    exchange::{Call, in_time},
};

/// Some hundred pages, which is more than a project gathers in the six weeks that batches are kept.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);

/// As many as a page can hold. Without a page size, the list of batches has been seen empty when
/// there were batches.
const PAGE_SIZE: &str = "100";

/// What Google lists.
pub(super) trait Listed: TryFrom<Self::Wire, Error = ApiError> {
    /// As it is written on a page.
    type Wire: DeserializeOwned;

    /// The list's path.
    const PATH: &'static str;

    /// The member of a page that holds the entries.
    const MEMBER: &'static str;

    /// What no other has.
    fn name(&self) -> &str;
}

impl Gemini {
    /// All of the project's, in Google's order, each once. Nothing is left out: what can't be
    /// listed whole is an error, so that an empty list means that there is none.
    ///
    /// # Errors
    /// That of the first page that fails; [`ApiError::Malformed`] when the pages go in a circle.
    pub(super) async fn list<T: Listed>(&self) -> Result<Vec<T>, ApiError> {
        in_time(LIST_TIMEOUT, self.all_pages()).await
    }

    async fn all_pages<T: Listed>(&self) -> Result<Vec<T>, ApiError> {
        let mut entries = Vec::new();
        // The list moves on while it is read, so an entry can be on two pages.
        let mut names = HashSet::new();
        let mut tokens = HashSet::new();
        let mut token = String::new();
        loop {
            let mut url = self.url(T::PATH);
            url.query_pairs_mut().append_pair("pageSize", PAGE_SIZE);
            if !token.is_empty() {
                url.query_pairs_mut().append_pair("pageToken", &token);
            }
            let page = self
                .again(&Call::new(Method::GET, url), CALL_TIMEOUT)
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
            token = next_page_token;
            if token.is_empty() {
                return Ok(entries);
            }
            if !tokens.insert(token.clone()) {
                return Err(ApiError::malformed("the pages of the list go in a circle"));
            }
        }
    }
}

/// `{"files":[…],"nextPageToken":"…"}`, and `{}` where there is nothing.
struct Page<W> {
    entries: Vec<W>,
    next_page_token: String,
}

impl<W: DeserializeOwned> Page<W> {
    /// An empty list is `{}`. What holds something else instead, such as an error, must not pass
    /// for one.
    fn read(mut page: Map<String, Value>, member: &str) -> Result<Self, ApiError> {
        let unreachable: Vec<String> = taken(&mut page, "unreachable")?;
        if !unreachable.is_empty() {
            return Err(ApiError::transient("a part of the list is unreachable"));
        }
        let next_page_token = taken(&mut page, "nextPageToken")?;
        let entries: Vec<W> = taken(&mut page, member)?;
        if entries.is_empty() && !page.is_empty() {
            return Err(ApiError::malformed(format!("not a list of {member}")));
        }
        Ok(Self {
            entries,
            next_page_token,
        })
    }
}

/// A member of a page, its default where it is absent or null. Nothing of what it holds is in the
/// error.
fn taken<T: DeserializeOwned + Default>(
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
        script::{Reply, Script, client, interrupted, json as answer},
    };

    async fn files(replies: impl IntoIterator<Item = Reply>) -> Result<Vec<File>, ApiError> {
        client(&Script::replies(replies)).files().await
    }

    fn page(names: &[&str], token: &str) -> Reply {
        let files: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        answer(200, &json!({ "files": files, "nextPageToken": token }))
    }

    #[tokio::test]
    async fn empty_object_and_null_members_are_empty_lists() {
        for empty in [
            json!({}),
            json!({ "files": null, "nextPageToken": null, "unreachable": [] }),
        ] {
            assert_eq!(files([answer(200, &empty)]).await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn page_without_entries_is_not_the_last_one() {
        let found = files([page(&[], "a"), page(&["files/1"], "")])
            .await
            .unwrap();
        assert_eq!(
            found.into_iter().map(|file| file.name).collect::<Vec<_>>(),
            [FileName::new("files/1")]
        );
    }

    #[tokio::test]
    async fn page_of_something_else_is_an_error() {
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
    async fn page_that_is_interrupted_is_asked_for_once_more() {
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
