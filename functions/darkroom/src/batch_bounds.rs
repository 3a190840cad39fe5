//! The largest batch that the Gemini project allows, whatever the settings of the deployment are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ledger::ProjectLimits,
    models::{Catalog, Tier},
    money::Usd,
};

/// The bounds of a batch that is admitted on a day without any other batch.
///
/// [`crate::plan::Sharder`] cuts shards to these bounds, and an image that exceeds them on its own
/// can't be made. They are not a part of a job's identity. `plan.lock` keeps them, so that planning
/// again after a crash produces the same shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchBounds {
    /// The daily cap, in dollars. None means no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// The tier's limit on enqueued input tokens, by the model's full id. A model that isn't listed
    /// has no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, u64>,
}

/// The bounds for manifests that are read outside any project.
static NONE: BatchBounds = BatchBounds {
    usd: None,
    tokens: BTreeMap::new(),
};

impl BatchBounds {
    /// Returns bounds that allow everything.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// Returns the bounds of a project with these limits.
    ///
    /// The deployment's own catalog may list lower limits for its tier, and models that the
    /// built-in catalog lacks. Of two limits the lower one holds.
    pub fn of(limits: &ProjectLimits, catalog: &Catalog, tier: Tier) -> Self {
        let (mut tokens, built_in) = (limits.enqueued_tokens.clone(), Catalog::built_in());
        for (model, of_tier) in catalog.enqueued_tokens(tier) {
            if let Some(limit) = tokens.get_mut(&model) {
                *limit = of_tier.min(*limit);
            } else if built_in.model(&model).is_none() {
                tokens.insert(model, of_tier);
            }
        }
        Self {
            usd: limits.daily_usd,
            tokens,
        }
    }

    /// Returns why an image fits no batch, as a diagnostic's code and message, or `None` if it
    /// fits.
    pub fn refusal(&self, model: &str, tokens: u64, usd: Usd) -> Option<(&'static str, String)> {
        if let Some(cap) = self.usd
            && usd > cap
        {
            let message = format!(
                "one image of {model} may cost {usd}, above the daily cap of {cap}: raise DAILY_CAP_USD, or request a cheaper image"
            );
            return Some(("over_daily_cap", message));
        }
        let limit = self
            .tokens
            .get(model)
            .copied()
            .filter(|limit| tokens > *limit)?;
        let message = format!(
            "the request has about {tokens} input tokens, above the {limit} of {model} that this project's tier may \
             enqueue: shorten it, or raise GEMINI_TIER if the project's tier is higher"
        );
        Some(("over_token_limit", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "gemini-nano-banana-2.1";

    fn limits(tokens: u64, cap: Option<&str>) -> ProjectLimits {
        ProjectLimits {
            live_batches: 100,
            enqueued_tokens: BTreeMap::from([(MODEL.to_owned(), tokens)]),
            daily_usd: cap.map(|cap| cap.parse().unwrap()),
        }
    }

    #[test]
    fn the_lower_of_two_token_limits_holds() {
        fn of(limit: u64, catalog: &Catalog) -> BTreeMap<String, u64> {
            BatchBounds::of(&limits(limit, None), catalog, Tier::One).tokens
        }
        for (limit, expected) in [(400_000, 400_000), (9_000_000, 1_000_000)] {
            assert_eq!(
                of(limit, &Catalog::built_in()),
                BTreeMap::from([(MODEL.to_owned(), expected)])
            );
        }
        let text =
            Catalog::BUILT_IN.replace("id = \"gemini-3-pro-image\"", "id = \"gemini-4-image\"");
        let text = text.replace(
            "successor = \"gemini-3-pro-image\"",
            "successor = \"gemini-4-image\"",
        );
        let newer = Catalog::parse(&text).unwrap();
        assert_eq!(
            of(9_000_000, &newer)["gemini-4-image"],
            2_000_000,
            "a model that only the deployment's catalog lists"
        );
    }

    #[test]
    fn an_image_that_fits_no_batch_is_refused_with_a_remedy() {
        let bounds = BatchBounds::of(
            &limits(1_000, Some("0.05")),
            &Catalog::built_in(),
            Tier::One,
        );
        assert_eq!(bounds.refusal(MODEL, 1_000, "0.05".parse().unwrap()), None);
        let (code, message) = bounds.refusal(MODEL, 1, "0.051".parse().unwrap()).unwrap();
        assert!(
            code == "over_daily_cap" && message.contains("$0.051, above the daily cap of $0.05"),
            "{message}"
        );
        let (code, message) = bounds.refusal(MODEL, 1_001, Usd::ZERO).unwrap();
        assert!(
            code == "over_token_limit" && message.contains("1001 input tokens, above the 1000"),
            "{message}"
        );
        assert_eq!(bounds.refusal("unknown", u64::MAX, Usd::ZERO), None);
        assert_eq!(
            BatchBounds::default().refusal(MODEL, u64::MAX, "1000".parse().unwrap()),
            None
        );
    }
}
