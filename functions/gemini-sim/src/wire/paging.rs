//! Pages of a list: `pageSize`, `pageToken`, `nextPageToken`.

use http::Uri;
use serde_json::{Value, json};

use crate::wire::{reply::Refused, route::parameter};

/// The page a caller asks for.
pub(crate) struct Page {
    size: usize,
    /// The page holds entries with a smaller number than this: it stays right while entries come
    /// and go.
    before: Option<u64>,
}

impl Page {
    /// Reads the page asked for; nothing when `pageSize` is not set.
    ///
    /// # Errors
    /// 400 for a size that is no number, or a token that no page ended with.
    pub(crate) fn asked(uri: &Uri, most: usize) -> Result<Option<Self>, Refused> {
        let Some(size) = parameter(uri, "pageSize").or_else(|| parameter(uri, "page_size")) else {
            return Ok(None);
        };
        let size: usize = size
            .parse()
            .map_err(|_| Refused::invalid("Invalid value at 'page_size' (TYPE_INT32)"))?;
        let before = token(uri)?;
        Ok((size > 0).then(|| Self {
            size: size.min(most),
            before,
        }))
    }

    /// Reads the page asked for, of `usual` entries when `pageSize` is not set.
    ///
    /// # Errors
    /// 400 for a size that is no number, or a token that no page ended with.
    pub(crate) fn asked_or(uri: &Uri, usual: usize, most: usize) -> Result<Self, Refused> {
        match Self::asked(uri, most)? {
            Some(page) => Ok(page),
            None => Ok(Self {
                size: usual,
                before: token(uri)?,
            }),
        }
    }

    /// The page as JSON, of entries that come with their number, highest first. An empty list is
    /// `{}`.
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

fn token(uri: &Uri) -> Result<Option<u64>, Refused> {
    let token = parameter(uri, "pageToken")
        .or_else(|| parameter(uri, "page_token"))
        .unwrap_or_default();
    if token.is_empty() {
        return Ok(None);
    }
    let number = u64::from_str_radix(token, 16);
    number
        .map(Some)
        .map_err(|_| Refused::invalid("Invalid page token."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, numbers: &[u64]) -> Result<Value, Refused> {
        let uri: Uri = format!("/v1/files?{query}").parse().expect("a uri");
        let entries = numbers.iter().map(|number| (*number, *number));
        Ok(Page::asked_or(&uri, 10, 100)?.of("all", entries, Value::from))
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let first = page("pageSize=2", &[9, 7, 5, 3, 1]).expect("page");
        assert_eq!(
            first,
            json!({"all": [9, 7], "nextPageToken": "0000000000000007"})
        );
        let second = page("pageSize=3&pageToken=0000000000000007", &[9, 7, 5, 3, 1]).expect("page");
        assert_eq!(second, json!({"all": [5, 3, 1]}));
    }

    #[test]
    fn the_entry_a_page_ended_with_may_go() {
        let second = page("pageSize=3&pageToken=0000000000000007", &[11, 9, 5, 3]).expect("page");
        assert_eq!(second, json!({"all": [5, 3]}));
    }

    #[test]
    fn a_made_up_token_is_refused() {
        assert!(page("pageToken=elsewhere", &[1]).is_err());
    }
}
