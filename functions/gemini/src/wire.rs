//! The form of Google's responses: proto3 JSON.
//!
//! An int64 is a string or a number, zeros and empty values are omitted, and times are RFC 3339.
//! The parsers accept deviations, so that an unexpected detail does not make a batch unreadable.

use std::{fmt, ops::Range};

use darkroom::results::grpc_code;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::refusal::sanitize;

/// Why a batch or a file failed: `google.rpc.Status`. The parser accepts other forms, because an
/// unexpected form of the error must not make a batch unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code: 1 cancelled, 3 invalid argument, 8 resource exhausted, 13 internal …
    pub code: i64,
    /// Google's message: at most 1 KiB, without control characters.
    pub message: String,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let error = Value::deserialize(deserializer)?;
        // The code can be a number, a numeric string, or the name of a gRPC code in `code` or
        // `status`.
        let of = |name: &str| match &error[name] {
            Value::Number(number) => number.as_i64(),
            Value::String(word) => word.trim().parse().ok().or_else(|| grpc_code(word)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let code = of("code")
            .filter(|code| *code != 0)
            .or_else(|| of("status"))
            .unwrap_or_default();
        let message = error["message"]
            .as_str()
            .or(error.as_str())
            .unwrap_or_default();
        Ok(Self {
            code,
            message: sanitize(message),
        })
    }
}

/// Reads a count: a string or a number, absent or null for 0. A count that is too large is
/// `u64::MAX`, and any other value is 0, because no count must make a batch unreadable.
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
            Ok(u64::try_from(value).unwrap_or_default())
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<u64, E> {
            // `as` saturates, and converts NaN to 0.
            Ok(value as u64)
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<u64, E> {
            let digits = value.trim();
            let is_large = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            Ok(digits
                .parse()
                .unwrap_or(if is_large { u64::MAX } else { 0 }))
        }

        fn visit_bool<E: de::Error>(self, _: bool) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_unit<E: de::Error>(self) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
            while items.next_element::<de::IgnoredAny>()?.is_some() {}
            Ok(0)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<u64, A::Error> {
            while members
                .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
                .is_some()
            {}
            Ok(0)
        }
    }

    deserializer.deserialize_any(Count)
}

/// Reads a time. One that can't be parsed counts as absent. So does an implausible one: callers add
/// durations to it, which must not overflow.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    /// The plausible range: 2020 to 2099, in seconds since 1970.
    const YEARS: Range<i64> = 1_577_836_800..4_102_444_800;

    let time = Value::deserialize(deserializer)?
        .as_str()
        .and_then(|text| text.parse().ok());
    Ok(time.filter(|time: &Timestamp| YEARS.contains(&time.as_second())))
}

/// Reads a member that may be null, which means its default.
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
        fn a_count_is_the_same_as_string_and_as_number(n: u64) {
            prop_assert_eq!(counted(json!({ "n": n })).unwrap(), n);
            prop_assert_eq!(counted(json!({ "n": n.to_string() })).unwrap(), n);
        }
    }

    #[test]
    fn an_invalid_count_is_zero_and_a_huge_one_is_the_maximum() {
        assert_eq!(counted(json!({})).unwrap(), 0);
        for value in [
            json!(null),
            json!("many"),
            json!(-1),
            json!("-1"),
            json!({ "a": [1] }),
            json!([1]),
            json!(true),
            json!(""),
        ] {
            assert_eq!(counted(json!({ "n": value })).unwrap(), 0, "{value}");
        }
        for value in [json!(1e30), json!("99999999999999999999")] {
            assert_eq!(counted(json!({ "n": value })).unwrap(), u64::MAX, "{value}");
        }
    }

    #[test]
    fn an_implausible_time_is_absent() {
        #[derive(Deserialize)]
        struct Timed {
            #[serde(default, deserialize_with = "time")]
            at: Option<Timestamp>,
        }
        let timed = |at: Value| {
            serde_json::from_value::<Timed>(json!({ "at": at }))
                .unwrap()
                .at
        };
        assert!(timed(json!("2026-08-01T10:00:00.123456Z")).is_some());
        for at in [
            json!(null),
            json!(17),
            json!({}),
            json!("soon"),
            json!("9999-12-30T22:00:00Z"),
            json!("-009999-01-02T01:59:59Z"),
            json!("0001-01-01T00:00:00Z"),
            json!("1970-01-01T00:00:00Z"),
            json!("2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(timed(at.clone()), None, "{at}");
        }
    }

    #[test]
    fn any_member_of_a_status_may_be_missing() {
        let status: Status = serde_json::from_value(json!({ "code": 13, "details": [] })).unwrap();
        assert_eq!((status.code, status.message.as_str()), (13, ""));
        for (written, code, message) in [
            (json!({ "code": "13", "message": null }), 13, ""),
            (json!({ "code": "INTERNAL", "message": 7 }), 13, ""),
            (
                json!({ "status": "UNAVAILABLE", "message": "Busy." }),
                14,
                "Busy.",
            ),
            (json!({ "code": 0, "status": "internal" }), 13, ""),
            (json!("Busy."), 0, "Busy."),
            (json!([]), 0, ""),
        ] {
            let status: Status = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(
                (status.code, status.message.as_str()),
                (code, message),
                "{written}"
            );
        }
    }
}
