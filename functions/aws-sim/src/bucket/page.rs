//! Pages of keys with common prefixes, which `ListObjectsV2` and `ListObjects` share.

/// The parameters of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    /// Keys that contain this after the prefix are combined into one common prefix. Empty for no
    /// common prefixes.
    pub(super) delimiter: &'a str,
    /// The page begins after this key, or after this common prefix, which an earlier page listed.
    pub(super) after: &'a str,
    pub(super) max: usize,
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Key(&'a str),
    CommonPrefix(&'a str),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page<'a> {
    /// The entries, ordered by their UTF-8 bytes.
    pub(super) items: Vec<Item<'a>>,
    /// Whether another page follows.
    pub(super) truncated: bool,
}

impl<'a> Item<'a> {
    pub(super) fn text(&self) -> &'a str {
        match self {
            Self::Key(text) | Self::CommonPrefix(text) => text,
        }
    }
}

impl<'a> Page<'a> {
    /// Returns the page for `query`. `keys` must be in order, and all of them must have the prefix.
    pub(super) fn of(keys: &'a [String], query: &Query<'_>) -> Self {
        let mut page = Self::default();
        let mut rest = &keys[keys.partition_point(|key| key.as_str() <= query.after)..];
        while let Some(key) = rest.first() {
            let item = roll_up(key, query);
            // All keys under a common prefix are adjacent, and the prefix represents them.
            let under = |key: &String| matches!(item, Item::CommonPrefix(prefix) if key.starts_with(prefix));
            rest = &rest[rest.partition_point(under).max(1)..];
            if item == Item::CommonPrefix(query.after) {
                continue;
            }
            if page.items.len() >= query.max {
                page.truncated = query.max > 0;
                break;
            }
            page.items.push(item);
        }
        page
    }

    /// Returns the entry after which the next page begins, if there is one.
    pub(super) fn next(&self) -> Option<&'a str> {
        self.items.last().filter(|_| self.truncated).map(Item::text)
    }
}

/// Returns the entry of a key: the key itself, or the common prefix that covers it.
pub(super) fn roll_up<'a>(key: &'a str, query: &Query<'_>) -> Item<'a> {
    if query.delimiter.is_empty() {
        return Item::Key(key);
    }
    let rest = &key[query.prefix.len()..];
    match rest.find(query.delimiter) {
        Some(at) => Item::CommonPrefix(&key[..query.prefix.len() + at + query.delimiter.len()]),
        None => Item::Key(key),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_delimiter_combines_keys_into_common_prefixes() {
        let keys = keys(&["a", "a/b", "a/c/d", "a0", "b/c"]);
        let query = Query {
            delimiter: "/",
            max: 10,
            ..Query::default()
        };
        let page = Page::of(&keys, &query);
        assert_eq!(
            page.items,
            [
                Item::Key("a"),
                Item::CommonPrefix("a/"),
                Item::Key("a0"),
                Item::CommonPrefix("b/")
            ]
        );
        assert!(!page.truncated);
    }

    #[test]
    fn a_common_prefix_is_listed_on_one_page_only() {
        let keys = keys(&["a/b", "a/c", "b"]);
        let query = Query {
            delimiter: "/",
            max: 1,
            ..Query::default()
        };
        let first = Page::of(&keys, &query);
        assert_eq!(
            (first.items.as_slice(), first.next()),
            ([Item::CommonPrefix("a/")].as_slice(), Some("a/"))
        );
        let second = Page::of(
            &keys,
            &Query {
                after: "a/",
                ..query
            },
        );
        assert_eq!(
            (second.items.as_slice(), second.next()),
            ([Item::Key("b")].as_slice(), None)
        );
    }

    #[test]
    fn a_start_within_a_common_prefix_lists_the_prefix() {
        let keys = keys(&["a/b", "a/c"]);
        let query = Query {
            delimiter: "/",
            after: "a/b",
            max: 10,
            ..Query::default()
        };
        assert_eq!(Page::of(&keys, &query).items, [Item::CommonPrefix("a/")]);
    }

    #[test]
    fn a_page_of_zero_keys_is_empty_and_the_last() {
        assert_eq!(Page::of(&keys(&["a"]), &Query::default()), Page::default());
    }

    proptest! {
        #[test]
        fn pages_together_equal_one_large_page(
            keys in prop::collection::btree_set("[ab/]{1,5}", 0..30),
            prefix in "[ab]{0,1}",
            delimiter in "/?",
            max in 1_usize..5,
        ) {
            let keys: Vec<_> = keys.into_iter().filter(|key| key.starts_with(&prefix)).collect();
            let query = Query { prefix: &prefix, delimiter: &delimiter, after: "", max: usize::MAX };
            let whole = Page::of(&keys, &query);
            let mut items = Vec::new();
            let mut after = "";
            loop {
                let page = Page::of(&keys, &Query { after, max, ..query.clone() });
                prop_assert!(page.items.len() <= max);
                items.extend(page.items.clone());
                let Some(next) = page.next() else { break };
                after = next;
            }
            prop_assert!(items.windows(2).all(|two| two[0].text() < two[1].text()));
            prop_assert_eq!(items, whole.items);
        }
    }
}
