//! The input file of a shard: its request lines, with references replaced by uploaded files or,
//! tiny ones, by their bytes, streamed from S3 to Gemini.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use darkroom::{
    chunks::ChunkLine,
    layout,
    names::{FileName, ObjectUri, RequestKey},
    requests::{self, PlacedReference, RequestLineError},
    state::Shard,
};
use futures_util::{Stream, TryStreamExt, stream};
use gemini::{ApiError, FileState, UploadError, UploadRequest};
use jiff::Timestamp;
use runtime::{
    bucket::BucketError,
    cas::CasError,
    chunks::{ChunkError, read_chunk},
    lines::{LineError, Lines},
    shard_store::StateError,
};

use crate::{deps::Deps, references};

/// Lines are gathered to pieces of about this size, so that the upload isn't fed byte by byte.
const PIECE_BYTES: usize = 256 << 10;

/// Why there is no input file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Gemini refused or failed.
    #[error(transparent)]
    Gemini(ApiError),
    /// The shard's objects can't be used: no later try helps.
    #[error("{0}")]
    Unusable(String),
    /// It may work later.
    #[error("{0}")]
    Transient(String),
    /// Another shard of the job is uploading the same pictures.
    #[error("another shard of the job is uploading the same reference pictures")]
    Taken {
        /// When they are there, or not coming.
        until: Timestamp,
    },
}

impl From<BucketError> for InputError {
    fn from(error: BucketError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<CasError> for InputError {
    fn from(error: CasError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<StateError> for InputError {
    fn from(error: StateError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<ChunkError> for InputError {
    fn from(error: ChunkError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<ApiError> for InputError {
    fn from(error: ApiError) -> Self {
        Self::Gemini(error)
    }
}

impl From<LineError> for InputError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Stream(_) => Self::Transient(error.to_string()),
            LineError::TooLong { .. } => Self::Unusable(error.to_string()),
        }
    }
}

impl From<RequestLineError> for InputError {
    fn from(error: RequestLineError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<UploadError> for InputError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Api(error) => Self::Gemini(error),
            UploadError::Body(_) | UploadError::Length { .. } => Self::Transient(error.to_string()),
        }
    }
}

/// Places the references and uploads the input file of `shard`, in flat memory.
///
/// The request file is read twice or three times: once for the references in it, once for the
/// length of what will be sent (which Gemini wants to know first), and once to send it.
pub(crate) async fn upload(
    deps: &Deps,
    shard: &Shard,
    display_name: &str,
) -> Result<FileName, InputError> {
    let source = Source::of(deps, shard).await?;
    let found = source.references().await?;
    let placed = references::place(deps, &shard.job, found).await?;

    let size_bytes = source
        .lines(&placed)
        .await?
        .try_fold(0, async |sum, piece| Ok(sum + piece.len() as u64))
        .await?;
    let request = UploadRequest {
        display_name: display_name.to_owned(),
        mime_type: deps.gemini.input_mime_type().to_owned(),
        size_bytes,
        name: None,
    };
    let body = Box::pin(source.lines(&placed).await?);
    let file = deps.gemini.upload(request, body).await?;
    match file.state {
        FileState::Active => Ok(file.name),
        state => Err(InputError::Transient(format!(
            "Gemini's Files API left the input file in state {state:?}"
        ))),
    }
}

/// The keys of the requests in the input file, in the order of its lines.
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

/// The result lines of the requests that Gemini refused to take in earlier attempts.
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

/// Where the lines of the input file come from: the request file of the shard's first round.
struct Source<'a> {
    deps: &'a Deps,
    key: String,
    /// In a round, the keys that it asks for again.
    only: Option<HashSet<RequestKey>>,
    /// The keys that Gemini refused to take.
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
            key: layout::requests(&shard.job, shard.shard.number),
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

    /// The distinct objects that the requests refer to, and how often they do.
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

    /// What is sent: the wanted lines, with their references replaced, in pieces of many lines.
    async fn lines<'s>(
        &'s self,
        placed: &'s HashMap<ObjectUri, PlacedReference>,
    ) -> Result<impl Stream<Item = Result<Bytes, InputError>> + Send + 's, InputError> {
        let lines = self.open().await?;
        Ok(stream::try_unfold(Some(lines), move |lines| async move {
            let Some(mut lines) = lines else {
                return Ok(None);
            };
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            while piece.len() < PIECE_BYTES {
                let Some(line) = lines.next().await? else {
                    return Ok((!piece.is_empty()).then(|| (piece.freeze(), None)));
                };
                if self.wants(&line)? {
                    piece.extend_from_slice(&requests::with_placed(
                        &line,
                        self.deps.bucket.name(),
                        placed,
                    )?);
                    piece.extend_from_slice(b"\n");
                }
            }
            Ok(Some((piece.freeze(), Some(lines))))
        }))
    }
}
