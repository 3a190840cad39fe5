//! Types for names and ids that could be mistaken for one another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Creates the name without checking it.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The id of a job: `<manifest stem>-<16 hex digits>`. See [`crate::plan::job_id`].
    JobId
}
name! {
    /// The caller's id of one image, with 1 to 256 characters. It is the only link between a
    /// request and its result.
    RequestKey
}
name! {
    /// The path of a folder of `stack/folders.toml`, as it is written there: `inbox/acme/**`.
    FolderPath
}
name! {
    /// The name of a Gemini batch: `batches/…`.
    BatchName
}
name! {
    /// The name of a file in the Gemini Files API: `files/…`.
    FileName
}

/// The id of a shard in a job: `0007`, or `0007.r2` in a later round.
///
/// A later round is a new, smaller shard with only those keys of its parent that are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    /// The shard's number in its job, from 0.
    pub number: u32,
    /// The round: 1 for the shard that the plan created, 2 and up for retries.
    pub round: u8,
}

impl ShardId {
    /// Returns the first round of shard `number`.
    pub fn first(number: u32) -> Self {
        Self { number, round: 1 }
    }

    /// Returns the round after this one.
    pub fn next_round(self) -> Self {
        Self {
            round: self.round + 1,
            ..self
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round {
            1 => write!(f, "{:04}", self.number),
            round => write!(f, "{:04}.r{round}", self.number),
        }
    }
}

/// The text is not a shard id.
#[derive(Debug, thiserror::Error)]
#[error("invalid shard {0:?}: expected 0007 or 0007.r2")]
pub struct ShardIdError(String);

impl FromStr for ShardId {
    type Err = ShardIdError;

    fn from_str(text: &str) -> Result<Self, ShardIdError> {
        let parse = || {
            let (number, round) = match text.split_once(".r") {
                Some((number, round)) => (number, round.parse().ok().filter(|round| *round > 1)?),
                None => (text, 1),
            };
            Some(Self {
                number: number.parse().ok()?,
                round,
            })
        };
        parse()
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| ShardIdError(text.to_owned()))
    }
}

impl Serialize for ShardId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The address of an object: `s3://<bucket>/<key>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectUri {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The text is not the address of an object.
#[derive(Debug, thiserror::Error)]
#[error("invalid object address {0:?}: expected s3://BUCKET/KEY")]
pub struct ObjectUriError(String);

impl FromStr for ObjectUri {
    type Err = ObjectUriError;

    fn from_str(text: &str) -> Result<Self, ObjectUriError> {
        text.strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .map(|(bucket, key)| Self {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            })
            .ok_or_else(|| ObjectUriError(text.to_owned()))
    }
}

impl Serialize for ObjectUri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_id_has_exactly_one_text() {
        for (id, text) in [
            (ShardId::first(7), "0007"),
            (ShardId::first(7).next_round(), "0007.r2"),
            (ShardId::first(12345), "12345"),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<ShardId>().unwrap(), id);
        }
        for text in [
            "",
            "7",
            "0007.r1",
            "0007.r",
            "0007.r02",
            "x",
            "+007",
            "0007.r2/../x",
        ] {
            text.parse::<ShardId>().unwrap_err();
        }
    }

    #[test]
    fn an_object_address_needs_a_bucket_and_a_key() {
        let uri: ObjectUri = "s3://studio/refs/a b.png".parse().unwrap();
        assert_eq!(
            (uri.bucket.as_str(), uri.key.as_str()),
            ("studio", "refs/a b.png")
        );
        assert_eq!(uri.to_string(), "s3://studio/refs/a b.png");
        for text in [
            "studio/refs",
            "s3://studio",
            "s3:///x",
            "s3://studio/",
            "https://x/y",
        ] {
            text.parse::<ObjectUri>().unwrap_err();
        }
    }
}
