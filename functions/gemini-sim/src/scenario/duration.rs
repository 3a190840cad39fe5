//! Durations in the notation of flags and rules: `0`, `90s`, `81m`, `1h30m`, `2d`.

use std::time::Duration;

/// The units, the longest first, each with its length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// An invalid duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration {0:?}: expected whole numbers with the units d, h, m, s or ms, as in 81m or 1d12h"
)]
pub struct DurationError(String);

/// Parses a duration.
///
/// # Errors
/// [`DurationError`] for a text without a unit (except `0`), with an unknown unit, or of too many
/// milliseconds.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let milliseconds = if text == "0" {
        Some(0)
    } else {
        milliseconds(text)
    };
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| DurationError(text.to_owned()))
}

/// Formats a duration so that [`parse`] reads it again. Fractions of a millisecond are dropped.
pub(crate) fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in UNITS {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_u64);
    // Each unit may occur once, in descending order.
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|letter: char| letter.is_ascii_digit())
                .len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len()
            - after
                .trim_start_matches(|letter: char| letter.is_ascii_alphabetic())
                .len();
        let (name, after) = after.split_at(letters);
        let (_, length) = units.find(|(unit, _)| *unit == name)?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("81m", 4_860),
            ("2h", 7_200),
            ("1h30m", 5_400),
            ("20d", 1_728_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("1500ms"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn invalid_texts_are_rejected() {
        for wrong in [
            "",
            "5",
            "m",
            "1.5h",
            "-1m",
            "1 h",
            "1w",
            "30m1h",
            "1m1m",
            "1h5",
            "99999999999999d",
            "1H",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("soon").unwrap_err().to_string().contains("as in 81m"));
    }

    #[test]
    fn durations_are_formatted_with_the_longest_units() {
        assert_eq!(format(Duration::ZERO), "0");
        assert_eq!(format(Duration::from_secs(81 * 60)), "1h21m");
        assert_eq!(format(Duration::from_millis(86_401_500)), "1d1s500ms");
    }

    proptest! {
        #[test]
        fn durations_round_trip(milliseconds in any::<u64>()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
