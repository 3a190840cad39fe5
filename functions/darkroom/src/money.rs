//! The money type: exact amounts of US dollars.

use std::{fmt, iter::Sum, ops, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The decimals of a dollar that a document keeps. Six decimals are a ten-thousandth of a cent.
const DECIMALS: u32 = 6;

/// An exact amount of US dollars. In JSON it is a number with at most six decimals. It is displayed
/// as `$1.34`, or as `$0.0336` below one dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Usd(Decimal);

impl Usd {
    /// Zero dollars.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Creates an amount from a number of dollars.
    pub fn new(dollars: Decimal) -> Self {
        Self(dollars)
    }

    /// Returns the number of dollars.
    pub fn dollars(self) -> Decimal {
        self.0
    }

    /// Returns the dollars as the nearest float.
    pub fn as_f64(self) -> f64 {
        self.0.to_f64().unwrap_or_default()
    }

    /// Returns the amount in millionths of a dollar, rounded to the nearest.
    pub fn micros(self) -> i64 {
        let micros = self.0.saturating_mul(Decimal::from(1_000_000)).round();
        micros.to_i64().unwrap_or(i64::MAX)
    }

    /// Returns the price of `tokens` tokens, where this amount is the price of a million.
    pub fn per_million(self, tokens: u64) -> Self {
        Self(
            self.0
                .saturating_mul(Decimal::from(tokens))
                .saturating_mul(Decimal::new(1, 6)),
        )
    }

    /// Returns the difference from `base` in percent of `base`. It is negative for an amount below
    /// `base`, and `None` if `base` is zero.
    pub fn percent_above(self, base: Self) -> Option<Decimal> {
        (self - base)
            .0
            .checked_div(base.0)?
            .checked_mul(Decimal::ONE_HUNDRED)
    }

    /// Returns `part` of `whole` equal parts, rounded up to six decimals. It is zero if `whole` is
    /// zero.
    pub fn share(self, part: u64, whole: u64) -> Self {
        let share = self
            .0
            .saturating_mul(Decimal::from(part))
            .checked_div(Decimal::from(whole));
        Self(share.unwrap_or_default()).rounded_up()
    }

    /// Rounds up to whole cents.
    pub fn rounded_up_to_cents(self) -> Self {
        Self(
            self.0
                .round_dp_with_strategy(2, RoundingStrategy::AwayFromZero),
        )
    }

    /// Rounds up to the six decimals that a document keeps.
    pub fn rounded_up(self) -> Self {
        Self(
            self.0
                .round_dp_with_strategy(DECIMALS, RoundingStrategy::AwayFromZero),
        )
    }
}

impl ops::Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl ops::Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl ops::Mul<u64> for Usd {
    type Output = Self;

    fn mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(Decimal::from(count)))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, ops::Add::add)
    }
}

impl fmt::Display for Usd {
    /// Two decimals from one dollar up, where they tell enough; up to four below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0.is_sign_negative() && !self.0.is_zero() {
            "-"
        } else {
            ""
        };
        let amount = self.0.abs();
        let fine = amount.round_dp(4).normalize();
        let shown = if amount < Decimal::ONE && fine.scale() > 2 {
            fine
        } else {
            amount.round_dp(2)
        };
        let decimals = shown.scale().max(2) as usize;
        write!(f, "{sign}${shown:.decimals$}")
    }
}

/// The text is not an amount of dollars.
#[derive(Debug, thiserror::Error)]
#[error("invalid amount of dollars {0:?}: expected a number such as 150 or 0.75")]
pub struct UsdError(String);

impl FromStr for Usd {
    type Err = UsdError;

    fn from_str(text: &str) -> Result<Self, UsdError> {
        text.parse()
            .map(Self)
            .map_err(|_| UsdError(text.chars().take(40).collect()))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rounded = self.0.round_dp(DECIMALS).normalize();
        match (rounded.scale(), rounded.to_i64(), rounded.to_f64()) {
            (0, Some(whole), _) => serializer.serialize_i64(whole),
            (_, _, Some(dollars)) => serializer.serialize_f64(dollars),
            (_, _, None) => serializer.collect_str(&rounded),
        }
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount)
    }
}

struct Amount;

impl de::Visitor<'_> for Amount {
    type Value = Usd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of dollars")
    }

    fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Usd, E> {
        Ok(Usd(dollars.into()))
    }

    fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Usd, E> {
        Ok(Usd(dollars.into()))
    }

    /// Converts through the number's shortest text, so that 0.0336 stays 0.0336 instead of becoming
    /// its nearest binary fraction.
    fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Usd, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_below_a_dollar_are_displayed_with_up_to_four_decimals() {
        for (amount, shown) in [
            ("1.344", "$1.34"),
            ("340", "$340.00"),
            ("0.0336", "$0.0336"),
            ("0.5", "$0.50"),
            ("0", "$0.00"),
            ("0.00001", "$0.00"),
            ("0.99999", "$1.00"),
            ("-2.5", "-$2.50"),
        ] {
            assert_eq!(
                amount.parse::<Usd>().unwrap().to_string(),
                shown,
                "{amount}"
            );
        }
    }

    #[test]
    fn json_holds_a_number_with_at_most_six_decimals() {
        for (amount, json) in [
            ("0.02085825", "0.020858"),
            ("1.340", "1.34"),
            ("340.00", "340"),
            ("0", "0"),
        ] {
            assert_eq!(
                serde_json::to_string(&amount.parse::<Usd>().unwrap()).unwrap(),
                json
            );
        }
        assert!(serde_json::from_str::<Usd>("\"much\"").is_err());
        assert!(serde_json::from_str::<Usd>("1e300").is_err());
    }

    proptest! {
        #[test]
        fn an_amount_survives_json(millionths in -1_000_000_000_000_000_i64..1_000_000_000_000_000) {
            let amount = Usd(Decimal::new(millionths, DECIMALS));
            let back: Usd = serde_json::from_str(&serde_json::to_string(&amount).unwrap()).unwrap();
            prop_assert_eq!(back, amount);
        }
    }
}
