//! The input file of a shard: its request lines, streamed from S3 to Gemini, with each reference
//! replaced by an uploaded file, or by its bytes if it is tiny.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use darkroom::{
    chunks::ChunkLine,
    names::{FileName, ObjectUri, RequestKey},
    object_keys,
    requests::{self, PlacedReference, RequestLineError},
    state::Shard,
};
use futures_util::{Stream, TryStreamExt, stream};
use gemini::{FileState, UploadRequest};
use runtime::{chunks::read_chunk, lines::Lines};

use crate::{deps::Deps, error::InputError, references};

/// The size of the blocks into which lines are gathered, so that the upload does not send each line
/// separately.
const BLOCK_BYTES: usize = 256 << 10;

/// Places the references and uploads the input file of `shard`, in flat memory.
///
/// The request file is read two or three times: for its references, for the length of the input file
/// (which Gemini requires before the upload), and to send it.
///
/// # Errors
/// [`InputError`]; no input file that this shard can use exists then.
pub(crate) async fn upload(
    deps: &Deps,
    shard: &Shard,
    display_name: &str,
) -> Result<FileName, InputError> {
    // References come first, because their file URIs are part of the lines.
    let source = Source::of(deps, shard).await?;
    let found = source.references().await?;
    let placed = references::place(deps, &shard.job, found).await?;

    // The length is counted in a separate pass, so that memory does not grow with the file.
    let size_bytes = source
        .lines(&placed)
        .await?
        .try_fold(0, async |sum, block| Ok(sum + block.len() as u64))
        .await?;
    let request = UploadRequest {
        display_name: display_name.to_owned(),
        mime_type: deps.gemini.input_mime_type().to_owned(),
        size_bytes,
        name: None,
    };

    // Only a file that is ready now can be used for a batch.
    let body = Box::pin(source.lines(&placed).await?);
    let file = deps.gemini.upload(request, body).await?;
    match file.state {
        FileState::Active => Ok(file.name),
        state => Err(InputError::Transient(format!(
            "Gemini's Files API left the input file in state {state:?}"
        ))),
    }
}

/// Returns the keys of the requests in the input file, in the order of its lines.
pub(crate) async fn keys(deps: &Deps, shard: &Shard) -> Result<Vec<RequestKey>, InputError> {
    let source = Source::of(deps, shard).await?;
    let mut lines = source.open().await?;
    let mut keys = Vec::new();
    while let Some(line) = lines.next().await? {
        if source.wants(&line)? {
            keys.push(requests::key_of(&line)?);
        }
    }
    Ok(keys)
}

/// Returns the result lines of the requests that Gemini refused in earlier attempts.
pub(crate) async fn refused(deps: &Deps, shard: &Shard) -> Result<Vec<ChunkLine>, InputError> {
    let mut lines = Vec::new();
    if let Some(chunk) = &shard.refused {
        read_chunk(&deps.bucket, &shard.job, shard.shard, chunk, |line| {
            lines.push(line)
        })
        .await?;
    }
    Ok(lines)
}

/// The source of the input file's lines: the request file of the shard's first round.
struct Source<'a> {
    deps: &'a Deps,
    key: String,
    /// In a later round, the keys that it requests again.
    only: Option<HashSet<RequestKey>>,
    /// The keys that Gemini refused.
    refused: HashSet<RequestKey>,
}

impl<'a> Source<'a> {
    async fn of(deps: &'a Deps, shard: &Shard) -> Result<Self, InputError> {
        let key_of = |line| match line {
            ChunkLine::Result(result) => Some(result.key),
            ChunkLine::Unmatched(_) => None,
        };
        Ok(Self {
            deps,
            key: object_keys::requests(&shard.job, shard.shard.number),
            only: deps
                .states
                .keys(shard)
                .await?
                .map(|keys| keys.into_iter().collect()),
            refused: refused(deps, shard)
                .await?
                .into_iter()
                .filter_map(key_of)
                .collect(),
        })
    }

    async fn open(&self) -> Result<Lines, InputError> {
        match self.deps.bucket.open(&self.key, None).await? {
            Some((stream, _)) => Ok(Lines::of_document(stream)),
            None => Err(InputError::Unusable(format!(
                "the request file {} is missing",
                self.key
            ))),
        }
    }

    fn wants(&self, line: &[u8]) -> Result<bool, RequestLineError> {
        if self.only.is_none() && self.refused.is_empty() {
            return Ok(true);
        }
        let key = requests::key_of(line)?;
        Ok(self.only.as_ref().is_none_or(|only| only.contains(&key))
            && !self.refused.contains(&key))
    }

    /// Returns the distinct objects that the requests refer to, with the number of uses of each.
    async fn references(&self) -> Result<BTreeMap<ObjectUri, u64>, InputError> {
        let mut lines = self.open().await?;
        let mut found = BTreeMap::new();
        while let Some(line) = lines.next().await? {
            if self.wants(&line)? {
                for object in requests::references(&line, self.deps.bucket.name())? {
                    *found.entry(object).or_default() += 1;
                }
            }
        }
        Ok(found)
    }

    /// Returns the input file: the wanted lines, with their references replaced, in blocks of many
    /// lines.
    async fn lines<'s>(
        &'s self,
        placed: &'s HashMap<ObjectUri, PlacedReference>,
    ) -> Result<impl Stream<Item = Result<Bytes, InputError>> + Send + 's, InputError> {
        let lines = self.open().await?;
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
                        self.deps.bucket.name(),
                        placed,
                    )?);
                    block.extend_from_slice(b"\n");
                }
            }
            Ok(Some((block.freeze(), Some(lines))))
        }))
    }
}
