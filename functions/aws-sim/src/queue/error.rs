//! The errors of SQS, under the names of the service.

use disk::documents::DocumentError;

/// The reason why a call had no effect. The names are those of SQS
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>,
/// read 2026-11).
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue does not exist. Create it first.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// A queue with this name exists with another value of this attribute: change its attributes
    /// instead.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(&'static str),
    /// The attribute is not supported.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// An attribute's value is outside of its bounds.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(&'static str),
    /// A parameter's value is outside of its bounds.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// A required parameter is missing.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// The body has characters that XML does not allow.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// The text is not a receipt handle.
    #[error("The input receipt handle is invalid.")]
    ReceiptHandleIsInvalid,
    /// The receive that the handle identifies has ended: the message is visible again, or was
    /// received again.
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    /// The queue was purged less than a minute ago.
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeQueueInProgress(String),
    /// The batch has no entries.
    #[error("There should be at least one entry in the request.")]
    EmptyBatchRequest,
    /// The batch has more than ten entries.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch have the same id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// A batch entry's id is not 1 to 80 letters, digits, `-` and `_`.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// The messages of the batch exceed 1 MiB together.
    #[error("Batch requests cannot be longer than 1048576 bytes. You have sent {0} bytes.")]
    BatchRequestTooLong(usize),
    /// The request is not JSON in the form of the operation.
    #[error("invalid request: {0}")]
    Malformed(serde_json::Error),
    /// The stand-in does not implement the operation.
    #[error("Unsupported operation {0}.")]
    UnsupportedOperation(String),
    /// A document could not be stored or read. Nothing changed.
    #[error(transparent)]
    Storage(#[from] DocumentError),
}

impl QueueError {
    /// Returns the error's name in the JSON protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist => "QueueDoesNotExist",
            Self::QueueNameExists(_) => "QueueNameExists",
            Self::InvalidAttributeName(_) => "InvalidAttributeName",
            Self::InvalidAttributeValue(_) => "InvalidAttributeValue",
            Self::InvalidParameterValue(_) => "InvalidParameterValue",
            Self::MissingParameter(_) => "MissingParameter",
            Self::InvalidMessageContents => "InvalidMessageContents",
            Self::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Self::MessageNotInflight => "MessageNotInflight",
            Self::PurgeQueueInProgress(_) => "PurgeQueueInProgress",
            Self::EmptyBatchRequest => "EmptyBatchRequest",
            Self::TooManyEntriesInBatchRequest(_) => "TooManyEntriesInBatchRequest",
            Self::BatchEntryIdsNotDistinct(_) => "BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId => "InvalidBatchEntryId",
            Self::BatchRequestTooLong(_) => "BatchRequestTooLong",
            Self::Malformed(_) => "SerializationException",
            Self::UnsupportedOperation(_) => "UnsupportedOperation",
            Self::Storage(_) => "InternalFailure",
        }
    }

    /// Returns the error's code in the older query protocol, which the SDKs evaluate.
    pub fn query_code(&self) -> String {
        match self {
            Self::QueueDoesNotExist => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
            Self::QueueNameExists(_) => "QueueAlreadyExists".to_owned(),
            Self::MessageNotInflight
            | Self::PurgeQueueInProgress(_)
            | Self::EmptyBatchRequest
            | Self::TooManyEntriesInBatchRequest(_)
            | Self::BatchEntryIdsNotDistinct(_)
            | Self::InvalidBatchEntryId
            | Self::BatchRequestTooLong(_)
            | Self::UnsupportedOperation(_) => format!("AWS.SimpleQueueService.{}", self.name()),
            Self::InvalidAttributeName(_)
            | Self::InvalidAttributeValue(_)
            | Self::InvalidParameterValue(_)
            | Self::MissingParameter(_)
            | Self::InvalidMessageContents
            | Self::ReceiptHandleIsInvalid
            | Self::Malformed(_)
            | Self::Storage(_) => self.name().to_owned(),
        }
    }

    /// Whether the caller is at fault, so that repeating the call can't help.
    pub fn is_sender_fault(&self) -> bool {
        !matches!(self, Self::Storage(_))
    }
}
