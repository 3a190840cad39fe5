//! The folder of tried images: each image under its number, and next to it the request and the
//! answer that it came from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use darkroom::{cost::Usage, image_paths::extra_path, lane::Lane, money::Usd, results::Image};
use disk::Disk;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::FriendlyLine;

/// The name of the folder.
const FOLDER: &str = "try";

/// What is stored next to an image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The full ID of the model.
    pub(super) model: String,
    /// The lane that was asked for.
    pub(super) asked: Lane,
    /// The lane that served the image.
    pub(super) served: Lane,
    /// What it cost, if Gemini reported its tokens.
    pub(super) cost_usd: Option<Usd>,
    /// The tokens.
    pub(super) usage: Option<Usage>,
    /// The manifest line of an image that was made in one turn.
    pub(super) line: Option<FriendlyLine>,
    /// The `GenerateContentRequest` that was sent, byte for byte, without the tier.
    pub(super) request: Box<RawValue>,
    /// The turn of the model, byte for byte.
    pub(super) answer: Option<Box<RawValue>>,
    /// When Gemini deletes the first file that the request refers to.
    pub(super) files_until: Option<Timestamp>,
}

/// The folder of tried images.
#[derive(Debug)]
pub(super) struct Tries {
    folder: PathBuf,
}

impl Tries {
    pub(super) fn in_folder(out: &Path) -> Self {
        Self {
            folder: out.join(FOLDER),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a number that no image has.
    pub(super) fn next_number(&self) -> anyhow::Result<u32> {
        let numbers = self.names()?;
        let numbers = numbers.iter().filter_map(|name| number_of(name));
        Ok(numbers.max().unwrap_or(0).saturating_add(1))
    }

    /// Returns the record of the last image.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub(super) fn last(&self) -> anyhow::Result<Record> {
        let names = self.names()?;
        let last = names
            .iter()
            .filter(|name| name.ends_with(".json"))
            .filter_map(|name| number_of(name))
            .max();
        let Some(last) = last else {
            anyhow::bail!(
                "there is no image in {}: make one with darkroom try \"a prompt\"",
                self.folder.display()
            );
        };
        let path = self.record_path(last);
        let bytes = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("can't parse {}", path.display()))
    }

    /// Writes an image and the images before it in the same answer, and returns its path.
    pub(super) fn store_image(
        &self,
        disk: &Disk,
        number: u32,
        image: &Image,
        extras: &[Image],
    ) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("can't create the folder {}", self.folder.display()))?;
        let name = format!("{number:04}");
        let path = self.write(disk, &name, image)?;
        for (number, extra) in (1..).zip(extras) {
            self.write(disk, &extra_path(&name, number), extra)?;
        }
        Ok(path)
    }

    /// Writes the record of an image.
    pub(super) fn store_record(
        &self,
        disk: &Disk,
        number: u32,
        record: &Record,
    ) -> anyhow::Result<()> {
        let path = self.record_path(number);
        disk.replace(&path, &serde_json::to_vec(record)?)
            .with_context(|| format!("can't write {}", path.display()))
    }

    fn write(&self, disk: &Disk, name: &str, image: &Image) -> anyhow::Result<PathBuf> {
        let path = self
            .folder
            .join(format!("{name}.{}", image.media_type.extension()));
        disk.replace(&path, image.bytes.as_ref())
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }

    fn record_path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:04}.json"))
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("can't list {}", self.folder.display()));
            }
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names
            .collect::<io::Result<_>>()
            .with_context(|| format!("can't list {}", self.folder.display()))
    }
}

/// Returns the number that a file's name begins with.
fn number_of(name: &str) -> Option<u32> {
    name.split('.').next()?.parse().ok()
}
