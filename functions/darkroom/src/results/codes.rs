//! Google's codes and names for the reasons why an image is missing, and whether a retry may
//! succeed.

/// Google's status codes by number, each with whether a retry may succeed
/// (<https://grpc.io/docs/guides/status-codes/>, read 2026-11). Code 0 means success and is not a
/// reason for an error, so it counts as unknown.
const STATUSES: [(&str, bool); 17] = [
    UNKNOWN,
    ("CANCELLED", true),
    UNKNOWN,
    ("INVALID_ARGUMENT", false),
    ("DEADLINE_EXCEEDED", true),
    ("NOT_FOUND", false),
    ("ALREADY_EXISTS", false),
    ("PERMISSION_DENIED", false),
    ("RESOURCE_EXHAUSTED", true),
    ("FAILED_PRECONDITION", false),
    ("ABORTED", true),
    ("OUT_OF_RANGE", false),
    ("UNIMPLEMENTED", false),
    ("INTERNAL", true),
    ("UNAVAILABLE", true),
    ("DATA_LOSS", false),
    ("UNAUTHENTICATED", false),
];

/// The status of an unknown error, which may be transient.
const UNKNOWN: (&str, bool) = ("UNKNOWN", true);

/// Returns the name of a status code, and whether a retry may succeed.
///
/// Error lines of a batch contain the gRPC code as a number. HTTP codes occur too, and are mapped to
/// gRPC codes as Google does
/// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>, read 2026-11).
/// If several gRPC codes share an HTTP code, the most general one is used, and `ABORTED` for 409,
/// since a request for an image creates nothing that could already exist. Any other number is an
/// unknown error.
pub fn grpc_status(code: i64) -> (&'static str, bool) {
    let grpc = match code {
        0..=16 => code,
        400 | 413 | 422 => 3,
        401 => 16,
        403 => 7,
        404 | 410 => 5,
        408 | 504 => 4,
        409 => 10,
        412 => 9,
        416 => 11,
        429 => 8,
        499 => 1,
        501 => 12,
        502 | 503 => 14,
        500..=599 => 13,
        _ => return UNKNOWN,
    };
    usize::try_from(grpc)
        .ok()
        .and_then(|index| STATUSES.get(index))
        .copied()
        .unwrap_or(UNKNOWN)
}

/// Returns the number of a gRPC status code by its name in any spelling, or `None` for a name that
/// Google doesn't define.
pub fn grpc_code(name: &str) -> Option<i64> {
    let (name, _) = grpc_status_of_name(name)?;
    if name == UNKNOWN.0 {
        return Some(2);
    }
    STATUSES
        .iter()
        .position(|(known, _)| *known == name)
        .and_then(|code| code.try_into().ok())
}

/// Like [`grpc_status`], but by the name of the code in any spelling, such as `UNAVAILABLE`,
/// `unavailable` or `Code.UNAVAILABLE`. It is `None` for a name that Google doesn't define.
pub(super) fn grpc_status_of_name(name: &str) -> Option<(&'static str, bool)> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let is_same = |known: &str| letters(known).eq(letters(name));
    if letters("CANCELED").eq(letters(name)) {
        return Some(grpc_status(1));
    }
    STATUSES.into_iter().find(|(known, _)| is_same(known))
}

/// Returns the letters and digits of a name, as capitals.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_uppercase())
}

/// Returns the status of an error from its status and code members, each a name or a number.
///
/// The status member takes precedence: it is Google's own name, while several names share one HTTP
/// code. If it is unknown or is `UNKNOWN`, the code member decides.
pub(super) fn error_status(status: Option<&str>, code: Option<&str>) -> (&'static str, bool) {
    let mut known = [status, code]
        .into_iter()
        .flatten()
        .map(status_of_word)
        .filter(|status| *status != UNKNOWN);
    known.next().unwrap_or(UNKNOWN)
}

fn status_of_word(word: &str) -> (&'static str, bool) {
    // "503 Service Unavailable" is a number too.
    let number = word.split_whitespace().next().unwrap_or_default();
    if !number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return grpc_status_of_name(word).unwrap_or(UNKNOWN);
    }
    let whole = || {
        number
            .parse()
            .ok()
            .filter(|number: &f64| number.fract() == 0.0)
            .map(|number| number as i64)
    };
    grpc_status(number.parse().ok().or_else(whole).unwrap_or_default())
}

/// The code of a request whose batch failed without a reason.
pub const BATCH_FAILED: &str = "BATCH_FAILED";

/// The code of a request without a result line, in a batch with unmatched images. One of those may
/// be its image.
pub const UNMATCHED: &str = "UNMATCHED";

/// The code of a request without a result line, in a batch with lines that could not be read. One of
/// those may be its line.
pub const UNREAD_LINE: &str = "UNREAD_LINE";

/// The code of a synchronous request whose answer was lost. A retry may succeed. The request may have
/// been charged for.
pub const NO_ANSWER: &str = "NO_ANSWER";

/// The code of a request of the flex tier that Gemini refused for lack of capacity. A retry may
/// succeed. The request was not charged for.
pub const NO_CAPACITY: &str = "NO_CAPACITY";

/// The code of a result whose image is a link.
pub(super) const FILE_DATA: &str = "FILE_DATA";

/// The code of a result whose image is written as text.
pub(super) const IMAGE_AS_TEXT: &str = "IMAGE_AS_TEXT";

/// Whether a result's code means that Gemini ended the request, or its whole batch, with an error
/// only.
pub fn is_error_entry(code: &str) -> bool {
    code == BATCH_FAILED
        || code == NO_CAPACITY
        || STATUSES.into_iter().any(|(known, _)| known == code)
}

/// Whether a result's code means that an image was generated and charged for, but could not be
/// stored.
pub fn is_image_elsewhere(code: &str) -> bool {
    code == FILE_DATA || code == IMAGE_AS_TEXT
}

/// Normalizes a finish reason or block reason to Google's spelling: in capitals, without the name of
/// the type.
pub(super) fn reason_name(text: &str) -> String {
    let name = text.rsplit('.').next().unwrap_or(text).trim();
    name.chars()
        .map(|char| {
            if matches!(char, ' ' | '-') {
                '_'
            } else {
                char.to_ascii_uppercase()
            }
        })
        .collect()
}

/// Whether a filter withheld the candidate that ended for this reason. For any other reason, the
/// model generated no image (<https://ai.google.dev/api/generate-content#FinishReason>, read 2026-11).
pub(super) fn is_refusal(finish_reason: &str) -> bool {
    matches!(
        finish_reason,
        "SAFETY"
            | "PROHIBITED_CONTENT"
            | "BLOCKLIST"
            | "SPII"
            | "RECITATION"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR"
            | "PUP_LIMITED_DISABLED"
    )
}

/// Whether a prompt that was blocked for this reason may pass when it is sent again. These reasons
/// name no filter, and Google describes `OTHER` as "blocked due to unknown reasons".
pub(super) fn is_transient_block(block_reason: &str) -> bool {
    matches!(
        block_reason,
        "OTHER" | "BLOCK_REASON_UNSPECIFIED" | "BLOCKED_REASON_UNSPECIFIED"
    )
}

/// Returns the code of a reply without an image and without a refusal: the finish reason, unless it
/// indicates success.
pub(super) fn no_image_code(finish_reason: Option<&str>) -> &str {
    match finish_reason {
        None | Some("" | "STOP" | "FINISH_REASON_UNSPECIFIED") => "NO_IMAGE",
        Some(other) => other,
    }
}

/// Whether to retry a request that was answered without an image and without a refusal: a second
/// answer is likely to differ, at an acceptable price. `has_text` states whether the model wrote a
/// text.
///
/// - `STOP` with a text is an answer in words: the model declines or asks a question. The same prompt
///   gets a similar answer. `STOP` without a text is an empty answer, which is accidental.
/// - `MAX_TOKENS` means that all output tokens were text or thoughts, and were charged for. This can
///   cost more than an image each time, and the limit is a part of the request or the model.
/// - `LANGUAGE` and `MISSING_THOUGHT_SIGNATURE` concern the request, which does not change.
/// - An unknown reason is more likely to be a new kind of refusal than an accident.
pub(super) fn is_retryable_without_image(finish_reason: Option<&str>, has_text: bool) -> bool {
    match finish_reason {
        Some("STOP") => !has_text,
        None
        | Some(
            ""
            | "NO_IMAGE"
            | "IMAGE_OTHER"
            | "OTHER"
            | "MALFORMED_RESPONSE"
            | "FINISH_REASON_UNSPECIFIED"
            | "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS",
        ) => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_codes_map_to_the_grpc_codes_of_google() {
        for (http, name, retryable) in [
            (400, "INVALID_ARGUMENT", false),
            (401, "UNAUTHENTICATED", false),
            (403, "PERMISSION_DENIED", false),
            (404, "NOT_FOUND", false),
            (408, "DEADLINE_EXCEEDED", true),
            (409, "ABORTED", true),
            (412, "FAILED_PRECONDITION", false),
            (413, "INVALID_ARGUMENT", false),
            (429, "RESOURCE_EXHAUSTED", true),
            (499, "CANCELLED", true),
            (500, "INTERNAL", true),
            (501, "UNIMPLEMENTED", false),
            (502, "UNAVAILABLE", true),
            (503, "UNAVAILABLE", true),
            (504, "DEADLINE_EXCEEDED", true),
            (529, "INTERNAL", true),
        ] {
            assert_eq!(grpc_status(http), (name, retryable), "{http}");
        }
        for unknown in [i64::MIN, -1, 0, 2, 17, 200, 302, 399, 418, 600, i64::MAX] {
            assert_eq!(grpc_status(unknown), ("UNKNOWN", true), "{unknown}");
        }
    }

    #[test]
    fn recognizes_the_name_of_a_status_in_every_spelling() {
        for name in [
            "RESOURCE_EXHAUSTED",
            "resource_exhausted",
            "ResourceExhausted",
            "resource-exhausted",
            " Resource exhausted ",
            "StatusCode.RESOURCE_EXHAUSTED",
            "google.rpc.Code.RESOURCE_EXHAUSTED",
        ] {
            assert_eq!(
                grpc_status_of_name(name),
                Some(("RESOURCE_EXHAUSTED", true)),
                "{name}"
            );
        }
        assert_eq!(grpc_status_of_name("canceled"), Some(("CANCELLED", true)));
        let codes = ["CANCELLED", "unknown", "INTERNAL", "Unauthenticated", "OK"].map(grpc_code);
        assert_eq!(codes, [Some(1), Some(2), Some(13), Some(16), None]);
        for (name, retryable) in STATUSES {
            assert_eq!(grpc_status_of_name(name), Some((name, retryable)));
        }
        for name in ["", ".", "OK", "13", "Service Unavailable", "\u{e9}"] {
            assert_eq!(grpc_status_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_status_takes_precedence_over_the_code() {
        for (status, code, name) in [
            (None, None, "UNKNOWN"),
            (None, Some("13"), "INTERNAL"),
            (None, Some(" 13 "), "INTERNAL"),
            (None, Some("13.0"), "INTERNAL"),
            (None, Some("1.4e1"), "UNAVAILABLE"),
            (None, Some("503 Service Unavailable"), "UNAVAILABLE"),
            (None, Some("resource_exhausted"), "RESOURCE_EXHAUSTED"),
            (Some("UNAVAILABLE"), None, "UNAVAILABLE"),
            (Some("503"), None, "UNAVAILABLE"),
            (
                Some("FAILED_PRECONDITION"),
                Some("400"),
                "FAILED_PRECONDITION",
            ),
            (Some("UNAVAILABLE"), Some("3"), "UNAVAILABLE"),
            (Some("UNKNOWN"), Some("429"), "RESOURCE_EXHAUSTED"),
            (Some("A_NEW_STATUS"), Some("429"), "RESOURCE_EXHAUSTED"),
            (Some(""), Some("13.5"), "UNKNOWN"),
            (None, Some("1e999"), "UNKNOWN"),
            (None, Some("-1e999"), "UNKNOWN"),
            (None, Some("NaN"), "UNKNOWN"),
            (None, Some("99999999999999999999"), "UNKNOWN"),
        ] {
            assert_eq!(error_status(status, code).0, name, "{status:?} {code:?}");
        }
    }

    #[test]
    fn every_status_is_an_error_entry_but_an_image_elsewhere_is_not() {
        for code in [BATCH_FAILED, NO_CAPACITY, "UNKNOWN", "INTERNAL"] {
            assert!(is_error_entry(code), "{code}");
        }
        for code in [FILE_DATA, IMAGE_AS_TEXT, NO_ANSWER, "NO_IMAGE", "NOT_JSON"] {
            assert!(!is_error_entry(code), "{code}");
        }
    }

    #[test]
    fn normalizes_the_spelling_of_reasons() {
        for text in [
            "IMAGE_SAFETY",
            "image_safety",
            "Image Safety",
            "FinishReason.IMAGE_SAFETY",
            " image-safety ",
        ] {
            assert_eq!(reason_name(text), "IMAGE_SAFETY");
        }
    }
}
