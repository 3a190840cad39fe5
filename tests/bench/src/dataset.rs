//! A dataset: a responses file as Gemini writes it, and the list of what a correct collector stores
//! of it.

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
    /// The request key. Its image is a PNG.
    pub(crate) key: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its CRC-32, of ISO-HDLC.
    pub(crate) crc32: u32,
}

impl Dataset {
    /// The dataset `name` in `folder`, whether or not it is there.
    pub(crate) fn new(folder: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            name: name.into(),
        }
    }

    /// Its name, which is also the name of its file at Gemini.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The responses file.
    pub(crate) fn responses(&self) -> PathBuf {
        self.folder.join(format!("{}.jsonl", self.name))
    }

    fn list(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// Whether it was made to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.list().exists()
    }

    /// Writes the list, by which the dataset is complete.
    pub(crate) fn complete(&self, images: &[Expected]) -> anyhow::Result<()> {
        Ok(fs::write(self.list(), serde_json::to_vec(images)?)?)
    }

    /// Its images, in the order of the responses file.
    pub(crate) fn images(&self) -> anyhow::Result<Vec<Expected>> {
        let file = File::open(self.list())
            .with_context(|| format!("there is no dataset {}", self.name))?;
        Ok(serde_json::from_reader(BufReader::new(file))?)
    }
}
