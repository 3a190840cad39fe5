//! What a manifest is read with: the deployment's choices and bounds.

use std::collections::BTreeMap;

use jiff::civil::Date;
use url::Url;

use super::{Lanes, Sidecar};
use crate::{
    batch_bounds::BatchBounds,
    models::{AllowedModels, Catalog},
    names::ObjectUri,
};

/// What a manifest is read with.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The bucket of references that name only a key.
    pub bucket: &'a str,
    /// The known models.
    pub catalog: &'a Catalog,
    /// The model of items that name none: a family's name or a full id.
    pub default_model: &'a str,
    /// The day that decides which models are live.
    pub on: Date,
    /// Whether items may name models past their last day.
    pub allow_retired_models: bool,
    /// The manifest's metadata, job document and stored templates.
    pub sidecar: &'a Sidecar,
    /// The models that items may name, if the manifest's folder lists them.
    pub allowed_models: Option<&'a AllowedModels>,
    /// Whether items may name full ids that the catalog doesn't have. They are priced like the most
    /// expensive model.
    pub allow_unknown_models: bool,
    /// The copies of references that are web addresses. `None` if web addresses are not allowed.
    pub copies: Option<&'a Copies>,
    /// The bounds of one batch. An image that exceeds them can't be made.
    pub bounds: &'a BatchBounds,
    /// The bounds of a manifest.
    pub limits: Limits,
    /// The lanes and the proof that a first reading found. `None` for that reading: its images have
    /// provisional lanes.
    pub lanes: Option<&'a Lanes>,
}

/// The copies of references that are web addresses, by address without its fragment.
pub type Copies = BTreeMap<Url, ObjectUri>;

/// The bounds of a manifest, so that no file can exhaust a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole manifest, decompressed.
    pub manifest_bytes: u64,
    /// Bytes of one line or item. The bound for a row of a table is tighter, 4 MiB, because every
    /// cell costs memory.
    pub item_bytes: u64,
    /// Images of the whole manifest. `plan` keeps a hash of each key and path in memory.
    pub images: u64,
    /// Images of one item.
    pub variants: u32,
    /// Characters of one prompt.
    pub prompt_characters: usize,
    /// How many errors are listed, and how many warnings. After this number of errors the rest of
    /// the manifest is not checked.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 2 << 30,
            item_bytes: 32 << 20,
            images: 1_000_000,
            variants: 16,
            prompt_characters: 100_000,
            problems: 10_000,
        }
    }
}
