//! The images of a manifest and their estimated cost, by model, size and lane.

use std::{collections::BTreeMap, ops::AddAssign};

use super::{Estimate, Thinking};
use crate::lane::Lane;

/// What the images of a share have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareKey {
    /// The model, a full id.
    pub model: String,
    /// The size. An image without one has the model's default size.
    pub size: String,
    /// The lane in which the images are requested.
    pub lane: Lane,
    /// Whether the images are the job's proof.
    pub is_proof: bool,
}

/// Images with the same [`ShareKey`]. Their prices differ only in their input tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.estimate = self.estimate + other.estimate;
        self.thinking = self.thinking + other.thinking;
        self.warnings += other.warnings;
    }
}

/// The images of a manifest by the model's full id, by size and by lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakdown(BTreeMap<ShareKey, Share>);

impl Breakdown {
    /// Adds images.
    pub(crate) fn add(&mut self, key: ShareKey, share: Share) {
        *self.0.entry(key).or_default() += share;
    }

    /// Iterates over all shares, in the order of models, sizes and lanes.
    pub fn shares(&self) -> impl Iterator<Item = (&ShareKey, &Share)> + Clone {
        self.0.iter()
    }

    /// Returns the estimated cost of all images of a model.
    pub fn of_model(&self, model: &str) -> Estimate {
        let of_model = self.shares().filter(|(key, _)| key.model == model);
        of_model.fold(Estimate::default(), |sum, (_, share)| sum + share.estimate)
    }

    /// Returns the additional cost of thinking tokens for all images.
    pub fn thinking(&self) -> Thinking {
        self.shares()
            .fold(Thinking::default(), |sum, (_, share)| sum + share.thinking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_summed_by_model_size_and_lane() {
        let key = |size: &str, lane| ShareKey {
            model: "m".to_owned(),
            size: size.to_owned(),
            lane,
            is_proof: false,
        };
        let share = |lanes_usd: Option<&str>| Share {
            images: 1,
            estimate: Estimate {
                batch_usd: "0.02".parse().unwrap(),
                interactive_usd: "0.04".parse().unwrap(),
                lanes_usd: lanes_usd.map(|usd| usd.parse().unwrap()),
            },
            thinking: Thinking {
                min_tokens: 330,
                max_tokens: 620,
                ..Thinking::default()
            },
            warnings: 1,
        };
        let mut breakdown = Breakdown::default();
        breakdown.add(key("4K", Lane::Batch), share(None));
        breakdown.add(key("1K", Lane::Interactive), share(Some("0.04")));
        breakdown.add(key("1K", Lane::Batch), share(None));
        breakdown.add(key("1K", Lane::Batch), share(None));
        let shares: Vec<_> = breakdown
            .shares()
            .map(|(key, share)| (key.size.as_str(), key.lane, share.images, share.warnings))
            .collect();
        assert_eq!(
            shares,
            [
                ("1K", Lane::Batch, 2, 2),
                ("1K", Lane::Interactive, 1, 1),
                ("4K", Lane::Batch, 1, 1)
            ]
        );
        let all = breakdown.of_model("m");
        assert_eq!(all.batch_usd, "0.08".parse().unwrap());
        assert_eq!(all.usd(), "0.10".parse().unwrap());
        assert_eq!(breakdown.of_model("another"), Estimate::default());
        assert_eq!(
            (
                breakdown.thinking().min_tokens,
                breakdown.thinking().max_tokens
            ),
            (4 * 330, 4 * 620)
        );
    }
}
