//! Why events can't be sent now.

use darkroom::events::TargetName;
use runtime::{
    aws_call::AwsCallError, bucket::BucketError, cas::CasError, document::DocumentError,
    parameter::ParameterError,
};

/// Why the events of a job can't be sent now. The message is delivered again.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The body is not a message about a job.
    #[error("not a job message: {0}")]
    Message(serde_json::Error),
    /// A stored document can't be parsed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A document that was written before the job's marker is missing.
    #[error("{0} is missing: restore it from an earlier version of the object")]
    Missing(String),
    /// An object can't be read or deleted.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The record of sent events can't be read or written.
    #[error(transparent)]
    Outbox(#[from] CasError),
    /// A target does not accept an event. The events that other targets have accepted are recorded.
    #[error("{target}: {error}")]
    Send {
        /// The target.
        target: TargetName,
        /// Why it does not.
        error: SendError,
    },
}

/// Why a target does not accept an event. The messages contain no address and no secret.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A service of AWS refuses the request, or does not answer.
    #[error("{0}; check that it exists and the function's permissions")]
    Aws(#[from] AwsCallError),
    /// EventBridge refuses the event.
    #[error("the bus refuses the event: {0}")]
    Entry(String),
    /// The secret of the webhook can't be read.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The secret of the webhook is not one.
    #[error("the secret of the webhook is not whsec_ and 24 to 64 bytes in base64")]
    Secret,
    /// The receiver of the webhook does not answer with a status of success.
    #[error("the receiver of the webhook answers with status {0}, and 200 to 299 is expected")]
    Status(u16),
    /// The receiver of the webhook can't be reached.
    #[error("the receiver of the webhook {0}")]
    Unreachable(String),
    /// The event can't be written as JSON.
    #[error("the event can't be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
}
