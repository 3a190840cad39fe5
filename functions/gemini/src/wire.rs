//! How Google writes its answers: proto3 JSON, read with tolerance.
//!
//! int64 is a string (or a number), zeros and empty values are left out, times are RFC 3339.

use std::{fmt, ops::Range};

use darkroom::results::grpc_code;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::refusal::plain;

/// Why a batch or a file failed: `google.rpc.Status`. Read with tolerance: an answer about a batch
/// must not become unreadable because its error is written otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code: 1 cancelled, 3 invalid argument, 8 resource exhausted, 13 internal …
    pub code: i64,
    /// Google's words: at most 1 KiB, without control characters.
    pub message: String,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let error = Value::deserialize(deserializer)?;
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
            message: plain(message),
        })
    }
}

/// A count: a string or a number, absent or null for 0. One that is too large is the largest, and
/// one that can't be read counts as absent: no batch must become unreadable for it.
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
            // `as` saturates, and takes what is no number for 0.
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

/// A time. One that can't be read counts as absent, and so does one that can't be meant: what is
/// added to it must be a time too.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    /// 1 January 2020 and 2100, in seconds.
    const YEARS: Range<i64> = 1_577_836_800..4_102_444_800;

    let time = Value::deserialize(deserializer)?
        .as_str()
        .and_then(|text| text.parse().ok());
    Ok(time.filter(|time: &Timestamp| YEARS.contains(&time.as_second())))
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
    fn count_that_is_none_is_zero_and_one_that_is_too_large_is_the_largest() {
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
    fn time_that_cannot_be_meant_is_absent() {
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
    fn status_may_lack_any_member() {
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
