//! The folders below the inbox that belong to tenants: what each may spend, what its manifests get
//! by default, which models they may name, and who is notified.
//!
//! The folders are data in the bucket, `stack/folders.toml`, which people write. A manifest belongs
//! to the folder with the longest path that it is below. Nothing is inherited from a shorter path.

mod defaults;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::parse::FoldersError;
use crate::{
    job::JobFolder,
    ledger::{Caps, FolderCaps},
    models::AllowedModels,
    names::FolderPath,
};

/// The end of every path: the folder holds for everything below it.
const BELOW: &str = "**";

/// The folders of `stack/folders.toml`.
///
/// ```toml
/// [[folder]]
/// path = "inbox/acme/**"
/// daily_cap_usd = 20
/// monthly_cap_usd = 300
/// models = ["nano-banana-2", "nano-banana-2-lite"]
/// notify = ["studio@acme.example"]
/// defaults = { model = "nano-banana-2", image_size = "2K", lane = "flex" }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folders {
    folders: Vec<Folder>,
}

/// One folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// Its path.
    pub path: FolderPath,
    /// What it may spend.
    pub caps: Caps,
    /// The models that its manifests may name. `None` allows all.
    pub models: Option<AllowedModels>,
    /// Labels of who is notified about its jobs.
    pub notify: Vec<String>,
    /// What its manifests get where they set nothing themselves, in the form of a job document.
    /// `None` if there are no defaults.
    pub defaults: Option<String>,
}

impl Folders {
    /// Returns the folder that a manifest with this key belongs to, if there is one.
    pub fn of(&self, key: &str) -> Option<&Folder> {
        let above = |folder: &&Folder| key.starts_with(folder.prefix());
        let folders = self.folders.iter().filter(above);
        folders.max_by_key(|folder| folder.prefix().len())
    }

    /// Returns what each folder may spend.
    pub fn caps(&self) -> FolderCaps {
        let caps = self
            .folders
            .iter()
            .map(|folder| (folder.path.clone(), folder.caps));
        FolderCaps::Known(caps.collect::<BTreeMap<_, _>>())
    }
}

impl Folder {
    /// What the keys of its manifests begin with.
    fn prefix(&self) -> &str {
        let path = self.path.as_str();
        path.strip_suffix(BELOW).unwrap_or(path)
    }

    /// Returns what a job of this folder records of it.
    pub fn of_job(&self) -> JobFolder {
        JobFolder {
            path: self.path.clone(),
            notify: self.notify.clone(),
        }
    }
}
