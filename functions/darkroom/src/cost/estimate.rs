//! The images of a manifest and their estimated cost, by model and size.

use std::collections::BTreeMap;

use super::{Estimate, Thinking};
use crate::models::{Model, ThinkingLevel};

/// Images of one model and one size. Their prices differ only in their input tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The number of images.
    pub images: u64,
    /// Their estimated total cost.
    pub estimate: Estimate,
    /// The additional cost of thinking tokens.
    pub thinking: Thinking,
    /// The number of warnings about the items that request them.
    pub warnings: u64,
}

/// The images of a manifest by the model's full id and by size. An image without a size counts for
/// the model's default size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakdown(BTreeMap<(String, String), Share>);

impl Breakdown {
    /// Counts an image of `model` and `size` with this estimated cost. `level` is the thinking
    /// level of its request.
    pub(crate) fn add(
        &mut self,
        model: &Model,
        size: Option<&str>,
        level: Option<ThinkingLevel>,
        estimate: Estimate,
    ) {
        let share = self.of(model, size);
        share.images += 1;
        share.estimate = share.estimate + estimate;
        share.thinking = share.thinking + Thinking::of_image(model, level);
    }

    /// Counts warnings about an item that requests images of `model` and `size`.
    pub(crate) fn warn(&mut self, model: &Model, size: Option<&str>, warnings: u64) {
        if warnings > 0 {
            self.of(model, size).warnings += warnings;
        }
    }

    /// Iterates over the model, the size and their share, in the order of models and sizes.
    pub fn shares(&self) -> impl Iterator<Item = (&str, &str, &Share)> {
        self.0
            .iter()
            .map(|((model, size), share)| (model.as_str(), size.as_str(), share))
    }

    /// Returns the estimated cost of all images of a model.
    pub fn of_model(&self, model: &str) -> Estimate {
        let of_model = self.shares().filter(|(of, ..)| *of == model);
        of_model.fold(Estimate::default(), |sum, (.., share)| sum + share.estimate)
    }

    /// Returns the additional cost of thinking tokens for all images.
    pub fn thinking(&self) -> Thinking {
        self.shares()
            .fold(Thinking::default(), |sum, (.., share)| sum + share.thinking)
    }

    fn of(&mut self, model: &Model, size: Option<&str>) -> &mut Share {
        let size = size.unwrap_or(&model.default_size).to_owned();
        self.0.entry((model.id.clone(), size)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    #[test]
    fn an_image_without_a_size_counts_for_the_models_default() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-nano-banana-2.1").unwrap();
        let one = Estimate {
            batch_usd: "0.02".parse().unwrap(),
            interactive_usd: "0.04".parse().unwrap(),
        };
        let mut breakdown = Breakdown::default();
        breakdown.add(model, None, None, one);
        breakdown.add(model, Some("1K"), None, one);
        breakdown.add(model, Some("4K"), None, one);
        breakdown.warn(model, Some("4K"), 2);
        let shares: Vec<_> = breakdown
            .shares()
            .map(|(_, size, share)| (size, share.images, share.warnings))
            .collect();
        assert_eq!(shares, [("1K", 2, 0), ("4K", 1, 2)]);
        assert_eq!(
            breakdown.of_model(&model.id).batch_usd,
            "0.06".parse().unwrap()
        );
        assert_eq!(breakdown.of_model("another"), Estimate::default());
        assert_eq!(
            (
                breakdown.thinking().min_tokens,
                breakdown.thinking().max_tokens
            ),
            (3 * 330, 3 * 620)
        );
    }
}
