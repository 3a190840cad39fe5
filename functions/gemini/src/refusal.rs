//! Translates a rejection, from its status, its headers and its error envelope, into an
//! [`ApiError`].

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use jiff::SignedDuration;
use serde_json::Value;

use super::error::ApiError;
use crate::key::ApiKey;

/// The maximum length of a message that is kept.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The longest wait that Gemini may request. No quota lasts longer than a day, and SQS can hide a
/// message for no longer than this. A longer request counts as a mistake.
const MAX_RETRY_AFTER_SECONDS: f64 = 12.0 * 3600.0;

/// The content of an error envelope: `{"error": {"code": 400, "message": "…", "status":
/// "INVALID_ARGUMENT", "details": [{"@type": "…", …}]}}`
#[derive(Default)]
struct Refusal {
    code: u16,
    message: String,
    status: String,
    details: Vec<Value>,
}

impl Refusal {
    /// Reads the members of an envelope that have the expected form. In a streamed response it is
    /// an element of a list.
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let error = body
            .get(0)
            .unwrap_or(&body)
            .get("error")
            .filter(|error| !error.is_null())?;
        let code = error["code"]
            .as_u64()
            .or_else(|| error["code"].as_str()?.trim().parse().ok());
        let message = error["message"].as_str().or(error.as_str());
        Some(Self {
            code: code
                .and_then(|code| code.try_into().ok())
                .unwrap_or_default(),
            message: message.unwrap_or_default().to_owned(),
            status: error["status"].as_str().unwrap_or_default().to_owned(),
            details: error["details"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// The detail whose `@type` ends in `kind`, such as `google.rpc.RetryInfo`.
    fn detail(&self, kind: &str) -> Option<&Value> {
        self.details.iter().find(|detail| {
            detail["@type"]
                .as_str()
                .is_some_and(|name| name.ends_with(kind))
        })
    }

    /// Whether the message contains these lower-case words.
    fn contains(&self, words: &str) -> bool {
        self.message.to_ascii_lowercase().contains(words)
    }

    fn reason_is(&self, reason: &str) -> bool {
        self.detail("google.rpc.ErrorInfo")
            .is_some_and(|info| info["reason"] == reason)
    }

    fn retry_delay(&self) -> Option<SignedDuration> {
        let delay = self.detail("google.rpc.RetryInfo")?["retryDelay"].as_str()?;
        seconds(delay.strip_suffix('s')?)
    }

    /// The ID of the first quota that was exceeded.
    fn quota(&self) -> Option<String> {
        let violation = &self.detail("google.rpc.QuotaFailure")?["violations"][0];
        ["quotaId", "quotaMetric"]
            .iter()
            .find_map(|member| violation[member].as_str())
            .map(sanitize)
    }
}

/// The error for a response with another status than 2xx.
pub(super) fn from_response(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    key: Option<&ApiKey>,
) -> ApiError {
    classify(
        status,
        headers,
        &Refusal::read(body).unwrap_or_default(),
        key,
    )
}

/// The rejection inside a response with a status of success, if there is one. The last response of
/// an upload can contain one.
pub(super) fn in_success(headers: &HeaderMap, body: &[u8]) -> Option<ApiError> {
    let error = Refusal::read(body)?;
    let status = StatusCode::from_u16(error.code)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Some(classify(status, headers, &error, None))
}

/// Sorts a rejection by what the caller can do, from the status and some of Google's messages.
fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    refusal: &Refusal,
    key: Option<&ApiKey>,
) -> ApiError {
    let message = match (refusal.message.as_str(), key) {
        ("", _) => status.to_string(),
        (message, Some(key)) => sanitize(&key.hide_in(message)),
        (message, None) => sanitize(message),
    };
    match status.as_u16() {
        429 if refusal.contains("prepayment credits are depleted") => {
            ApiError::PrepaymentDepleted { message }
        }
        // A project without billing can't use batches at all, so waiting does not help.
        429 if refusal
            .quota()
            .is_some_and(|quota| quota.contains("FreeTier")) =>
        {
            ApiError::Unauthorized { message }
        }
        429 => ApiError::RateLimited {
            retry_after: refusal.retry_delay().max(retry_after(headers)),
            quota: refusal.quota(),
            message,
        },
        401 => ApiError::Unauthorized { message },
        // A file that is missing, has expired or belongs to another project. Google does not report
        // which.
        403 if refusal.contains("may not exist") => ApiError::NotFound { message },
        403 => ApiError::Unauthorized { message },
        400 if refusal.reason_is("API_KEY_INVALID") || refusal.contains("api key not valid") => {
            ApiError::Unauthorized { message }
        }
        // The country or the billing of the project: the request is valid, but the project may not
        // make it.
        400 if refusal.status == "FAILED_PRECONDITION" => ApiError::Unauthorized { message },
        404 => ApiError::NotFound { message },
        409 => ApiError::Conflict { message },
        // A time-out or a cancellation on Google's side. The request is not at fault and may have
        // had its effect.
        code @ (408 | 499 | 500..=599) => ApiError::Transient {
            message: if refusal.message.is_empty() {
                message
            } else {
                format!("{code}: {message}")
            },
            status: Some(code),
            source: None,
        },
        400..=499 => ApiError::Invalid {
            message,
            lines: wrong_lines(&refusal.message),
        },
        300..=399 => ApiError::malformed(format!("{status}: redirects are not followed")),
        _ => ApiError::malformed(format!("unexpected status {status}")),
    }
}

/// The lines of an input file that a message names, each with its reason: `Error on line 3: invalid
/// JSON, …`, one per line of the message. `line 1 column 5` is a position in the request itself and
/// does not count.
fn wrong_lines(message: &str) -> BTreeMap<u64, String> {
    let named = message
        .lines()
        .filter_map(|text| Some((line_number(text)?, sanitize(text))));
    named.collect()
}

/// The number after the first word `line` of a text.
fn line_number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let mut words = lower
        .split(|c: char| c.is_whitespace() || ":,.;()[]\"'".contains(c))
        .filter(|word| !word.is_empty());
    words.find(|word| *word == "line")?;
    let number = words.next()?.trim_start_matches('#').parse().ok()?;
    let is_position_in_request = words.next().is_some_and(|word| word == "column");
    (!is_position_in_request).then_some(number)
}

/// The number of seconds in the header `retry-after`. Google does not use its other form, a date.
fn retry_after(headers: &HeaderMap) -> Option<SignedDuration> {
    seconds(headers.get(RETRY_AFTER)?.to_str().ok()?)
}

/// A number of seconds, at most [`MAX_RETRY_AFTER_SECONDS`]. A negative number or another text is
/// ignored.
fn seconds(text: &str) -> Option<SignedDuration> {
    let seconds: f64 = text.trim().parse().ok()?;
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    SignedDuration::try_from_secs_f64(seconds.min(MAX_RETRY_AFTER_SECONDS)).ok()
}

/// Makes a message of the API fit for a log: without control characters, without the query of any
/// URL (it may contain a key or an upload ID), and at most 1 KiB.
pub(super) fn sanitize(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('?') {
            Some((address, _)) if address.contains("://") => address,
            _ => word,
        });
    let mut plain = String::new();
    for word in words {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
        if plain.len() > MAX_MESSAGE_BYTES {
            plain.truncate(plain.floor_char_boundary(MAX_MESSAGE_BYTES));
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn class(status: u16, body: Value) -> ApiError {
        from_response(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.to_string().as_bytes(),
            None,
        )
    }

    fn with_message(message: &str) -> Value {
        json!({ "error": { "message": message } })
    }

    #[test]
    fn every_status_has_its_class() {
        use ApiError::*;
        let nothing = || json!({});
        assert!(matches!(class(400, nothing()), Invalid { .. }));
        assert!(matches!(class(401, nothing()), Unauthorized { .. }));
        assert!(matches!(class(403, nothing()), Unauthorized { .. }));
        assert!(matches!(class(404, nothing()), NotFound { .. }));
        assert!(matches!(class(409, nothing()), Conflict { .. }));
        assert!(matches!(class(413, nothing()), Invalid { .. }));
        assert!(matches!(
            class(429, nothing()),
            RateLimited {
                retry_after: None,
                quota: None,
                ..
            }
        ));
        for status in [408, 499, 500, 502, 503, 504] {
            assert!(
                matches!(class(status, nothing()), Transient { source: None, .. }),
                "{status}"
            );
        }
        for status in [100, 301, 302, 307, 308, 600] {
            assert!(
                matches!(class(status, nothing()), Malformed { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn the_message_refines_the_class() {
        use ApiError::*;
        let file = "You do not have permission to access the File abc or it may not exist.";
        assert!(matches!(class(403, with_message(file)), NotFound { message } if message == file));
        let credit = "Your prepayment credits are depleted. Please go to AI Studio.";
        assert!(matches!(
            class(429, with_message(credit)),
            PrepaymentDepleted { .. }
        ));
        let key = "API key not valid. Please pass a valid API key.";
        assert!(matches!(class(400, with_message(key)), Unauthorized { .. }));
        let reason = json!({ "error": { "code": 400, "message": "Bad key.", "details": [
            { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" },
        ] } });
        assert!(matches!(class(400, reason), Unauthorized { .. }));
        let country = json!({ "error": { "code": 400, "status": "FAILED_PRECONDITION",
            "message": "User location is not supported for the API use." } });
        assert!(matches!(class(400, country), Unauthorized { .. }));
        let free = json!({ "error": { "code": 429, "message": "You exceeded your current quota", "details": [
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                { "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier" },
            ] },
        ] } });
        assert!(matches!(class(429, free), Unauthorized { .. }));
    }

    #[test]
    fn reads_the_quota_and_the_delay_of_a_rate_limit() {
        let body = json!({ "error": { "code": 429, "message": "You exceeded your current quota", "details": [
            { "@type": "type.googleapis.com/google.rpc.Help", "links": [] },
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                { "quotaMetric": "generativelanguage.googleapis.com/requests",
                  "quotaId": "GenerateRequestsPerMinutePerProjectPerModel" },
            ] },
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s" },
        ] } });
        let ApiError::RateLimited {
            retry_after,
            quota,
            message,
        } = class(429, body)
        else {
            panic!("not rate limited");
        };
        assert_eq!(retry_after, Some(SignedDuration::from_millis(34_500)));
        assert_eq!(
            quota.as_deref(),
            Some("GenerateRequestsPerMinutePerProjectPerModel")
        );
        assert_eq!(message, "You exceeded your current quota");
    }

    #[test]
    fn an_implausible_delay_is_ignored_or_capped() {
        let half_a_day = SignedDuration::from_hours(12);
        for (asked, wait) in [
            ("0s", Some(SignedDuration::ZERO)),
            ("0.5s", Some(SignedDuration::from_millis(500))),
            ("34s", Some(SignedDuration::from_secs(34))),
            ("43200s", Some(half_a_day)),
            ("43201s", Some(half_a_day)),
            ("1000000000000s", Some(half_a_day)),
            ("1e300s", Some(half_a_day)),
            ("infs", Some(half_a_day)),
            ("-1s", None),
            ("-1e300s", None),
            ("-infs", None),
            ("NaNs", None),
            ("", None),
            ("s", None),
            ("soon", None),
            ("34", None),
        ] {
            let info =
                json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": asked });
            let error = class(429, json!({ "error": { "details": [info] } }));
            assert!(
                matches!(error, ApiError::RateLimited { retry_after, .. } if retry_after == wait),
                "{asked}: {error:?}"
            );
        }
        for (asked, wait) in [
            ("60", Some(SignedDuration::from_secs(60))),
            ("99999999999999999999", Some(half_a_day)),
            ("-60", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, asked.parse().unwrap())]);
            let error = from_response(StatusCode::TOO_MANY_REQUESTS, &headers, b"", None);
            assert!(
                matches!(error, ApiError::RateLimited { retry_after, .. } if retry_after == wait),
                "{asked}: {error:?}"
            );
        }
    }

    #[test]
    fn reads_the_valid_members_of_an_envelope() {
        for body in [
            json!([{ "error": { "code": 429, "message": "Too many." } }]),
            json!({ "error": { "code": "429", "message": "Too many.", "details": null } }),
            json!({ "error": { "code": 99_999_999, "message": "Too many.", "details": "none" } }),
            json!({ "error": "Too many." }),
        ] {
            let error = class(429, body.clone());
            assert!(
                matches!(&error, ApiError::RateLimited { message, .. } if message == "Too many."),
                "{body}: {error:?}"
            );
        }
        for body in [
            json!({ "error": null }),
            json!({}),
            json!([]),
            json!("error"),
            json!({ "error": 7 }),
        ] {
            let error = class(429, body.clone());
            assert!(
                matches!(&error, ApiError::RateLimited { message, .. } if message.starts_with("429")),
                "{body}"
            );
        }
        let in_success = |body: Value| in_success(&HeaderMap::new(), body.to_string().as_bytes());
        assert!(in_success(json!({ "error": { "code": "400", "message": "No." } })).is_some());
        assert!(in_success(json!({ "error": null })).is_none());
    }

    #[test]
    fn the_longer_of_header_and_envelope_is_the_delay() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "60".parse().unwrap());
        let body = json!({ "error": { "details": [
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s" },
        ] } });
        for body in [body, json!({})] {
            let error = from_response(
                StatusCode::TOO_MANY_REQUESTS,
                &headers,
                body.to_string().as_bytes(),
                None,
            );
            assert!(
                matches!(error, ApiError::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 60)
            );
        }
    }

    #[test]
    fn reads_the_lines_that_a_message_names() {
        let lines = |message: &str| match class(400, with_message(message)) {
            ApiError::Invalid { lines, .. } => lines.into_keys().collect::<Vec<_>>(),
            error => panic!("{error:?}"),
        };
        let two = "Error on line 3: invalid JSON, near column 1032: no such field: 'x'\nError on line 12: bad";
        assert_eq!(lines(two), [3, 12]);
        assert_eq!(lines("Invalid request on line #7."), [7]);
        assert_eq!(lines("Line 9: unsupported aspect ratio"), [9]);
        for other in [
            "Unsupported MIME type: jsonl",
            "Invalid JSON at line 1 column 5",
            "online 3",
            "line x",
            "",
        ] {
            assert_eq!(lines(other), [0; 0], "{other}");
        }
        // All are read, although only 1 KiB of the message is kept.
        let many: Vec<String> = (1..=500)
            .map(|line| format!("Error on line {line}: no such field: 'thinking'"))
            .collect();
        assert_eq!(lines(&many.join("\n")).len(), 500);
    }

    #[test]
    fn a_body_that_is_not_an_envelope_is_not_shown() {
        let body = b"<html>secret page</html>";
        let error = from_response(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body, None);
        assert_eq!(
            error.to_string(),
            "no usable response from Gemini: 502 Bad Gateway"
        );
    }

    #[test]
    fn the_key_in_a_message_is_replaced() {
        let key = ApiKey::new("canary-1234").unwrap();
        let body = with_message("Consumer 'api_key:canary-1234' has been suspended.").to_string();
        let error = from_response(
            StatusCode::FORBIDDEN,
            &HeaderMap::new(),
            body.as_bytes(),
            Some(&key),
        );
        assert!(error.to_string().contains("api_key:[api key]"), "{error}");
    }

    #[test]
    fn sanitized_text_has_spaces_for_line_ends_and_no_queries() {
        assert_eq!(
            sanitize("line 1\r\nline\u{7} 2 at https://host/upload?upload_id=x, why?"),
            "line 1 line 2 at https://host/upload why?"
        );
    }

    proptest! {
        #[test]
        fn sanitized_text_is_short_and_without_control_characters(text in "\\PC{0,800}[\\x00-\\x1f€ ]{0,800}") {
            let plain = sanitize(&text);
            prop_assert!(plain.len() <= MAX_MESSAGE_BYTES);
            prop_assert!(!plain.contains(char::is_control));
        }
    }
}
