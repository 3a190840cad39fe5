//! The cost of images: estimates from the catalog before a request, and actual costs from the
//! tokens that Gemini reports after it.

mod estimate;
mod thinking;
mod usage;

use std::ops::Add;

use serde::{Deserialize, Serialize};

pub use self::{
    estimate::{Breakdown, Share},
    thinking::{Thinking, reserved_thoughts},
    usage::Usage,
};
use crate::{
    models::{Model, Rates, ThinkingLevel},
    money::Usd,
};

/// The characters of text in one input token
/// (<https://ai.google.dev/gemini-api/docs/tokens>, read 2026-11: "about 4 characters").
const CHARACTERS_PER_TOKEN: u64 = 4;

/// The estimated cost in each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The cost in a batch.
    pub batch_usd: Usd,
    /// The cost of synchronous requests.
    pub interactive_usd: Usd,
}

impl Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            batch_usd: self.batch_usd + other.batch_usd,
            interactive_usd: self.interactive_usd + other.interactive_usd,
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
pub fn estimate(model: &Model, image_size: Option<&str>, input_tokens: u64) -> Estimate {
    let (batch, standard) = model
        .size(image_size)
        .or_else(|| model.size(None))
        .map_or((Usd::ZERO, Usd::ZERO), |size| (size.batch, size.standard));
    Estimate {
        batch_usd: batch + model.batch.input.per_million(input_tokens),
        interactive_usd: standard + model.standard.input.per_million(input_tokens),
    }
}

/// Returns the most that one image is assumed to cost in a batch: its estimate, and more thinking
/// tokens than are expected at this level.
pub fn ceiling(model: &Model, level: Option<ThinkingLevel>, estimate: Estimate) -> Usd {
    estimate.batch_usd
        + model
            .batch
            .text
            .per_million(reserved_thoughts(model, level))
}

/// Returns the actual cost of one request at these rates: `model.batch`, or `model.standard` for
/// the interactive lane.
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
            let one = estimate(catalog.model(id).unwrap(), Some("1K"), 0);
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
        let one = estimate(model, None, 1_000);
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
            ceiling(model, None, estimate(model, None, 1_000)),
            usd("0.0210375")
        );
        let high = ceiling(
            model,
            Some(ThinkingLevel::High),
            estimate(model, None, 1_000),
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
}
