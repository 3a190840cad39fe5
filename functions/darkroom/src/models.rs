//! The catalog of Gemini's image models: what each can do, what it costs, how long it lives.
//!
//! The catalog is data (`models.toml`), because models, prices and dates change every few months.
//! A deployment may bring its own.

mod controls;
mod nearest;
mod parse;
mod resolve;
mod thinking;

use std::{collections::BTreeMap, str::FromStr};

use jiff::civil::Date;
use serde::Deserialize;

pub(crate) use self::nearest::nearest;
pub use self::{
    parse::CatalogError,
    resolve::{ModelError, Resolution},
    thinking::ThinkingLevel,
};
use crate::money::Usd;
pub use controls::Control;

/// The models that can be asked for, and the ids that no longer can.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    models: Vec<Model>,
    withdrawn: Vec<Withdrawn>,
    text: String,
}

impl Catalog {
    /// The catalog's text that is built into the program.
    pub const BUILT_IN: &str = include_str!("../models.toml");

    /// The catalog that is built into the program.
    #[expect(
        clippy::expect_used,
        reason = "the text is part of the program, and a test parses it"
    )]
    pub fn built_in() -> Self {
        Self::parse(Self::BUILT_IN).expect("models.toml is valid")
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every model, in the order of the catalog.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Input tokens that pending and running batches may hold together in this tier, by model.
    pub fn enqueued_tokens(&self, tier: Tier) -> BTreeMap<String, u64> {
        self.models
            .iter()
            .map(|model| (model.id.clone(), model.enqueued_tokens[tier.index()]))
            .collect()
    }

    /// The model with this full id, whatever its dates say.
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.id == id)
    }
}

/// What a Gemini project has paid so far, which decides its limits
/// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// The first paid one.
    #[default]
    One,
    /// The second.
    Two,
    /// The third.
    Three,
}

impl Tier {
    fn index(self) -> usize {
        match self {
            Self::One => 0,
            Self::Two => 1,
            Self::Three => 2,
        }
    }
}

/// A text that is no tier.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no tier: 1, 2 or 3 are")]
pub struct TierError(String);

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(text: &str) -> Result<Self, TierError> {
        match text {
            "1" => Ok(Self::One),
            "2" => Ok(Self::Two),
            "3" => Ok(Self::Three),
            other => Err(TierError(other.to_owned())),
        }
    }
}

/// One model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The full id, as in a request's path: `gemini-3-pro-image`.
    pub id: String,
    /// The family's name, which people may write for the newest live model of the family:
    /// `nano-banana-pro`.
    pub family: String,
    /// What people call it.
    pub name: String,
    /// The day of general availability.
    pub available: Date,
    /// The day from which Google asks to move on.
    pub deprecated: Option<Date>,
    /// The first day on which it may no longer answer.
    pub shutdown: Option<Date>,
    /// How sure the day of the shutdown is.
    pub shutdown_source: Option<ShutdownSource>,
    /// The id to use instead.
    pub successor: Option<String>,
    /// The aspect ratios it takes, as `width:height`.
    pub ratios: Vec<String>,
    /// The size of an image when none is asked for.
    pub default_size: String,
    /// The sizes it takes, small to large.
    pub sizes: Vec<Size>,
    /// Whether it takes any size without complaint and makes the default one.
    #[serde(default)]
    pub image_size_ignored: bool,
    /// Reference images that one request may hold.
    pub max_references: usize,
    /// Input tokens that a reference image counts for.
    pub tokens_per_reference: u64,
    /// Input tokens that its pending and running batches may hold together, by the project's tier:
    /// 1, 2, 3.
    pub enqueued_tokens: [u64; 3],
    /// The type of the images it makes. A promise only: an image's bytes decide.
    pub mime_type: String,
    /// What of a request's sampling it takes; a control that is not here may be refused, or have no
    /// effect.
    #[serde(default = "controls::all")]
    pub controls: Vec<Control>,
    /// The levels of thinking that it takes, little to much. None takes no level at all; nothing if
    /// that isn't known.
    #[serde(default)]
    pub thinking_levels: Option<Vec<ThinkingLevel>>,
    /// How much it thinks about an image, unless a request says otherwise; nothing if that isn't
    /// known.
    #[serde(default)]
    pub thoughts: Option<Thoughts>,
    /// How much it thinks about an image at each level, as far as that is known.
    #[serde(default)]
    pub thoughts_at: BTreeMap<ThinkingLevel, Thoughts>,
    /// Prices of synchronous requests.
    pub standard: Rates,
    /// Prices of batches.
    pub batch: Rates,
    #[serde(rename = "pixels")]
    pixel_table: String,
}

impl Model {
    /// The size of this name, or the default size; `None` for a size that the model doesn't make.
    pub fn size(&self, name: Option<&str>) -> Option<&Size> {
        let name = name.unwrap_or(&self.default_size);
        self.sizes.iter().find(|size| size.name == name)
    }

    /// Width and height to expect of an image, give or take three per cent.
    pub fn pixels(&self, ratio: &str, size: Option<&str>) -> Option<(u32, u32)> {
        let pixels = &self.size(size)?.pixels;
        let of = |ratio: &str| pixels.get(ratio).map(|[width, height]| (*width, *height));
        of(ratio).or_else(|| {
            let (width, height) = ratio.split_once(':')?;
            of(&format!("{height}:{width}")).map(|(width, height)| (height, width))
        })
    }

    /// Whether its last day has passed.
    pub fn retired(&self, on: Date) -> bool {
        self.shutdown.is_some_and(|shutdown| shutdown <= on)
    }
}

/// Who says that a model shuts down on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownSource {
    /// Google.
    Announced,
    /// Others; the day may be later.
    Reported,
}

/// One size of a model's images.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// As a request writes it: `512`, `1K`, `2K`, `4K`.
    pub name: String,
    /// Output tokens of one image.
    pub tokens: u64,
    /// The published price of one image, asked for synchronously.
    pub standard: Usd,
    /// The published price of one image of a batch.
    pub batch: Usd,
    #[serde(skip)]
    pixels: BTreeMap<String, [u32; 2]>,
}

/// How many tokens of thoughts one image usually takes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thoughts {
    /// The fewest.
    pub min_tokens: u64,
    /// The most.
    pub max_tokens: u64,
}

/// Dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// What goes in: text and reference images.
    pub input: Usd,
    /// Text that comes out, thoughts included.
    pub text: Usd,
    /// Images that come out.
    pub image: Usd,
}

/// An id that can't be asked for any more, and has no price.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdrawn {
    id: String,
    shutdown: Date,
    successor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_pixels_transpose_with_the_ratio() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        assert_eq!(model.pixels("5:4", None), Some((1152, 928)));
        assert_eq!(model.pixels("4:5", None), Some((928, 1152)));
        assert_eq!(model.pixels("1:8", Some("4K")), Some((1536, 12288)));
        assert_eq!(model.pixels("1:1", Some("512")), None, "it refuses 512");
        let lite = catalog.model("gemini-3.1-flash-image").unwrap();
        assert_eq!(lite.pixels("9:16", Some("512")), Some((384, 688)));
        let first = catalog.model("gemini-2.5-flash-image").unwrap();
        assert_eq!(first.pixels("2:3", None), Some((832, 1248)));
    }

    #[test]
    fn every_model_knows_the_pixels_of_its_ratios_at_its_default_size() {
        for model in Catalog::built_in().models() {
            for ratio in &model.ratios {
                assert!(model.pixels(ratio, None).is_some(), "{} {ratio}", model.id);
            }
        }
    }
}
