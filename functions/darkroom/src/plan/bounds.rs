//! What the project lets one batch be at most, whatever the deployment's own settings say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    cost::Usd,
    ledger::ProjectLimits,
    models::{Catalog, Tier},
};

/// What a batch may hold so that it can be admitted on a day on which nothing else is:
/// [`crate::plan::Sharder`] cuts shards by it, and an image that alone is above it can't be made.
/// It is no part of a job's identity. `plan.lock` keeps it, so that planning again after a crash
/// cuts in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchBounds {
    /// Dollars: the daily cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// Input tokens by model, a full id: the tier's limit on enqueued tokens. A model that isn't
    /// named has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, u64>,
}

/// For manifests that are read outside of any project.
static NONE: BatchBounds = BatchBounds {
    usd: None,
    tokens: BTreeMap::new(),
};

impl BatchBounds {
    /// None at all.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// Those of a project that allows `limits`. The catalog that a deployment was given may know
    /// of lower limits of its tier, and of models that the program doesn't know.
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

    /// Why an image can't be in any batch, if it can't: a code, and what to do.
    pub fn refusal(&self, model: &str, tokens: u64, usd: Usd) -> Option<(&'static str, String)> {
        if let Some(cap) = self.usd
            && usd > cap
        {
            let message = format!(
                "one image of {model} may cost {usd}, above the daily cap of {cap}: raise DAILY_CAP_USD, or ask for less"
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
    use crate::settings::MaxLiveBatches;

    const MODEL: &str = "gemini-nano-banana-2.1";

    fn limits(tokens: u64, cap: Option<&str>) -> ProjectLimits {
        ProjectLimits {
            live_batches: MaxLiveBatches::default(),
            enqueued_tokens: BTreeMap::from([(MODEL.to_owned(), tokens)]),
            daily_usd: cap.map(|cap| cap.parse().unwrap()),
        }
    }

    #[test]
    fn the_lower_of_two_token_limits_counts() {
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
            "a model of which only the catalog knows"
        );
    }

    #[test]
    fn what_no_batch_can_hold_is_refused_with_what_to_do() {
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
