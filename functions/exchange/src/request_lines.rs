//! The requests of a shard: its lines of the request file, with each reference replaced by an
//! uploaded file, or by its bytes if it is tiny.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use darkroom::{
    chunks::ChunkLine,
    digest::hex,
    names::{ObjectUri, RequestKey},
    object_keys,
    requests::{self, PlacedReference, RequestLineError},
    state::Shard,
};
use futures_util::{Stream, stream};
use runtime::{bucket::Bucket, chunks::read_chunk, lines::Lines, shard_store::ShardStore};
use sha2::{Digest, Sha256};

use crate::error::InputError;

/// The size of the blocks into which lines are gathered, so that an upload does not send each line
/// separately.
const BLOCK_BYTES: usize = 256 << 10;

/// Returns the result lines of the requests that Gemini refused in earlier attempts.
///
/// # Errors
/// [`InputError`] if they can't be read.
pub async fn refused(bucket: &Bucket, shard: &Shard) -> Result<Vec<ChunkLine>, InputError> {
    let mut lines = Vec::new();
    if let Some(chunk) = &shard.refused {
        read_chunk(bucket, &shard.job, shard.shard, chunk, |line| {
            lines.push(line)
        })
        .await?;
    }
    Ok(lines)
}

/// The requests of a shard, which are lines of the request file of its first round.
#[derive(Debug)]
pub struct RequestLines<'a> {
    bucket: &'a Bucket,
    key: String,
    /// The version of the request file that was compared with the frozen one, if it was frozen.
    version: Option<String>,
    /// In a later round, the keys that it requests again.
    only: Option<HashSet<RequestKey>>,
    /// The keys that Gemini refused.
    refused: HashSet<RequestKey>,
}

impl<'a> RequestLines<'a> {
    /// The requests of `shard`, without those that Gemini refused.
    ///
    /// A request file that was frozen for a proof is compared with what was frozen, and only that
    /// version is read afterwards.
    ///
    /// # Errors
    /// [`InputError`] if the keys of its round, or those that Gemini refused, can't be read.
    /// [`InputError::Unusable`] if the request file has changed since it was frozen.
    pub async fn of(
        bucket: &'a Bucket,
        states: &ShardStore,
        shard: &Shard,
    ) -> Result<Self, InputError> {
        let key_of = |line| match line {
            ChunkLine::Result(result) => Some(result.key),
            ChunkLine::Unmatched(_) => None,
        };
        let key = object_keys::requests(&shard.job, shard.shard.number);
        let version = match &shard.frozen {
            Some(frozen) => Some(frozen_version(bucket, &key, frozen).await?),
            None => None,
        };
        Ok(Self {
            bucket,
            key,
            version,
            only: states
                .keys(shard)
                .await?
                .map(|keys| keys.into_iter().collect()),
            refused: refused(bucket, shard)
                .await?
                .into_iter()
                .filter_map(key_of)
                .collect(),
        })
    }

    /// Opens the request file. Lines that the shard does not want are among them.
    ///
    /// # Errors
    /// [`InputError`] if there is no such file, or it can't be read.
    pub async fn open(&self) -> Result<Lines, InputError> {
        let version = self.version.as_deref();
        Ok(open(self.bucket, &self.key, version).await?.0)
    }

    /// Whether a line of the request file is a request of the shard.
    ///
    /// # Errors
    /// [`RequestLineError`] if the line has no key.
    pub fn wants(&self, line: &[u8]) -> Result<bool, RequestLineError> {
        if self.only.is_none() && self.refused.is_empty() {
            return Ok(true);
        }
        let key = requests::key_of(line)?;
        Ok(self.only.as_ref().is_none_or(|only| only.contains(&key))
            && !self.refused.contains(&key))
    }

    /// Returns the distinct objects that the requests refer to, with the number of uses of each.
    ///
    /// # Errors
    /// [`InputError`] if the request file can't be read.
    pub async fn references(&self) -> Result<BTreeMap<ObjectUri, u64>, InputError> {
        let mut lines = self.open().await?;
        let mut found = BTreeMap::new();
        while let Some(line) = lines.next().await? {
            if self.wants(&line)? {
                for object in requests::references(&line, self.bucket.name())? {
                    *found.entry(object).or_default() += 1;
                }
            }
        }
        Ok(found)
    }

    /// Returns the wanted lines, with their references replaced, in blocks of many lines.
    ///
    /// # Errors
    /// [`InputError`] if the request file can't be opened; the stream ends with one if it can't be
    /// read.
    pub async fn blocks<'s>(
        &'s self,
        placed: &'s HashMap<ObjectUri, PlacedReference>,
    ) -> Result<impl Stream<Item = Result<Bytes, InputError>> + Send + 's, InputError> {
        let lines = self.open().await?;
        // The state of the stream is None after the last block, which need not be full.
        Ok(stream::try_unfold(Some(lines), move |lines| async move {
            let Some(mut lines) = lines else {
                return Ok(None);
            };
            let mut block = BytesMut::with_capacity(BLOCK_BYTES);
            while block.len() < BLOCK_BYTES {
                let Some(line) = lines.next().await? else {
                    return Ok((!block.is_empty()).then(|| (block.freeze(), None)));
                };
                if self.wants(&line)? {
                    block.extend_from_slice(&requests::with_placed(
                        &line,
                        self.bucket.name(),
                        placed,
                    )?);
                    block.extend_from_slice(b"\n");
                }
            }
            Ok(Some((block.freeze(), Some(lines))))
        }))
    }

    /// Returns one wanted line with its references replaced.
    ///
    /// # Errors
    /// [`RequestLineError`] if the line is not a request.
    pub fn placed(
        &self,
        line: &[u8],
        placed: &HashMap<ObjectUri, PlacedReference>,
    ) -> Result<Vec<u8>, RequestLineError> {
        Ok(requests::with_placed(line, self.bucket.name(), placed)?.into_owned())
    }

    /// Returns the keys of the requests, in the order of their lines.
    ///
    /// # Errors
    /// [`InputError`] if the request file can't be read.
    pub async fn keys(&self) -> Result<Vec<RequestKey>, InputError> {
        let mut lines = self.open().await?;
        let mut keys = Vec::new();
        while let Some(line) = lines.next().await? {
            if self.wants(&line)? {
                keys.push(requests::key_of(&line)?);
            }
        }
        Ok(keys)
    }
}

/// Opens a request file, in this version if one is given, and returns its lines and its version.
async fn open(
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
) -> Result<(Lines, String), InputError> {
    match bucket.open(key, version).await? {
        Some((stream, etag)) => Ok((Lines::of_document(stream), etag)),
        None => Err(InputError::Unusable(format!(
            "the request file {key} is missing"
        ))),
    }
}

/// Returns the version of a request file whose digest is `frozen`.
async fn frozen_version(bucket: &Bucket, key: &str, frozen: &str) -> Result<String, InputError> {
    let (mut lines, version) = open(bucket, key, None).await?;
    let mut digest = Sha256::new();
    while let Some(line) = lines.next().await? {
        digest.update(&line);
        digest.update(b"\n");
    }
    if hex(&digest.finalize()) == frozen {
        return Ok(version);
    }
    Err(InputError::Unusable(format!(
        "the request file {key} has changed since the proof was made; restore it from an earlier \
         version, and drop the manifest again"
    )))
}
