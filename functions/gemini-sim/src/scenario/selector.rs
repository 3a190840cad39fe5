//! Selects batches, calls or keys, by their ordinal or as a random share.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::seeded_random::SeededRandom;

/// Selects among things that are numbered from 1. Written `3`, `first-2` or `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Selector {
    /// The one with this ordinal.
    Nth(u64),
    /// All with an ordinal up to this one.
    First(u64),
    /// A share of this many percent, drawn at random.
    Percent(u8),
}

/// An invalid [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid selector {0:?}: expected an ordinal such as 3, a range such as first-2, or a share such as 20%"
)]
pub struct SelectorError(String);

impl Selector {
    /// Returns whether the thing with this ordinal is selected; `random` decides about shares.
    pub(crate) fn matches(self, ordinal: u64, random: impl FnOnce() -> SeededRandom) -> bool {
        match self {
            Self::Nth(nth) => ordinal == nth,
            Self::First(first) => ordinal <= first,
            Self::Percent(percent) => random().below(100) < u64::from(percent),
        }
    }

    /// Returns the largest ordinal that the selector distinguishes; 0 for a share.
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

    fn selected(which: &str) -> Vec<u64> {
        let which: Selector = which.parse().expect("valid");
        (1..=6)
            .filter(|n| which.matches(*n, || SeededRandom::new(*n, &[])))
            .collect()
    }

    #[test]
    fn ordinals_and_ranges_are_exact() {
        assert_eq!(selected("3"), [3]);
        assert_eq!(selected("first-2"), [1, 2]);
        assert!(selected("0%").is_empty());
        assert_eq!(selected("100%"), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn shares_are_approximately_met() {
        let which = Selector::Percent(20);
        let selected = (0..500)
            .filter(|n| which.matches(1, || SeededRandom::new(*n, &["share"])))
            .count();
        assert!((60..=140).contains(&selected), "{selected} of 500");
    }

    #[test]
    fn invalid_texts_are_rejected() {
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
        fn selectors_round_trip(which in any_which()) {
            prop_assert_eq!(which.to_string().parse(), Ok(which));
        }
    }
}
