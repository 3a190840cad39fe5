//! The models that the simulated service offers, with its own prices.
//!
//! They are separate from the product's catalog on purpose, so that the two check each other.
//! Source: ai.google.dev/gemini-api/docs/pricing and /models, read 2026-11-21. 4K of Nano Banana
//! 2.1: quotations of the pricing page of October 2026, $0.1134. Tiers: the flex prices on the same
//! pricing page, read 2026-11. It lists none for the other image models, and no priority price for
//! any of them.

use serde_json::{Value, json};

use crate::{
    generation::service_tier::ServiceTier,
    images::dimensions::{AspectRatio, ImageSize},
};

/// An image model.
#[derive(Debug)]
pub(crate) struct Model {
    /// The id, without `models/`.
    pub(crate) id: &'static str,
    display_name: &'static str,
    /// The image sizes, each with its tokens per image.
    sizes: &'static [(ImageSize, u64)],
    extreme_ratios: bool,
    /// The prompt tokens of one reference image.
    pub(crate) reference_tokens: u64,
    /// The minimum and maximum number of thinking tokens per image, unless the request configures
    /// thinking.
    pub(crate) thoughts: Option<(u64, u64)>,
    output_token_limit: u32,
    /// The tiers of single requests, each with its price in percent of the standard price.
    tiers: &'static [(ServiceTier, u64)],
    /// The standard price of one token, in billionths of a dollar; a batch costs half.
    pub(crate) price: Price,
}

/// The standard price of one token, in billionths of a dollar.
#[derive(Debug)]
pub(crate) struct Price {
    /// A prompt token.
    pub(crate) input: u64,
    /// A token of text or thought.
    pub(crate) text: u64,
    /// A token of an image.
    pub(crate) image: u64,
}

/// The tiers of a model without flex.
const STANDARD_ONLY: &[(ServiceTier, u64)] = &[(ServiceTier::Standard, 100)];

/// The tiers of a model with flex, which costs as much as a batch.
const WITH_FLEX: &[(ServiceTier, u64)] = &[(ServiceTier::Standard, 100), (ServiceTier::Flex, 50)];

/// The available models.
pub(crate) static MODELS: [Model; 4] = [
    Model {
        id: "gemini-nano-banana-2.1",
        display_name: "Nano Banana 2.1",
        sizes: &[
            (ImageSize::One, 1120),
            (ImageSize::Two, 1680),
            (ImageSize::Four, 3780),
        ],
        extreme_ratios: true,
        reference_tokens: 1120,
        thoughts: Some((330, 620)),
        output_token_limit: 32_768,
        tiers: STANDARD_ONLY,
        price: Price {
            input: 1_500,
            text: 7_500,
            image: 30_000,
        },
    },
    Model {
        id: "gemini-3.1-flash-image",
        display_name: "Nano Banana 2",
        sizes: &[
            (ImageSize::Half, 747),
            (ImageSize::One, 1120),
            (ImageSize::Two, 1680),
            (ImageSize::Four, 2520),
        ],
        extreme_ratios: true,
        reference_tokens: 258,
        thoughts: None,
        output_token_limit: 32_768,
        tiers: STANDARD_ONLY,
        price: Price {
            input: 500,
            text: 3_000,
            image: 60_000,
        },
    },
    Model {
        id: "gemini-3-pro-image",
        display_name: "Nano Banana Pro",
        sizes: &[
            (ImageSize::One, 1120),
            (ImageSize::Two, 1120),
            (ImageSize::Four, 2000),
        ],
        extreme_ratios: false,
        reference_tokens: 258,
        thoughts: Some((80, 600)),
        output_token_limit: 32_768,
        tiers: WITH_FLEX,
        price: Price {
            input: 2_000,
            text: 12_000,
            image: 120_000,
        },
    },
    Model {
        id: "gemini-3.1-flash-lite-image",
        display_name: "Nano Banana 2 Lite",
        sizes: &[(ImageSize::One, 1120)],
        extreme_ratios: false,
        reference_tokens: 258,
        thoughts: None,
        output_token_limit: 4_096,
        tiers: STANDARD_ONLY,
        price: Price {
            input: 250,
            text: 1_500,
            image: 30_000,
        },
    },
];

/// Retired models, each with its replacement.
static RETIRED: [(&str, &str); 3] = [
    ("gemini-2.5-flash-image", "gemini-nano-banana-2.1"),
    ("gemini-3.1-flash-image-preview", "gemini-3.1-flash-image"),
    ("gemini-3-pro-image-preview", "gemini-3-pro-image"),
];

impl Model {
    /// Returns the available model with this id.
    pub(crate) fn find(id: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.id == id)
    }

    /// Returns the replacement of a retired model.
    pub(crate) fn replacement(id: &str) -> Option<&'static str> {
        RETIRED
            .iter()
            .find(|(retired, _)| *retired == id)
            .map(|(_, replacement)| *replacement)
    }

    /// Returns whether the model supports this ratio.
    pub(crate) fn supports(&self, ratio: &AspectRatio) -> bool {
        self.extreme_ratios || !ratio.extreme
    }

    /// Returns the tokens of one image of this size; `None` when the model doesn't support the
    /// size.
    pub(crate) fn image_tokens(&self, size: ImageSize) -> Option<u64> {
        self.sizes
            .iter()
            .find(|(offered, _)| *offered == size)
            .map(|(_, tokens)| *tokens)
    }

    /// Returns the price at this tier in percent of the standard price; `None` when the model
    /// doesn't offer the tier.
    pub(crate) fn tier_percent(&self, tier: ServiceTier) -> Option<u64> {
        self.tiers
            .iter()
            .find(|(offered, _)| *offered == tier)
            .map(|(_, percent)| *percent)
    }

    /// Returns the `Model` resource.
    pub(crate) fn resource(&self) -> Value {
        json!({
            "name": format!("models/{}", self.id),
            "version": "001",
            "displayName": self.display_name,
            "description": "Simulated: draws the request's key and prompt.",
            "inputTokenLimit": 131_072,
            "outputTokenLimit": self.output_token_limit,
            "supportedGenerationMethods": ["generateContent", "countTokens", "batchGenerateContent"],
            "thinking": self.thoughts.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_supports_the_default_size() {
        assert!(
            MODELS
                .iter()
                .all(|model| model.image_tokens(ImageSize::One).is_some())
        );
    }

    #[test]
    fn retired_models_point_to_live_ones() {
        for (retired, replacement) in RETIRED {
            assert!(Model::find(retired).is_none());
            assert!(Model::find(replacement).is_some());
        }
    }

    #[test]
    fn only_the_pro_model_has_flex_at_the_price_of_a_batch() {
        for model in &MODELS {
            let flex = (model.id == "gemini-3-pro-image").then_some(50);
            assert_eq!(model.tier_percent(ServiceTier::Standard), Some(100));
            assert_eq!(model.tier_percent(ServiceTier::Flex), flex, "{}", model.id);
            assert_eq!(model.tier_percent(ServiceTier::Priority), None);
        }
    }

    #[test]
    fn image_costs_equal_the_price_page() {
        let cost = |id: &str, size| {
            let model = Model::find(id).expect("live");
            model.image_tokens(size).expect("offered") * model.price.image
        };
        assert_eq!(cost("gemini-nano-banana-2.1", ImageSize::Two), 50_400_000);
        assert_eq!(cost("gemini-nano-banana-2.1", ImageSize::Four), 113_400_000);
        assert_eq!(cost("gemini-3-pro-image", ImageSize::Four), 240_000_000);
    }
}
