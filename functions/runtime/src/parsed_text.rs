//! A small text that people write in the bucket, and what it was parsed to last.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::bucket::{Bucket, BucketError};

/// The last text that was read and what it means, so that the same text isn't parsed twice. The
/// text itself is read each time, so a change has an effect at once.
#[derive(Debug)]
pub(crate) struct ParsedText<T> {
    latest: Arc<Mutex<Option<Latest<T>>>>,
}

#[derive(Debug)]
struct Latest<T> {
    text: Bytes,
    parsed: Arc<T>,
}

/// Why a text can't be read now.
#[derive(Debug)]
pub(crate) enum ParseFault {
    /// The request to S3 failed.
    Bucket(BucketError),
    /// The text does not have the expected form.
    Broken(String),
}

impl<T> Clone for ParsedText<T> {
    fn clone(&self) -> Self {
        Self {
            latest: Arc::clone(&self.latest),
        }
    }
}

impl<T> Default for ParsedText<T> {
    fn default() -> Self {
        Self {
            latest: Arc::default(),
        }
    }
}

impl<T> ParsedText<T> {
    /// Reads the text with this key. Returns none if there is no such object.
    pub(crate) async fn read<E: Display>(
        &self,
        bucket: &Bucket,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Arc<T>>, ParseFault> {
        let Some(object) = bucket.read(key).await.map_err(ParseFault::Bucket)? else {
            return Ok(None);
        };
        let latest = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = &*latest()
            && latest.text == object.bytes
        {
            return Ok(Some(Arc::clone(&latest.parsed)));
        }
        let text = std::str::from_utf8(&object.bytes)
            .map_err(|error| ParseFault::Broken(format!("not valid UTF-8: {error}")))?;
        let parsed = parse(text).map_err(|error| ParseFault::Broken(error.to_string()))?;
        let parsed = Arc::new(parsed);
        *latest() = Some(Latest {
            text: object.bytes,
            parsed: Arc::clone(&parsed),
        });
        Ok(Some(parsed))
    }
}
