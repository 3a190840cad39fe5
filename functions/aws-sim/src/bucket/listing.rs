//! Pages of keys, rolled up at a delimiter: what `ListObjectsV2` and `ListObjects` have in common.

/// What a caller asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    /// Keys that have this after the prefix are rolled up into one common prefix. Empty: none are.
    pub(super) delimiter: &'a str,
    /// Only what comes after this: a key, or a common prefix that has been listed whole.
    pub(super) after: &'a str,
    pub(super) max: usize,
}

/// What a page lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Key(&'a str),
    CommonPrefix(&'a str),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page<'a> {
    /// Ordered by UTF-8 bytes.
    pub(super) items: Vec<Item<'a>>,
    /// Whether there is more.
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
    /// The page that answers `query`, of `keys` in order that all have the prefix.
    pub(super) fn of(keys: &'a [String], query: &Query<'_>) -> Self {
        let mut page = Self::default();
        let mut rest = &keys[keys.partition_point(|key| key.as_str() <= query.after)..];
        while let Some(key) = rest.first() {
            let item = roll_up(key, query);
            // Everything under a common prefix comes next in the order, and is listed with it.
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

    /// What to go on after, if there is more.
    pub(super) fn next(&self) -> Option<&'a str> {
        self.items.last().filter(|_| self.truncated).map(Item::text)
    }
}

/// A key as it is listed: by itself, or as the common prefix that it is rolled up into.
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
    fn delimiter_rolls_up_what_is_below() {
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
    fn common_prefix_that_was_listed_is_not_listed_again() {
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
    fn start_inside_a_common_prefix_lists_the_prefix() {
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
    fn no_keys_asked_for_is_an_empty_page_and_the_last() {
        assert_eq!(Page::of(&keys(&["a"]), &Query::default()), Page::default());
    }

    proptest! {
        #[test]
        fn pages_together_are_the_one_page(
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
