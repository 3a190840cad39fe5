//! The catalog of Gemini's image models: their abilities, prices and dates.
//!
//! The catalog is data (`models.toml`), because models, prices and dates change every few months.
//! A deployment may replace it.

mod allowed;
mod controls;
mod nearest;
mod parse;
mod resolve;
mod thinking;

use std::{collections::BTreeMap, str::FromStr, sync::LazyLock};

use jiff::civil::Date;
use serde::Deserialize;

pub(crate) use self::nearest::nearest;
pub use self::{
    allowed::AllowedModels,
    parse::CatalogError,
    resolve::{ModelError, Resolution},
    thinking::ThinkingLevel,
};
use crate::{lane::Lane, money::Usd};
pub use controls::Control;

/// The models that can be requested, and the ids that no longer can.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    models: Vec<Model>,
    withdrawn: Vec<Withdrawn>,
    text: String,
}

impl Catalog {
    /// The text of the catalog that is built into the program.
    pub const BUILT_IN: &str = include_str!("../models.toml");

    /// Returns the catalog that is built into the program.
    #[expect(
        clippy::expect_used,
        reason = "the text is part of the program, and a test parses it"
    )]
    pub fn built_in() -> Self {
        // Parsed once: a function asks for it several times.
        static CATALOG: LazyLock<Catalog> =
            LazyLock::new(|| Catalog::parse(Catalog::BUILT_IN).expect("models.toml is valid"));
        CATALOG.clone()
    }

    /// Returns the text that the catalog was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns every model, in the order of the catalog.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Returns the limits of this tier on the input tokens of pending and running batches, by model.
    pub fn enqueued_tokens(&self, tier: Tier) -> BTreeMap<String, u64> {
        self.models
            .iter()
            .map(|model| (model.id.clone(), model.enqueued_tokens[tier.index()]))
            .collect()
    }

    /// Returns the model with this full id, regardless of its dates.
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.id == id)
    }
}

/// The paid tier of a Gemini project, which decides its limits
/// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// The first paid tier.
    #[default]
    One,
    /// The second paid tier.
    Two,
    /// The third paid tier.
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

/// The text is not a tier.
#[derive(Debug, thiserror::Error)]
#[error("invalid tier {0:?}: expected 1, 2 or 3")]
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

/// A model of the catalog.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The full id, as in a request's path: `gemini-3-pro-image`.
    pub id: String,
    /// The name of the family, such as `nano-banana-pro`. In a manifest it represents the newest
    /// live model of the family.
    pub family: String,
    /// The common name.
    pub name: String,
    /// The day of general availability.
    pub available: Date,
    /// The day from which Google recommends another model.
    pub deprecated: Option<Date>,
    /// The first day on which the model may no longer answer.
    pub shutdown: Option<Date>,
    /// The source of the shutdown date.
    pub shutdown_source: Option<ShutdownSource>,
    /// The id of the model to use instead.
    pub successor: Option<String>,
    /// The supported aspect ratios, as `width:height`.
    pub ratios: Vec<String>,
    /// The size of an image if the request specifies none.
    pub default_size: String,
    /// The supported sizes, from small to large.
    pub sizes: Vec<Size>,
    /// Whether the model accepts any size and always uses the default one.
    #[serde(default)]
    pub image_size_ignored: bool,
    /// The maximum number of reference images in one request.
    pub max_references: usize,
    /// The input tokens of one reference image.
    pub tokens_per_reference: u64,
    /// The limit on the input tokens of pending and running batches, for the tiers 1, 2 and 3.
    pub enqueued_tokens: [u64; 3],
    /// The usual type of the generated images. The actual type is determined from the bytes.
    pub mime_type: String,
    /// The supported sampling controls. Any other control may be rejected or have no effect.
    #[serde(default = "controls::all")]
    pub controls: Vec<Control>,
    /// The supported thinking levels, from low to high. An empty list means that the model supports
    /// no level, and `None` means that the levels are unknown.
    #[serde(default)]
    pub thinking_levels: Option<Vec<ThinkingLevel>>,
    /// The thinking tokens of one image at the default level. None means that they are unknown.
    #[serde(default)]
    pub thoughts: Option<Thoughts>,
    /// The thinking tokens of one image at each level for which they are known.
    #[serde(default)]
    pub thoughts_at: BTreeMap<ThinkingLevel, Thoughts>,
    /// Prices of synchronous requests.
    pub standard: Rates,
    /// Prices of batches.
    pub batch: Rates,
    /// The flex tier, if the model has it.
    #[serde(default)]
    pub flex: Option<FlexTier>,
    #[serde(rename = "pixels")]
    pixel_table: String,
}

impl Model {
    /// Returns the size with this name, or the default size. It is `None` for a size that the model
    /// doesn't support.
    pub fn size(&self, name: Option<&str>) -> Option<&Size> {
        let name = name.unwrap_or(&self.default_size);
        self.sizes.iter().find(|size| size.name == name)
    }

    /// Returns the expected width and height of an image, with a tolerance of three percent.
    pub fn pixels(&self, ratio: &str, size: Option<&str>) -> Option<(u32, u32)> {
        let pixels = &self.size(size)?.pixels;
        // A table lists each ratio once; the transposed ratio has the transposed size.
        let of = |ratio: &str| pixels.get(ratio).map(|[width, height]| (*width, *height));
        of(ratio).or_else(|| {
            let (width, height) = ratio.split_once(':')?;
            of(&format!("{height}:{width}")).map(|(width, height)| (height, width))
        })
    }

    /// Returns the prices of a lane, or `None` if the model does not have the lane.
    pub fn rates(&self, lane: Lane) -> Option<&Rates> {
        match lane {
            Lane::Batch => Some(&self.batch),
            Lane::Flex => self.flex.as_ref().map(|flex| &flex.rates),
            Lane::Interactive => Some(&self.standard),
        }
    }

    /// Whether the model is shut down on a day.
    pub fn retired(&self, on: Date) -> bool {
        self.shutdown.is_some_and(|shutdown| shutdown <= on)
    }
}

/// The source of a shutdown date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownSource {
    /// Google announced the date.
    Announced,
    /// Others reported the date. The actual date may be later.
    Reported,
}

/// One size of a model's images.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// The name in a request: `512`, `1K`, `2K`, `4K`.
    pub name: String,
    /// The output tokens of one image.
    pub tokens: u64,
    /// The published price of one image in a synchronous request.
    pub standard: Usd,
    /// The published price of one image in a batch.
    pub batch: Usd,
    #[serde(skip)]
    pixels: BTreeMap<String, [u32; 2]>,
}

/// The usual range of thinking tokens of one image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thoughts {
    /// The lower end of the range.
    pub min_tokens: u64,
    /// The upper end of the range.
    pub max_tokens: u64,
}

/// Prices in dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The price of input: text and reference images.
    pub input: Usd,
    /// The price of text output, including thinking tokens.
    pub text: Usd,
    /// The price of image output.
    pub image: Usd,
}

/// The flex tier of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlexTier {
    /// Its prices.
    pub rates: Rates,
    /// Whether an answer of the tier was seen. Otherwise the tier is known from Google's price
    /// table alone. The tier that an answer reports decides its price in any case.
    pub verified: bool,
}

/// An id that can no longer be requested, and has no price.
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
        assert_eq!(
            model.pixels("1:1", Some("512")),
            None,
            "the model doesn't support 512"
        );
        let lite = catalog.model("gemini-3.1-flash-image").unwrap();
        assert_eq!(lite.pixels("9:16", Some("512")), Some((384, 688)));
        let first = catalog.model("gemini-2.5-flash-image").unwrap();
        assert_eq!(first.pixels("2:3", None), Some((832, 1248)));
    }

    #[test]
    fn every_model_has_pixels_for_each_ratio_at_its_default_size() {
        for model in Catalog::built_in().models() {
            for ratio in &model.ratios {
                assert!(model.pixels(ratio, None).is_some(), "{} {ratio}", model.id);
            }
        }
    }
}
