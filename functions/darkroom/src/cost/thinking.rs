//! The cost of a model's thinking tokens. They are charged for, and their number is not known in
//! advance.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::{
    lane::Lane,
    models::{Model, ThinkingLevel, Thoughts},
};

/// The expected range of thinking tokens for some images. It is not a part of any [`Estimate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    /// The lower end of the range, in tokens.
    pub min_tokens: u64,
    /// The upper end of the range, in tokens. It is not a limit: a model may use more.
    pub max_tokens: u64,
    /// The cost at the lower end.
    pub min: Estimate,
    /// The cost at the upper end.
    pub max: Estimate,
}

impl Thinking {
    /// Returns the range for one image of `model` in a lane and at a level. If the catalog lists no
    /// range for this level, the range of the default level holds; without either, the range is
    /// zero.
    pub(crate) fn of_image(model: &Model, lane: Lane, level: Option<ThinkingLevel>) -> Self {
        let Some(thoughts) = at_level(model, level).or(model.thoughts.as_ref()) else {
            return Self::default();
        };
        let rates = model.rates(lane).unwrap_or(&model.standard);
        let price = |tokens| Estimate {
            batch_usd: model.batch.text.per_million(tokens),
            interactive_usd: model.standard.text.per_million(tokens),
            lanes_usd: (!lane.is_batch()).then(|| rates.text.per_million(tokens)),
        };
        Self {
            min_tokens: thoughts.min_tokens,
            max_tokens: thoughts.max_tokens,
            min: price(thoughts.min_tokens),
            max: price(thoughts.max_tokens),
        }
    }
}

impl Add for Thinking {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            min_tokens: self.min_tokens.saturating_add(other.min_tokens),
            max_tokens: self.max_tokens.saturating_add(other.max_tokens),
            min: self.min + other.min,
            max: self.max + other.max,
        }
    }
}

/// Returns the thinking tokens to reserve for one image: one and a half times the upper end of the
/// model's range, so that the bill stays below the reservation. If the catalog lists no range for
/// the model or the level, the reservation exceeds every model's at its default level.
pub fn reserved_thoughts(model: &Model, level: Option<ThinkingLevel>) -> u64 {
    /// The reservation without a range in the catalog.
    const UNKNOWN: u64 = 1_000;

    let with_margin =
        |thoughts: &Thoughts| thoughts.max_tokens.saturating_add(thoughts.max_tokens / 2);
    let by_default = || model.thoughts.as_ref().map_or(UNKNOWN, with_margin);
    match (at_level(model, level), level) {
        (Some(thoughts), _) => with_margin(thoughts),
        (None, Some(_)) => by_default().max(UNKNOWN),
        (None, None) => by_default(),
    }
}

/// Returns the range that the catalog lists for the level of a request.
fn at_level(model: &Model, level: Option<ThinkingLevel>) -> Option<&Thoughts> {
    model.thoughts_at.get(&level?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    #[test]
    fn thinking_tokens_are_priced_as_text() {
        let catalog = Catalog::built_in();
        let one = Thinking::of_image(
            catalog.model("gemini-nano-banana-2.1").unwrap(),
            Lane::Batch,
            None,
        );
        assert_eq!((one.min_tokens, one.max_tokens), (330, 620));
        let both = one + one;
        assert_eq!((both.min_tokens, both.max_tokens), (660, 1240));
        let usd = |text: &str| text.parse().unwrap();
        // 660 and 1,240 tokens at $3.75 and $7.50 a million.
        assert_eq!(
            both.min,
            Estimate {
                batch_usd: usd("0.002475"),
                interactive_usd: usd("0.00495"),
                lanes_usd: None,
            }
        );
        assert_eq!(
            both.max,
            Estimate {
                batch_usd: usd("0.00465"),
                interactive_usd: usd("0.0093"),
                lanes_usd: None,
            }
        );
    }

    #[test]
    fn thinking_tokens_have_the_prices_of_the_lane() {
        let catalog = Catalog::built_in();
        let pro = catalog.model("gemini-3-pro-image").unwrap();
        let usd = |text: &str| text.parse().unwrap();
        // 620 tokens at $6, $6 and $12 a million.
        for (lane, expected) in [
            (Lane::Batch, "0.00372"),
            (Lane::Flex, "0.00372"),
            (Lane::Interactive, "0.00744"),
        ] {
            let max = Thinking::of_image(pro, lane, None).max;
            assert_eq!(max.usd(), usd(expected), "{lane}");
            assert_eq!(max.lanes_usd.is_none(), lane == Lane::Batch);
            assert_eq!(max.batch_usd, usd("0.00372"));
        }
    }

    #[test]
    fn the_reservation_exceeds_the_expected_range() {
        let catalog = Catalog::built_in();
        for model in catalog.models() {
            let max_tokens = model.thoughts.as_ref().unwrap().max_tokens;
            assert!(
                reserved_thoughts(model, None) > max_tokens || max_tokens == 0,
                "{}",
                model.id
            );
        }
        let mut unknown = catalog.models()[0].clone();
        unknown.thoughts = None;
        assert!(
            catalog
                .models()
                .iter()
                .all(|model| reserved_thoughts(model, None) <= reserved_thoughts(&unknown, None))
        );
        assert_eq!(
            Thinking::of_image(&unknown, Lane::Batch, None),
            Thinking::default()
        );
    }

    #[test]
    fn a_level_that_the_catalog_lists_decides_the_range() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        let max_tokens = |level| Thinking::of_image(model, Lane::Batch, level).max_tokens;
        assert!(
            max_tokens(Some(ThinkingLevel::Minimal)) < max_tokens(None)
                && max_tokens(None) < max_tokens(Some(ThinkingLevel::High))
        );
        assert_eq!(
            max_tokens(Some(ThinkingLevel::Medium)),
            max_tokens(None),
            "medium is the default level"
        );
        assert_eq!(reserved_thoughts(model, Some(ThinkingLevel::High)), 3_000);

        // Another catalog may list no levels.
        let mut without_levels = model.clone();
        without_levels.thoughts_at.clear();
        let high = Some(ThinkingLevel::High);
        assert_eq!(
            Thinking::of_image(&without_levels, Lane::Batch, high),
            Thinking::of_image(&without_levels, Lane::Batch, None)
        );
        assert_eq!(
            (
                reserved_thoughts(&without_levels, None),
                reserved_thoughts(&without_levels, high)
            ),
            (930, 1_000)
        );
    }
}
