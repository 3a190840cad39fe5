//! A dataset: a responses file as Gemini writes it, and the list of images that a correct collector
//! stores.

use std::{
    fs::{self, File},
    io::BufReader,
    path::PathBuf,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A dataset in a folder: `<name>.jsonl` and, written last, `<name>.json`.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    folder: PathBuf,
    name: String,
}

/// An image of a dataset, as one JSON object in its list.
///
/// ```json
/// {"key":"shoe-0001","bytes":2031997,"crc32":305419896}
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// The request key.
    pub(crate) key: String,
    /// The size in bytes.
    pub(crate) bytes: u64,
    /// The CRC-32 (ISO-HDLC).
    pub(crate) crc32: u32,
}

impl Dataset {
    /// Names the dataset `name` in `folder`, which may not exist.
    pub(crate) fn new(folder: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            name: name.into(),
        }
    }

    /// Returns its name, which is also the name of its file at Gemini.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path of the responses file.
    pub(crate) fn responses(&self) -> PathBuf {
        self.folder.join(format!("{}.jsonl", self.name))
    }

    fn list(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// Whether it was generated completely.
    pub(crate) fn is_complete(&self) -> bool {
        self.list().exists()
    }

    /// Writes the list, which completes the dataset.
    pub(crate) fn complete(&self, images: &[Expected]) -> anyhow::Result<()> {
        Ok(fs::write(self.list(), serde_json::to_vec(images)?)?)
    }

    /// Reads the list of images, in the order of the responses file.
    pub(crate) fn images(&self) -> anyhow::Result<Vec<Expected>> {
        let file = File::open(self.list())
            .with_context(|| format!("there is no dataset {}", self.name))?;
        Ok(serde_json::from_reader(BufReader::new(file))?)
    }
}
