//! Where MiniStack 1.5.33 is known to differ from AWS.
//!
//! The checks stay as AWS has them, for our stand-ins. On MiniStack the same checks expect what
//! stands here, so a line that no longer holds fails; and one that no test uses does not compile.

/// What AWS says, by its pages (read 2026-11) or as its users quote it, and what MiniStack does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// What is asked.
    pub(crate) rule: &'static str,
    pub(crate) aws: &'static str,
    pub(crate) instead: &'static str,
}

const fn differs(rule: &'static str, aws: &'static str, instead: &'static str) -> Difference {
    Difference { rule, aws, instead }
}

pub(crate) const KEY_TOO_LONG: Difference =
    differs("a key of 1,025 bytes", "400 KeyTooLongError", "accepted");
pub(crate) const WRONG_TOKEN: Difference = differs(
    "a continuation token that was never given",
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
    "the uploads and the common prefixes of two uploads beside a folder of two",
    "2 and 1",
    "4 and 0",
);
pub(crate) const HEAD_OF_A_PART: Difference = differs(
    "the size in the answer to a HEAD of a part",
    "of the part",
    "of the whole object",
);
pub(crate) const PART_THAT_IS_NOT_THERE: Difference = differs(
    "a read of a part beyond the last",
    "416 InvalidPartNumber",
    "accepted",
);
pub(crate) const OVERLAP: Difference = differs(
    "two rules that would tell of one object twice",
    "400 InvalidArgument",
    "accepted",
);
pub(crate) const UNKNOWN_EVENT: Difference = differs(
    "a rule for an event that is none",
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
    "a dead-letter queue that is not there",
    "400 InvalidParameterValue",
    "400 InvalidAttributeValue",
);
pub(crate) const WRONG_QUEUE_NAME: Difference = differs(
    "a queue's name with a space",
    "400 InvalidParameterValue",
    "accepted",
);
pub(crate) const PURGE_AGAIN: Difference = differs(
    "a second purge within a minute",
    "400 AWS.SimpleQueueService.PurgeQueueInProgress",
    "accepted",
);
pub(crate) const UNKNOWN_ATTRIBUTE: Difference = differs(
    "an attribute that no queue has",
    "400 InvalidAttributeName",
    "accepted",
);
