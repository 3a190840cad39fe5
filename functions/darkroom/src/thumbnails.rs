//! `thumbs.json`: which images of a shard have a thumbnail.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{chunks::Chunk, messages::Version};

/// The thumbnails of one shard: `jobs/<job>/shards/<id>/thumbs.json`, written by `thumbs` alone.
///
/// It grows while the thumbnails are made, so that an invocation continues where an earlier one
/// ended. It is complete once `chunks` names all chunks of the shard. An image is named by its path
/// below `images/`, with its extension.
///
/// ```json
/// {"v":1,"chunks":["rest"],"made":{"a/b.png":{"width":512,"height":410,"bytes":20111}},"failed":{"c.jpg":"…"}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnails {
    /// The version of the format.
    pub v: Version,
    /// The names of the chunks of which every image is in one of the two lists below.
    pub chunks: BTreeSet<String>,
    /// The thumbnails, by the paths of their images.
    pub made: BTreeMap<String, Thumbnail>,
    /// Why an image has no thumbnail, by its path.
    pub failed: BTreeMap<String, String>,
}

/// A thumbnail, which is a JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// The width in pixels, from 1 to 512.
    pub width: u32,
    /// The height in pixels, from 1 to 512.
    pub height: u32,
    /// The length in bytes, at most 30,000.
    pub bytes: u64,
}

impl Thumbnails {
    /// Whether every image of these chunks was tried.
    pub fn is_complete(&self, chunks: &[Chunk]) -> bool {
        chunks.iter().all(|chunk| self.chunks.contains(&chunk.name))
    }

    /// Whether an image has its thumbnail, or the reason why it has none.
    pub fn has(&self, path: &str) -> bool {
        self.made.contains_key(path) || self.failed.contains_key(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_complete_once_it_names_every_chunk() {
        let chunks = [Chunk::up_to(7, 1), Chunk::rest(2)];
        let mut thumbnails = Thumbnails::default();
        assert!(!thumbnails.is_complete(&chunks));
        thumbnails.chunks.insert(chunks[1].name.clone());
        assert!(!thumbnails.is_complete(&chunks));
        thumbnails.chunks.insert(chunks[0].name.clone());
        assert!(thumbnails.is_complete(&chunks) && thumbnails.is_complete(&[]));
    }

    #[test]
    fn it_is_written_with_sorted_names() {
        let thumbnail = Thumbnail {
            width: 512,
            height: 410,
            bytes: 20_111,
        };
        let thumbnails = Thumbnails {
            v: Version,
            chunks: BTreeSet::from(["rest".to_owned()]),
            made: BTreeMap::from([("a/b.png".to_owned(), thumbnail)]),
            failed: BTreeMap::from([("c.jpg".to_owned(), "damaged".to_owned())]),
        };
        let text = serde_json::to_string(&thumbnails).unwrap();
        assert_eq!(
            text,
            r#"{"v":1,"chunks":["rest"],"made":{"a/b.png":{"width":512,"height":410,"bytes":20111}},"failed":{"c.jpg":"damaged"}}"#
        );
        assert_eq!(
            serde_json::from_str::<Thumbnails>(&text).unwrap(),
            thumbnails
        );
    }
}
