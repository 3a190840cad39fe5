//! What a model's thoughts may cost: they are charged for, and how long they are nobody knows
//! before.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::models::{Model, ThinkingLevel, Thoughts};

/// What the thoughts about some images may come to, at the least and at the most. It is not a part
/// of any [`Estimate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    /// The fewest tokens to expect.
    pub min_tokens: u64,
    /// The most tokens to expect. They are no limit: a model may think longer.
    pub max_tokens: u64,
    /// What the fewest cost.
    pub min: Estimate,
    /// What the most cost.
    pub max: Estimate,
}

impl Thinking {
    /// The thoughts about one image of `model` at a level, by its catalog: those of its default
    /// level where nothing is known of this one, and none for a model of which none are known.
    pub(crate) fn of_image(model: &Model, level: Option<ThinkingLevel>) -> Self {
        let Some(thoughts) = at_level(model, level).or(model.thoughts.as_ref()) else {
            return Self::default();
        };
        let price = |tokens| Estimate {
            batch_usd: model.batch.text.per_million(tokens),
            interactive_usd: model.standard.text.per_million(tokens),
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

/// What is put aside for the thoughts about one image, in tokens: half as much again as its model
/// is expected to think at the most, so that a bill stays below what was reserved. A model of which
/// nothing is known, or nothing at this level, is taken to think longer than any does at its
/// default.
pub fn reserved_thoughts(model: &Model, level: Option<ThinkingLevel>) -> u64 {
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

/// What is known of a model's thoughts at a level that a request names.
fn at_level(model: &Model, level: Option<ThinkingLevel>) -> Option<&Thoughts> {
    model.thoughts_at.get(&level?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    #[test]
    fn thoughts_are_priced_as_text() {
        let catalog = Catalog::built_in();
        let one = Thinking::of_image(catalog.model("gemini-nano-banana-2.1").unwrap(), None);
        assert_eq!((one.min_tokens, one.max_tokens), (330, 620));
        let both = one + one;
        assert_eq!((both.min_tokens, both.max_tokens), (660, 1240));
        let usd = |text: &str| text.parse().unwrap();
        // 660 and 1,240 tokens at $3.75 and $7.50 a million.
        assert_eq!(
            both.min,
            Estimate {
                batch_usd: usd("0.002475"),
                interactive_usd: usd("0.00495")
            }
        );
        assert_eq!(
            both.max,
            Estimate {
                batch_usd: usd("0.00465"),
                interactive_usd: usd("0.0093")
            }
        );
    }

    #[test]
    fn more_is_reserved_than_is_expected() {
        let catalog = Catalog::built_in();
        for model in catalog.models() {
            let most = model.thoughts.as_ref().unwrap().max_tokens;
            assert!(
                reserved_thoughts(model, None) > most || most == 0,
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
        assert_eq!(Thinking::of_image(&unknown, None), Thinking::default());
    }

    #[test]
    fn a_level_that_the_catalog_knows_decides_the_thoughts() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        let most = |level| Thinking::of_image(model, level).max_tokens;
        assert!(
            most(Some(ThinkingLevel::Minimal)) < most(None)
                && most(None) < most(Some(ThinkingLevel::High))
        );
        assert_eq!(most(Some(ThinkingLevel::Medium)), most(None), "its default");
        assert_eq!(reserved_thoughts(model, Some(ThinkingLevel::High)), 3_000);

        // Another catalog may say nothing of levels.
        let mut silent = model.clone();
        silent.thoughts_at.clear();
        let high = Some(ThinkingLevel::High);
        assert_eq!(
            Thinking::of_image(&silent, high),
            Thinking::of_image(&silent, None)
        );
        assert_eq!(
            (
                reserved_thoughts(&silent, None),
                reserved_thoughts(&silent, high)
            ),
            (930, 1_000)
        );
    }
}
