//! How Google writes its answers: proto3 JSON, read with tolerance.
//!
//! int64 is a string (or a number), zeros and empty values are left out, times are RFC 3339.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::refusal::plain;

/// Why a batch or a file failed: `google.rpc.Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code: 1 cancelled, 3 invalid argument, 8 resource exhausted, 13 internal …
    pub code: i64,
    /// Google's words: at most 1 KiB, without control characters.
    pub message: String,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Fields {
            code: i64,
            message: String,
        }
        let Fields { code, message } = Fields::deserialize(deserializer)?;
        Ok(Self { code, message: plain(&message) })
    }
}

/// A count: a string or a number, absent or null for 0.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Count;

    impl<'de> de::Visitor<'de> for Count {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count, as a number or a string of digits")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_| E::custom("a count below zero"))
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<u64, E> {
            value.parse().map_err(|_| E::custom("a count not of digits"))
        }

        fn visit_unit<E: de::Error>(self) -> Result<u64, E> {
            Ok(0)
        }
    }

    deserializer.deserialize_any(Count)
}

/// A time. One that can't be read counts as absent: no decision hangs on it.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

/// A member that may be null, for its default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Counted {
        #[serde(default, deserialize_with = "count")]
        n: u64,
    }

    fn counted(value: serde_json::Value) -> Result<u64, serde_json::Error> {
        serde_json::from_value::<Counted>(value).map(|counted| counted.n)
    }

    proptest! {
        #[test]
        fn count_is_the_same_as_string_and_as_number(n: u64) {
            prop_assert_eq!(counted(json!({ "n": n })).unwrap(), n);
            prop_assert_eq!(counted(json!({ "n": n.to_string() })).unwrap(), n);
        }
    }

    #[test]
    fn absent_count_is_zero_and_text_is_none() {
        assert_eq!(counted(json!({})).unwrap(), 0);
        assert_eq!(counted(json!({ "n": null })).unwrap(), 0);
        for value in [json!("many"), json!(-1), json!("-1"), json!({})] {
            counted(json!({ "n": value })).unwrap_err();
        }
    }

    #[test]
    fn status_may_lack_any_member() {
        let status: Status = serde_json::from_value(json!({ "code": 13, "details": [] })).unwrap();
        assert_eq!((status.code, status.message.as_str()), (13, ""));
    }
}
