//! Conditional requests: `If-Match`, `If-None-Match` and their dates.

use http::{HeaderMap, StatusCode, header};
use s3s::{
    S3Error, S3Result,
    dto::{ETag, ETagCondition, Timestamp},
    s3_error,
};

use super::attributes::Attributes;

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteCondition {
    /// The write is unconditional.
    Any,
    /// `If-None-Match: *`: the key must have no object.
    Absent,
    /// `If-Match: *`: the key must have an object.
    Present,
    /// `If-Match: <etag>`: the key must have an object with this ETag.
    Matches(ETag),
}

/// The condition of a read, as the request states it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl WriteCondition {
    /// # Errors
    /// `NotImplemented` for combinations that S3 does not support: both headers at once, and
    /// `If-None-Match` with an ETag.
    pub(super) fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<Self> {
        match (if_match, if_none_match) {
            (None, None) => Ok(Self::Any),
            (None, Some(ETagCondition::Any)) => Ok(Self::Absent),
            (Some(ETagCondition::Any), None) => Ok(Self::Present),
            (Some(ETagCondition::ETag(etag)), None) => Ok(Self::Matches(etag)),
            (_, Some(_)) => Err(s3_error!(
                NotImplemented,
                "If-None-Match must be * and can't be combined with If-Match."
            )),
        }
    }

    /// Whether there is a condition. Other callers rely on an object that is written under one.
    pub(super) fn is_conditional(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Absent | Self::Present | Self::Matches(_) => true,
        }
    }

    /// Whether the check needs the ETag of the existing object.
    pub(super) fn needs_etag(&self) -> bool {
        matches!(self, Self::Matches(_))
    }

    /// # Errors
    /// `PreconditionFailed`; `NoSuchKey` if the condition requires an object and there is none.
    pub(super) fn check(&self, present: bool, etag: Option<&str>) -> S3Result {
        match self {
            Self::Any => Ok(()),
            Self::Absent if present => Err(s3_error!(PreconditionFailed)),
            Self::Absent => Ok(()),
            Self::Present | Self::Matches(_) if !present => Err(s3_error!(NoSuchKey)),
            Self::Present => Ok(()),
            Self::Matches(expected) if expected.as_strong() == etag => Ok(()),
            Self::Matches(_) => Err(s3_error!(PreconditionFailed)),
        }
    }
}

impl ReadCondition {
    /// # Errors
    /// `PreconditionFailed`, or `NotModified`, which is an answer without a body rather than a
    /// failure.
    pub(super) fn check(&self, object: &Attributes) -> S3Result {
        let etag = ETag::Strong(object.etag.clone());
        let matches_etag = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(named) => named.weak_cmp(&etag),
        };
        let changed = object.last_modified();
        // An ETag is more precise than a date. If both are given, S3 ignores the date.
        let matches = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => matches_etag(condition),
            (None, Some(date)) => changed <= *date,
            (None, None) => true,
        };
        if !matches {
            return Err(s3_error!(PreconditionFailed));
        }
        // The same precedence applies to the conditions that lead to 304.
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches_etag(condition),
            (None, Some(date)) => changed <= *date,
            (None, None) => false,
        };
        if unchanged {
            Err(not_modified(&etag))
        } else {
            Ok(())
        }
    }
}

/// Returns the answer 304, with the ETag of the caller's copy.
fn not_modified(etag: &ETag) -> S3Error {
    let mut answer = s3_error!(NotModified);
    answer.set_status_code(StatusCode::NOT_MODIFIED);
    if let Ok(etag) = etag.to_http_header() {
        answer.set_headers(HeaderMap::from_iter([(header::ETAG, etag)]));
    }
    answer
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    fn etag(value: &str) -> ETagCondition {
        ETagCondition::ETag(ETag::Strong(value.to_owned()))
    }

    fn object() -> Attributes {
        serde_json::from_value(serde_json::json!({
            "key": "a",
            "of": { "inode": 1, "size": 1, "changed_seconds": 1, "changed_nanoseconds": 0 },
            "etag": "one",
            "last_modified": "2026-11-21T10:00:00Z",
        }))
        .unwrap()
    }

    fn date(text: &str) -> Option<Timestamp> {
        Some(
            text.parse::<jiff::Timestamp>()
                .map(|at| Timestamp::from(std::time::SystemTime::from(at)))
                .unwrap(),
        )
    }

    fn code(answer: S3Result) -> Option<S3ErrorCode> {
        answer.err().map(|error| error.code().clone())
    }

    #[test]
    fn write_conditions_answer_as_s3_does() {
        let (failed, missing) = (
            Some(S3ErrorCode::PreconditionFailed),
            Some(S3ErrorCode::NoSuchKey),
        );
        let absent = WriteCondition::new(None, Some(ETagCondition::Any)).unwrap();
        let present = WriteCondition::new(Some(ETagCondition::Any), None).unwrap();
        let matches = WriteCondition::new(Some(etag("one")), None).unwrap();
        for (condition, none, same, other) in [
            (WriteCondition::Any, None, None, None),
            (absent, None, failed.clone(), failed.clone()),
            (present, missing.clone(), None, None),
            (matches, missing, None, failed),
        ] {
            assert_eq!(
                code(condition.check(false, None)),
                none,
                "{condition:?}, no object"
            );
            assert_eq!(
                code(condition.check(true, Some("one"))),
                same,
                "{condition:?}, the same object"
            );
            assert_eq!(
                code(condition.check(true, Some("two"))),
                other,
                "{condition:?}, another object"
            );
        }
        assert!(WriteCondition::new(None, Some(etag("one"))).is_err());
        assert!(WriteCondition::new(Some(etag("one")), Some(ETagCondition::Any)).is_err());
    }

    #[test]
    fn an_etag_takes_precedence_over_a_date() {
        let (before, at) = (date("2026-11-21T09:59:59Z"), date("2026-11-21T10:00:00Z"));
        let failed = Some(S3ErrorCode::PreconditionFailed);
        let not_modified = Some(S3ErrorCode::NotModified);
        let read = |condition: ReadCondition| code(condition.check(&object()));
        let any = ReadCondition::default;

        assert_eq!(read(any()), None);
        assert_eq!(
            read(ReadCondition {
                if_match: Some(etag("two")),
                ..any()
            }),
            failed
        );
        assert_eq!(
            read(ReadCondition {
                if_match: Some(etag("one")),
                if_unmodified_since: before.clone(),
                ..any()
            }),
            None
        );
        assert_eq!(
            read(ReadCondition {
                if_unmodified_since: before.clone(),
                ..any()
            }),
            failed
        );
        assert_eq!(
            read(ReadCondition {
                if_unmodified_since: at.clone(),
                ..any()
            }),
            None
        );
        assert_eq!(
            read(ReadCondition {
                if_none_match: Some(etag("one")),
                ..any()
            }),
            not_modified.clone()
        );
        assert_eq!(
            read(ReadCondition {
                if_none_match: Some(etag("two")),
                if_modified_since: at.clone(),
                ..any()
            }),
            None
        );
        assert_eq!(
            read(ReadCondition {
                if_modified_since: at,
                ..any()
            }),
            not_modified
        );
        assert_eq!(
            read(ReadCondition {
                if_modified_since: before,
                ..any()
            }),
            None
        );
    }
}
