//! The messages in the queues. They contain names only; the stored state determines what a function
//! does.

use serde::{Deserialize, Serialize};

use crate::names::{JobId, ShardId};

/// A message about one shard in the queues `shards`, `polls`, `results`, `generations` and
/// `thumbnails`: `{"v":1,"job":"…","shard":"0000"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardMessage {
    /// The version of the message format.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The shard in the job.
    pub shard: ShardId,
}

impl ShardMessage {
    /// Creates a message about `shard` of `job`.
    pub fn new(job: &JobId, shard: ShardId) -> Self {
        Self {
            v: Version,
            job: job.clone(),
            shard,
        }
    }
}

/// A message in the queues `reports` and `notifications`. In `notifications` it names no shard:
/// events of the job may have to be sent. In `reports`, either one shard of the job has changed,
/// `{"v":1,"job":"…","shard":"0000"}`, or the whole job must be read again, `{"v":1,"job":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobMessage {
    /// The version of the message format.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The shard that has changed. None means that any shard may have changed, so all states are
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
}

impl JobMessage {
    /// Creates a message about the whole of `job`.
    pub fn new(job: &JobId) -> Self {
        Self {
            v: Version,
            job: job.clone(),
            shard: None,
        }
    }

    /// Creates a message about a shard that has changed. Its receiver reads one state, while the
    /// receiver of [`JobMessage::new`] reads all states.
    pub fn of_shard(job: &JobId, shard: ShardId) -> Self {
        Self {
            shard: Some(shard),
            ..Self::new(job)
        }
    }
}

/// The version of the message format, which is 1. Any other version is an error, so that a message
/// of a newer deployment stays in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format!(
                "unknown message version {other}: expected 1"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_message_contains_names_only() {
        let message = ShardMessage::new(&JobId::new("catalog-1"), ShardId::first(3));
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, r#"{"v":1,"job":"catalog-1","shard":"0003"}"#);
        assert_eq!(
            serde_json::from_str::<ShardMessage>(&text).unwrap(),
            message
        );
    }

    #[test]
    fn a_job_message_names_the_changed_shard_or_no_shard() {
        let job = JobId::new("catalog-1");
        for (message, text) in [
            (JobMessage::new(&job), r#"{"v":1,"job":"catalog-1"}"#),
            (
                JobMessage::of_shard(&job, ShardId::first(3)),
                r#"{"v":1,"job":"catalog-1","shard":"0003"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
            assert_eq!(serde_json::from_str::<JobMessage>(text).unwrap(), message);
        }
    }

    #[test]
    fn rejects_a_message_of_another_version() {
        serde_json::from_str::<JobMessage>(r#"{"v":2,"job":"catalog-1"}"#).unwrap_err();
    }
}
