//! What will be asked for and what it is expected to cost, by model and size.

use std::collections::BTreeMap;

use super::{Estimate, Thinking};
use crate::models::{Model, ThinkingLevel};

/// Images that have one price, but for their input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub images: u64,
    /// What they are expected to cost in all.
    pub estimate: Estimate,
    /// What the thoughts about them may cost on top.
    pub thinking: Thinking,
    /// Warnings about the items that ask for them.
    pub warnings: u64,
}

/// A manifest's images by model, a full id, and by size, where none that was asked for means the
/// model's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakdown(BTreeMap<(String, String), Share>);

impl Breakdown {
    /// Counts an image of `model` and `size` that is expected to cost `estimate`; `level` is what
    /// its request says about thinking.
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

    /// Counts warnings about an item that asks for images of `model` and `size`.
    pub(crate) fn warn(&mut self, model: &Model, size: Option<&str>, warnings: u64) {
        if warnings > 0 {
            self.of(model, size).warnings += warnings;
        }
    }

    /// The model, the size, and what they come to; in order.
    pub fn shares(&self) -> impl Iterator<Item = (&str, &str, &Share)> {
        self.0
            .iter()
            .map(|((model, size), share)| (model.as_str(), size.as_str(), share))
    }

    /// What all images of a model are expected to cost.
    pub fn of_model(&self, model: &str) -> Estimate {
        let of_model = self.shares().filter(|(of, ..)| *of == model);
        of_model.fold(Estimate::default(), |sum, (.., share)| sum + share.estimate)
    }

    /// What the thoughts about all images may cost.
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
    fn a_size_that_is_not_named_is_the_models_own() {
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
        let told: Vec<_> = breakdown
            .shares()
            .map(|(_, size, share)| (size, share.images, share.warnings))
            .collect();
        assert_eq!(told, [("1K", 2, 0), ("4K", 1, 2)]);
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
