//! Google's numbers and names for why there is no image, and what they mean for us.

/// The name of a gRPC status code, and whether asking again may help.
///
/// Error lines of a batch carry the number alone
/// (<https://grpc.io/docs/guides/status-codes/>, read 2026-11). A number that isn't a gRPC code is an unknown error.
pub fn grpc_status(code: i64) -> (&'static str, bool) {
    match code {
        1 => ("CANCELLED", true),
        3 => ("INVALID_ARGUMENT", false),
        4 => ("DEADLINE_EXCEEDED", true),
        5 => ("NOT_FOUND", false),
        6 => ("ALREADY_EXISTS", false),
        7 => ("PERMISSION_DENIED", false),
        8 => ("RESOURCE_EXHAUSTED", true),
        9 => ("FAILED_PRECONDITION", false),
        10 => ("ABORTED", true),
        11 => ("OUT_OF_RANGE", false),
        12 => ("UNIMPLEMENTED", false),
        13 => ("INTERNAL", true),
        14 => ("UNAVAILABLE", true),
        15 => ("DATA_LOSS", false),
        16 => ("UNAUTHENTICATED", false),
        _ => ("UNKNOWN", true),
    }
}

/// The code of a request in a batch that failed without a reason.
pub const BATCH_FAILED: &str = "BATCH_FAILED";

/// The code of a request without a result line, in a batch that has images which belong to no request: one of those may be
/// its image.
pub const UNMATCHED: &str = "UNMATCHED";

/// The code of a request without a result line, in a batch some of whose lines could not be read: one of those may be its
/// line.
pub const UNREAD_LINE: &str = "UNREAD_LINE";

/// Whether a result's code says that Gemini ended the request, or all of its batch, with an error and nothing else.
pub fn is_error_entry(code: &str) -> bool {
    code == BATCH_FAILED || (0..=16).any(|number| grpc_status(number).0 == code)
}

/// Whether a candidate that ended for this reason was withheld by a filter. With any other reason it has no image
/// because the model made none (<https://ai.google.dev/api/generate-content#FinishReason>, read 2026-11).
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

/// The code of a reply without image and without refusal: the finish reason, unless that says that all was well.
pub(super) fn no_image_code(finish_reason: Option<&str>) -> &str {
    match finish_reason {
        None | Some("" | "STOP" | "FINISH_REASON_UNSPECIFIED") => "NO_IMAGE",
        Some(other) => other,
    }
}
