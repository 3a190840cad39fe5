//! What the queues carry: names only. The stored state says what is to be done.

use serde::{Deserialize, Serialize};

use crate::names::{JobId, ShardId};

/// A message about one shard, on (shards), (polls) and (results): `{"v":1,"job":"…","shard":"0000"}`.
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
        Self { v: Version, job: job.clone(), shard }
    }
}

/// A message about a whole job, on (reports): `{"v":1,"job":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobMessage {
    /// The form's version.
    pub v: Version,
    /// The job.
    pub job: JobId,
}

impl JobMessage {
    /// A message about `job`.
    pub fn new(job: &JobId) -> Self {
        Self { v: Version, job: job.clone() }
    }
}

/// The one version of messages there is: 1. Another one is refused, so that a newer deployment's message waits.
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
            other => Err(serde::de::Error::custom(format!("version {other} of this message isn't known here"))),
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
        assert_eq!(serde_json::from_str::<ShardMessage>(&text).unwrap(), message);
    }

    #[test]
    fn a_message_of_another_version_is_refused() {
        serde_json::from_str::<JobMessage>(r#"{"v":2,"job":"catalog-1"}"#).unwrap_err();
    }
}
