//! Selector of many: batches or calls, by their ordinal or as a share drawn by the seed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::seeded_random::Draw;

/// Selector of a row of things that are numbered from 1. Written `3`, `first-2` or `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Selector {
    /// This one alone.
    Nth(u64),
    /// All up to this one.
    First(u64),
    /// So many of a hundred, drawn.
    Percent(u8),
}

/// A text that is no [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number from 1 like 3, nor a start like first-2, nor a share like 20%")]
pub struct SelectorError(String);

impl Selector {
    /// Whether it means the thing with this ordinal; `draw` decides about shares.
    pub(crate) fn means(self, ordinal: u64, draw: impl FnOnce() -> Draw) -> bool {
        match self {
            Self::Nth(nth) => ordinal == nth,
            Self::First(first) => ordinal <= first,
            Self::Percent(percent) => draw().below(100) < u64::from(percent),
        }
    }

    /// The last ordinal that it depends on; 0 for a share.
    pub(crate) fn last(self) -> u64 {
        match self {
            Self::Nth(last) | Self::First(last) => last,
            Self::Percent(_) => 0,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(nth) => write!(f, "{nth}"),
            Self::First(first) => write!(f, "first-{first}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let ordinal = |digits: &str| digits.parse().ok().filter(|ordinal| *ordinal > 0);
        let which = if let Some(percent) = text.strip_suffix('%') {
            percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
        } else if let Some(first) = text.strip_prefix("first-") {
            ordinal(first).map(Self::First)
        } else {
            ordinal(text).map(Self::Nth)
        };
        which.ok_or_else(|| SelectorError(text.to_owned()))
    }
}

impl From<Selector> for String {
    fn from(which: Selector) -> Self {
        which.to_string()
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meant(which: &str) -> Vec<u64> {
        let which: Selector = which.parse().expect("valid");
        (1..=6)
            .filter(|n| which.means(*n, || Draw::about(*n, &[])))
            .collect()
    }

    #[test]
    fn ordinals_and_starts_are_exact() {
        assert_eq!(meant("3"), [3]);
        assert_eq!(meant("first-2"), [1, 2]);
        assert!(meant("0%").is_empty());
        assert_eq!(meant("100%"), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn shares_are_kept_roughly() {
        let which = Selector::Percent(20);
        let meant = (0..500)
            .filter(|n| which.means(1, || Draw::about(*n, &["share"])))
            .count();
        assert!((60..=140).contains(&meant), "{meant} of 500");
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in [
            "", "0", "-1", "first-0", "first-", "first 2", "101%", "%", "1.5%", "3rd",
        ] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }

    pub(crate) fn any_which() -> impl Strategy<Value = Selector> {
        prop_oneof![
            (1..=u64::MAX).prop_map(Selector::Nth),
            (1..=u64::MAX).prop_map(Selector::First),
            (0..=100_u8).prop_map(Selector::Percent),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(which in any_which()) {
            prop_assert_eq!(which.to_string().parse(), Ok(which));
        }
    }
}
