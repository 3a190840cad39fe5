//! The cost of images: estimates from the catalog before a request, and actual costs from the
//! tokens that Gemini reports after it.

mod estimate;
mod thinking;
mod usage;

use std::ops::Add;

use serde::{Deserialize, Serialize};

pub use self::{
    estimate::{Breakdown, Share, ShareKey},
    thinking::{Thinking, reserved_thoughts},
    usage::Usage,
};
use crate::{
    lane::Lane,
    models::{Model, Rates, ThinkingLevel},
    money::Usd,
};

/// The characters of text in one input token
/// (<https://ai.google.dev/gemini-api/docs/tokens>, read 2026-11: "about 4 characters").
const CHARACTERS_PER_TOKEN: u64 = 4;

/// The estimated cost of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The cost in a batch.
    pub batch_usd: Usd,
    /// The cost of synchronous requests.
    pub interactive_usd: Usd,
    /// The cost in the lanes in which the images are requested, if that is not the cost in a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes_usd: Option<Usd>,
}

impl Estimate {
    /// Returns the cost in the lanes in which the images are requested.
    pub fn usd(&self) -> Usd {
        self.lanes_usd.unwrap_or(self.batch_usd)
    }

    /// Returns the cost in another lane than that of the plan. The flex tier costs as much as a
    /// batch where the plan has no price for it.
    pub fn in_lane(&self, lane: Lane) -> Usd {
        match lane {
            Lane::Batch => self.batch_usd,
            Lane::Flex => self.usd(),
            Lane::Interactive => self.interactive_usd,
        }
    }
}

impl Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            batch_usd: self.batch_usd + other.batch_usd,
            interactive_usd: self.interactive_usd + other.interactive_usd,
            lanes_usd: (self.lanes_usd.is_some() || other.lanes_usd.is_some())
                .then(|| self.usd() + other.usd()),
        }
    }
}

/// Estimates the input tokens of a request from its text and its reference images.
pub fn input_tokens(model: &Model, characters: usize, references: usize) -> u64 {
    (characters as u64).div_ceil(CHARACTERS_PER_TOKEN)
        + references as u64 * model.tokens_per_reference
}

/// Estimates the cost of one image: the published price of its size, and its input tokens.
///
/// A size that the model doesn't offer counts as the model's default size. Thinking tokens are not
/// included: see [`Thinking`].
pub fn estimate(
    model: &Model,
    lane: Lane,
    image_size: Option<&str>,
    input_tokens: u64,
) -> Estimate {
    let size = model.size(image_size).or_else(|| model.size(None));
    let (batch, standard) = size.map_or((Usd::ZERO, Usd::ZERO), |size| (size.batch, size.standard));
    let batch_usd = batch + model.batch.input.per_million(input_tokens);
    let interactive_usd = standard + model.standard.input.per_million(input_tokens);
    let lanes_usd = match lane {
        Lane::Batch => None,
        Lane::Interactive => Some(interactive_usd),
        // Prices of single images are published for batches and ordinary requests only.
        Lane::Flex => Some(model.flex.as_ref().map_or(interactive_usd, |flex| {
            let tokens = size.map_or(0, |size| size.tokens);
            flex.rates.image.per_million(tokens) + flex.rates.input.per_million(input_tokens)
        })),
    };
    Estimate {
        batch_usd,
        interactive_usd,
        lanes_usd,
    }
}

/// Returns the most that one image is assumed to cost in its lane: its estimate, and more thinking
/// tokens than are expected at this level.
pub fn ceiling(model: &Model, lane: Lane, level: Option<ThinkingLevel>, estimate: Estimate) -> Usd {
    let rates = model.rates(lane).unwrap_or(&model.standard);
    estimate.in_lane(lane) + rates.text.per_million(reserved_thoughts(model, level))
}

/// Returns the actual cost of one request at these rates: see [`Model::rates`].
pub fn actual(usage: &Usage, rates: &Rates) -> Usd {
    rates.input.per_million(usage.prompt_tokens)
        + rates.image.per_million(usage.output_image_tokens)
        + rates.text.per_million(
            usage
                .output_text_tokens
                .saturating_add(usage.thought_tokens),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn ten_thousand_images_cost_what_google_publishes() {
        let catalog = Catalog::built_in();
        for (id, interactive, batch) in [
            ("gemini-3.1-flash-image", "670", "340"),
            ("gemini-3-pro-image", "1340", "670"),
        ] {
            let one = estimate(catalog.model(id).unwrap(), Lane::Batch, Some("1K"), 0);
            assert_eq!(
                (one.interactive_usd * 10_000, one.batch_usd * 10_000),
                (usd(interactive), usd(batch)),
                "{id}"
            );
        }
    }

    #[test]
    fn text_and_references_are_priced_as_input() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        assert_eq!(input_tokens(model, 41, 2), 11 + 2 * 1120);
        let one = estimate(model, Lane::Batch, None, 1_000);
        assert_eq!(
            (one.batch_usd, one.interactive_usd),
            (usd("0.01755"), usd("0.0351"))
        );
    }

    #[test]
    fn the_ceiling_is_the_estimate_and_the_reserved_thinking() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        assert_eq!(
            ceiling(
                model,
                Lane::Batch,
                None,
                estimate(model, Lane::Batch, None, 1_000)
            ),
            usd("0.0210375")
        );
        let high = ceiling(
            model,
            Lane::Batch,
            Some(ThinkingLevel::High),
            estimate(model, Lane::Batch, None, 1_000),
        );
        assert_eq!(high, usd("0.0288"), "3,000 thinking tokens");
    }

    #[test]
    fn each_kind_of_token_has_its_own_price() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        let usage = Usage {
            prompt_tokens: 1156,
            output_image_tokens: 1120,
            output_text_tokens: 368,
            thought_tokens: 483,
        };
        // 1156 x 0.75 + 1120 x 15 + (368 + 483) x 3.75, by the million.
        assert_eq!(actual(&usage, &model.batch), usd("0.02085825"));
        assert_eq!(actual(&usage, &model.standard), usd("0.0417165"));
        assert_eq!(actual(&Usage::default(), &model.batch), Usd::ZERO);
    }

    #[test]
    fn an_absurd_usage_has_a_price_and_does_not_panic() {
        let catalog = Catalog::built_in();
        let max = u64::MAX;
        let usage = Usage {
            prompt_tokens: max,
            output_image_tokens: max,
            output_text_tokens: max,
            thought_tokens: max,
        };
        assert!(actual(&usage, &catalog.models()[0].batch) > usd("1000000"));
    }

    #[test]
    fn the_cost_in_a_lane_has_the_prices_of_the_lane() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-3-pro-image").unwrap();
        let cost = |lane| {
            let one = estimate(model, lane, Some("2K"), 1_000);
            (one.usd(), ceiling(model, lane, None, one))
        };
        // 930 thinking tokens are reserved.
        assert_eq!(cost(Lane::Batch), (usd("0.068"), usd("0.07358")));
        assert_eq!(cost(Lane::Flex), (usd("0.0682"), usd("0.07378")));
        assert_eq!(cost(Lane::Interactive), (usd("0.136"), usd("0.14716")));
    }

    #[test]
    fn the_cost_of_images_in_several_lanes_is_summed_by_lane() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-3-pro-image").unwrap();
        let of = |lane| estimate(model, lane, None, 0);
        let batches = of(Lane::Batch) + of(Lane::Batch);
        assert_eq!((batches.usd(), batches.lanes_usd), (usd("0.134"), None));
        let mixed = of(Lane::Batch) + of(Lane::Interactive);
        assert_eq!((mixed.usd(), mixed.batch_usd), (usd("0.201"), usd("0.134")));
    }
}
