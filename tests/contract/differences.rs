//! The known differences between MiniStack 1.5.33 and AWS.
//!
//! Our stand-ins must behave like AWS. On MiniStack the same checks expect the behavior recorded
//! here, so an outdated line fails, and a line that no test uses does not compile.

/// The behavior of AWS, according to its documentation (read 2026-11) or to its users, and that of
/// MiniStack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// The request or the property that differs.
    pub(crate) rule: &'static str,
    pub(crate) aws: &'static str,
    pub(crate) ministack: &'static str,
}

const fn differs(rule: &'static str, aws: &'static str, ministack: &'static str) -> Difference {
    Difference {
        rule,
        aws,
        ministack,
    }
}

pub(crate) const KEY_TOO_LONG: Difference =
    differs("a key of 1,025 bytes", "400 KeyTooLongError", "accepted");
pub(crate) const WRONG_TOKEN: Difference = differs(
    "an invalid continuation token",
    "400 InvalidArgument",
    "accepted",
);
pub(crate) const COPY_TO_ITSELF: Difference = differs(
    "a copy of an object to itself that changes nothing",
    "400 InvalidRequest",
    "accepted",
);
pub(crate) const COPY_OF_PARTS: Difference = differs(
    "the ETag of a copy of an object made of parts",
    "of one piece",
    "of parts",
);
pub(crate) const CHECKSUM_IN_THE_ANSWER: Difference = differs(
    "the checksum in the answer to a put",
    "the one that was sent",
    "none",
);
pub(crate) const WHOLE_CHECKSUM: Difference = differs(
    "the FULL_OBJECT checksum of parts",
    "over the whole object",
    "over the parts' checksums",
);
pub(crate) const SMALL_PART: Difference = differs(
    "a part below 5 MiB that is not the last",
    "400 EntityTooSmall",
    "accepted",
);
pub(crate) const PART_ORDER: Difference = differs(
    "a completion that names its parts out of order",
    "400 InvalidPartOrder",
    "accepted",
);
pub(crate) const NO_PARTS: Difference =
    differs("a completion without parts", "400 MalformedXML", "accepted");
pub(crate) const UPLOADS_BY_FOLDER: Difference = differs(
    "the uploads and the common prefixes of two uploads and a folder of two more",
    "2 and 1",
    "4 and 0",
);
pub(crate) const HEAD_OF_A_PART: Difference = differs(
    "the size in the answer to a HEAD of a part",
    "of the part",
    "of the whole object",
);
pub(crate) const MISSING_PART: Difference = differs(
    "a read of a part beyond the last",
    "416 InvalidPartNumber",
    "accepted",
);
pub(crate) const OVERLAP: Difference = differs(
    "two rules that match the same object",
    "400 InvalidArgument",
    "accepted",
);
pub(crate) const UNKNOWN_EVENT: Difference = differs(
    "a rule for an unknown event",
    "400 InvalidArgument",
    "accepted",
);
pub(crate) const UNKNOWN_FILTER: Difference = differs(
    "a filter that is neither prefix nor suffix",
    "400 InvalidArgument",
    "accepted",
);
pub(crate) const LONG_DELAY: Difference =
    differs("a delay of 901 s", "400 InvalidParameterValue", "accepted");
pub(crate) const NEGATIVE_DELAY: Difference =
    differs("a delay of -1 s", "400 InvalidParameterValue", "accepted");
pub(crate) const LONG_VISIBILITY: Difference = differs(
    "a change of visibility to 43,201 s",
    "400 InvalidParameterValue",
    "accepted",
);
pub(crate) const LONG_VISIBILITY_IN_A_BATCH: Difference = differs(
    "a change of visibility to 43,201 s in a batch",
    "InvalidParameterValue",
    "accepted",
);
pub(crate) const LONG_RECEIVE_VISIBILITY: Difference = differs(
    "a receive with a visibility of 43,201 s",
    "400 InvalidParameterValue",
    "accepted",
);
pub(crate) const LONG_WAIT: Difference = differs(
    "a long poll of 21 s",
    "400 InvalidParameterValue",
    "accepted",
);
pub(crate) const CHANGE_OF_A_VISIBLE_MESSAGE: Difference = differs(
    "a change of visibility of a message that is visible again",
    "400 AWS.SimpleQueueService.MessageNotInflight",
    "accepted",
);
pub(crate) const DELETE_BY_AN_OLD_HANDLE: Difference = differs(
    "a delete by the handle of an earlier receive",
    "accepted",
    "400 ReceiptHandleIsInvalid",
);
pub(crate) const NO_DEAD_LETTER_QUEUE: Difference = differs(
    "a dead-letter queue that does not exist",
    "400 InvalidParameterValue",
    "400 InvalidAttributeValue",
);
pub(crate) const WRONG_QUEUE_NAME: Difference = differs(
    "a queue name with a space",
    "400 InvalidParameterValue",
    "accepted",
);
pub(crate) const PURGE_AGAIN: Difference = differs(
    "a second purge within a minute",
    "400 AWS.SimpleQueueService.PurgeQueueInProgress",
    "accepted",
);
pub(crate) const UNKNOWN_ATTRIBUTE: Difference = differs(
    "an unknown queue attribute",
    "400 InvalidAttributeName",
    "accepted",
);
