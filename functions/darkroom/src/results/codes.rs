//! Google's numbers and names for why there is no image, and what they mean for us.

/// Google's status codes by number, each with whether asking again may help
/// (<https://grpc.io/docs/guides/status-codes/>, read 2026-11). 0, which means success, is no
/// reason for an error: it counts as unknown.
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

/// An error of which nothing is known may be a passing one.
const UNKNOWN: (&str, bool) = ("UNKNOWN", true);

/// The name of a status code, and whether asking again may help.
///
/// Error lines of a batch carry the gRPC code as a number. HTTP codes have been seen too, and stand
/// for the gRPC code that Google maps to them
/// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>, read 2026-11).
/// Where Google maps several to one HTTP code, the most general one counts, and `ABORTED` for 409:
/// a request for an image creates nothing that could already exist. Any other number is an unknown
/// error.
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

/// The number of a gRPC status code, by its name in any spelling. None for a name that Google
/// doesn't have.
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

/// The same as [`grpc_status`] by the name of the code, however it is written: `UNAVAILABLE`,
/// `unavailable`, `Unavailable`, `Code.UNAVAILABLE`. None for a name that Google doesn't have.
pub(super) fn grpc_status_of_name(name: &str) -> Option<(&'static str, bool)> {
    let name = name.rsplit('.').next().unwrap_or(name);
    let is_same = |known: &str| letters(known).eq(letters(name));
    if letters("CANCELED").eq(letters(name)) {
        return Some(grpc_status(1));
    }
    STATUSES.into_iter().find(|(known, _)| is_same(known))
}

/// The letters and digits of a name, as capitals.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_uppercase())
}

/// What an error means by its status and its code, each a name or a number as written.
///
/// Where the two disagree, the status counts: it is Google's own name, and several of those share
/// one HTTP code. A status that isn't known, or that says no more than `UNKNOWN`, leaves the word
/// to the code.
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

/// The code of a request in a batch that failed without a reason.
pub const BATCH_FAILED: &str = "BATCH_FAILED";

/// The code of a request without a result line, in a batch that has images which belong to no
/// request: one of those may be its image.
pub const UNMATCHED: &str = "UNMATCHED";

/// The code of a request without a result line, in a batch some of whose lines could not be read:
/// one of those may be its line.
pub const UNREAD_LINE: &str = "UNREAD_LINE";
/// The code of a result whose image was given as a link.
pub(super) const FILE_DATA: &str = "FILE_DATA";

/// The code of a result whose image was written as text.
pub(super) const IMAGE_AS_TEXT: &str = "IMAGE_AS_TEXT";

/// Whether a result's code says that Gemini ended the request, or all of its batch, with an error
/// and nothing else.
pub fn is_error_entry(code: &str) -> bool {
    code == BATCH_FAILED || STATUSES.into_iter().any(|(known, _)| known == code)
}

/// Whether a result's code says that an image was made, and charged for, which could not be stored.
pub fn is_image_elsewhere(code: &str) -> bool {
    code == FILE_DATA || code == IMAGE_AS_TEXT
}

/// A finish reason or block reason as Google spells them: in capitals, without the name of the type
/// before it.
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

/// Whether a candidate that ended for this reason was withheld by a filter. With any other reason
/// it has no image because the model made none
/// (<https://ai.google.dev/api/generate-content#FinishReason>, read 2026-11).
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

/// Whether a prompt that was blocked for this reason may pass when it is sent again: no filter is
/// named, and Google describes `OTHER` as "blocked due to unknown reasons".
pub(super) fn is_passing_block(block_reason: &str) -> bool {
    matches!(
        block_reason,
        "OTHER" | "BLOCK_REASON_UNSPECIFIED" | "BLOCKED_REASON_UNSPECIFIED"
    )
}

/// The code of a reply without image and without refusal: the finish reason, unless that says that
/// all was well.
pub(super) fn no_image_code(finish_reason: Option<&str>) -> &str {
    match finish_reason {
        None | Some("" | "STOP" | "FINISH_REASON_UNSPECIFIED") => "NO_IMAGE",
        Some(other) => other,
    }
}

/// Whether a request that was answered without an image, and not refused, is worth asking again:
/// whether a second answer may plausibly be another one, for a price that is worth it. `has_text`
/// if the model wrote something.
///
/// - `STOP` with a text is an answer in words: the model declines, or asks back. The same prompt
///   gets much the same words. `STOP` without any text is an answer that came out empty, which is
///   an accident.
/// - `MAX_TOKENS`: all output tokens went into words or thoughts, and were charged for. That can
///   cost more than an image, each time, and the limit that was hit is part of the request or of
///   the model.
/// - `LANGUAGE` and `MISSING_THOUGHT_SIGNATURE` are about what the request says, which stays the
///   same.
/// - A reason that isn't known here is more likely to be a new kind of refusal than an accident.
pub(super) fn is_worth_asking_again(finish_reason: Option<&str>, has_text: bool) -> bool {
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
    fn http_codes_stand_for_the_grpc_codes_that_google_maps_them_to() {
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
    fn the_name_of_a_status_is_known_however_it_is_written() {
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
    fn the_status_counts_before_the_code() {
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
    fn every_status_is_an_error_entry_and_an_image_elsewhere_is_none() {
        assert!(
            is_error_entry(BATCH_FAILED) && is_error_entry("UNKNOWN") && is_error_entry("INTERNAL")
        );
        for code in [FILE_DATA, IMAGE_AS_TEXT, "NO_IMAGE", "NOT_JSON"] {
            assert!(!is_error_entry(code), "{code}");
        }
    }

    #[test]
    fn reasons_are_spelled_as_google_spells_them() {
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
