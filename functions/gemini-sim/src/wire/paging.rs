//! Pages of lists: `pageSize`, `pageToken`, `nextPageToken`.

use http::Uri;
use serde_json::{Value, json};

use crate::wire::{reply::ApiError, route::parameter};

/// The page that a caller requests.
pub(crate) struct Page {
    size: usize,
    /// The page contains entries with a smaller number than this, so it stays correct while entries
    /// are added and removed.
    before: Option<u64>,
}

impl Page {
    /// Reads the requested page; `None` when `pageSize` is not set.
    ///
    /// # Errors
    /// 400 for a size that is not a number, or an invalid token.
    pub(crate) fn from_query(uri: &Uri, max_size: usize) -> Result<Option<Self>, ApiError> {
        let Some(size) = parameter(uri, "pageSize").or_else(|| parameter(uri, "page_size")) else {
            return Ok(None);
        };
        let size: usize = size
            .parse()
            .map_err(|_| ApiError::invalid("Invalid value at 'page_size' (TYPE_INT32)"))?;
        let before = token(uri)?;
        Ok((size > 0).then(|| Self {
            size: size.min(max_size),
            before,
        }))
    }

    /// Reads the requested page, of `default_size` entries when `pageSize` is not set.
    ///
    /// # Errors
    /// 400 for a size that is not a number, or an invalid token.
    pub(crate) fn from_query_or(
        uri: &Uri,
        default_size: usize,
        max_size: usize,
    ) -> Result<Self, ApiError> {
        match Self::from_query(uri, max_size)? {
            Some(page) => Ok(page),
            None => Ok(Self {
                size: default_size,
                before: token(uri)?,
            }),
        }
    }

    /// Returns the page as JSON. The entries come with their numbers, the highest first. An empty
    /// page is `{}`.
    pub(crate) fn of<T>(
        &self,
        member: &str,
        entries: impl Iterator<Item = (u64, T)>,
        resource: impl Fn(T) -> Value,
    ) -> Value {
        let mut rest = entries
            .skip_while(|(number, _)| self.before.is_some_and(|before| *number >= before))
            .peekable();
        let mut page = Vec::new();
        let mut last = 0;
        while page.len() < self.size
            && let Some((number, entry)) = rest.next()
        {
            page.push(resource(entry));
            last = number;
        }
        let mut answer = json!({});
        if !page.is_empty() {
            answer[member] = Value::from(page);
            if rest.peek().is_some() {
                answer["nextPageToken"] = Value::from(format!("{last:016x}"));
            }
        }
        answer
    }
}

fn token(uri: &Uri) -> Result<Option<u64>, ApiError> {
    let token = parameter(uri, "pageToken")
        .or_else(|| parameter(uri, "page_token"))
        .unwrap_or_default();
    if token.is_empty() {
        return Ok(None);
    }
    let number = u64::from_str_radix(token, 16);
    number
        .map(Some)
        .map_err(|_| ApiError::invalid("Invalid page token."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, numbers: &[u64]) -> Result<Value, ApiError> {
        let uri: Uri = format!("/v1/files?{query}").parse().expect("a uri");
        let entries = numbers.iter().map(|number| (*number, *number));
        Ok(Page::from_query_or(&uri, 10, 100)?.of("all", entries, Value::from))
    }

    #[test]
    fn pages_are_consecutive() {
        let first = page("pageSize=2", &[9, 7, 5, 3, 1]).expect("page");
        assert_eq!(
            first,
            json!({"all": [9, 7], "nextPageToken": "0000000000000007"})
        );
        let second = page("pageSize=3&pageToken=0000000000000007", &[9, 7, 5, 3, 1]).expect("page");
        assert_eq!(second, json!({"all": [5, 3, 1]}));
    }

    #[test]
    fn the_last_entry_of_a_page_may_be_deleted() {
        let second = page("pageSize=3&pageToken=0000000000000007", &[11, 9, 5, 3]).expect("page");
        assert_eq!(second, json!({"all": [5, 3]}));
    }

    #[test]
    fn an_invalid_token_is_rejected() {
        assert!(page("pageToken=elsewhere", &[1]).is_err());
    }
}
