//! Lists of request keys that a shard's state refers to. They are stored in separate objects to
//! keep the state small: the state is read and written at every step, but its keys only when the
//! shard is submitted and collected.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{digest::hex, names::RequestKey};

/// The name of a list of request keys: `shards/<id>/keys/<sha256>.jsonl`, with one JSON string per
/// line.
///
/// The name is derived from the content. So writing the same list again changes nothing, and a list
/// that was damaged or replaced is detected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// The number of keys.
    pub count: u32,
    /// SHA-256 of the object's bytes, in hexadecimal.
    pub sha256: String,
}

/// The object is not the list that a state names.
#[derive(Debug, thiserror::Error)]
pub enum KeyListError {
    /// The bytes differ from those that were written.
    #[error("the list of request keys was changed after it was written")]
    Changed,
    /// The bytes are those that were written, but not a list of keys. This is a defect.
    #[error("a line of the list of request keys is not a JSON string: {0}")]
    Malformed(serde_json::Error),
}

impl KeyList {
    /// Returns the name of the list of these keys, and the bytes of its object.
    ///
    /// # Errors
    /// Returns serde's error if a key can't be written as JSON.
    pub fn of(keys: &[RequestKey]) -> Result<(Self, Vec<u8>), serde_json::Error> {
        let mut bytes = Vec::new();
        for key in keys {
            serde_json::to_writer(&mut bytes, key)?;
            bytes.push(b'\n');
        }
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Ok((
            Self {
                count,
                sha256: hex(&Sha256::digest(&bytes)),
            },
            bytes,
        ))
    }

    /// Reads the keys in `bytes`, in order.
    ///
    /// # Errors
    /// [`KeyListError`] if the bytes are not those that were written.
    pub fn read(&self, bytes: &[u8]) -> Result<Vec<RequestKey>, KeyListError> {
        if hex(&Sha256::digest(bytes)) != self.sha256 {
            return Err(KeyListError::Changed);
        }
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(KeyListError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_list_reads_back(keys in proptest::collection::vec("\\PC{1,20}|[\n\"\\\\]{1,3}", 0..20)) {
            let keys: Vec<RequestKey> = keys.into_iter().map(RequestKey::new).collect();
            let (list, bytes) = KeyList::of(&keys).unwrap();
            prop_assert_eq!(list.count as usize, keys.len());
            prop_assert_eq!(list.read(&bytes).unwrap(), keys);
        }
    }

    #[test]
    fn rejects_a_list_that_was_changed() {
        let (list, bytes) = KeyList::of(&[RequestKey::new("a"), RequestKey::new("b")]).unwrap();
        for changed in [&bytes[..bytes.len() - 1], b"", b"\"a\"\n"] {
            assert!(
                matches!(list.read(changed), Err(KeyListError::Changed)),
                "{changed:?}"
            );
        }
    }
}
