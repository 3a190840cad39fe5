//! The names of things, as types, where one could be taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the name as it is.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as text.
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
    /// A job: `<manifest stem>-<16 hex digits>`. See [`crate::plan::job_id`].
    JobId
}
name! {
    /// The caller's id of one image, 1 to 256 characters: the only link between a request and its
    /// result.
    RequestKey
}
name! {
    /// A Gemini batch: `batches/…`.
    BatchName
}
name! {
    /// A file of the Gemini Files API: `files/…`.
    FileName
}

/// A shard of a job: `0007`, or in a later round `0007.r2`.
///
/// A round is a new, smaller shard with only the keys of its parent that are worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    /// The shard's number in its job, from 0.
    pub number: u32,
    /// 1 for the shard that the plan made, 2 and up for its rounds.
    pub round: u8,
}

impl ShardId {
    /// The first round of shard `number`.
    pub fn first(number: u32) -> Self {
        Self { number, round: 1 }
    }

    /// The round after this one.
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

/// A text that names no shard.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no shard: expected 0007 or 0007.r2")]
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

/// An object in a bucket: `s3://<bucket>/<key>`.
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

/// A text that names no object.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no object: expected s3://bucket/key")]
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
    fn shard_id_is_its_text_and_no_other_text_is() {
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
    fn object_uri_needs_bucket_and_key() {
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
