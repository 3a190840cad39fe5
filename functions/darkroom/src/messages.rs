//! What the queues carry: names only. The stored state says what is to be done.

use serde::{Deserialize, Serialize};

use crate::names::{JobId, ShardId};

/// A message about one shard, on (shards), (polls) and (results):
/// `{"v":1,"job":"…","shard":"0000"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardMessage {
    /// The form's version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The shard in the job.
    pub shard: ShardId,
}

impl ShardMessage {
    /// A message about shard `shard` of `job`.
    pub fn new(job: &JobId, shard: ShardId) -> Self {
        Self {
            v: Version,
            job: job.clone(),
            shard,
        }
    }
}

/// A message on (reports): a shard of the job has changed, `{"v":1,"job":"…","shard":"0000"}`, or
/// the whole job is worth a look, `{"v":1,"job":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobMessage {
    /// The form's version.
    pub v: Version,
    /// The job.
    pub job: JobId,
    /// The shard that has changed. None: any of them may have changed, and all states are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardId>,
}

impl JobMessage {
    /// A message about all of `job`.
    pub fn new(job: &JobId) -> Self {
        Self {
            v: Version,
            job: job.clone(),
            shard: None,
        }
    }

    /// A message about a shard that has changed. It costs the reader one state, where
    /// [`JobMessage::new`] costs all.
    pub fn of_shard(job: &JobId, shard: ShardId) -> Self {
        Self {
            shard: Some(shard),
            ..Self::new(job)
        }
    }
}

/// The one version of messages there is: 1. Another one is refused, so that a newer deployment's
/// message waits.
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
                "version {other} of this message isn't known here"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_message_is_its_names() {
        let message = ShardMessage::new(&JobId::new("catalog-1"), ShardId::first(3));
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, r#"{"v":1,"job":"catalog-1","shard":"0003"}"#);
        assert_eq!(
            serde_json::from_str::<ShardMessage>(&text).unwrap(),
            message
        );
    }

    #[test]
    fn a_job_message_names_the_shard_that_has_changed_or_none() {
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
    fn a_message_of_another_version_is_refused() {
        serde_json::from_str::<JobMessage>(r#"{"v":2,"job":"catalog-1"}"#).unwrap_err();
    }
}
