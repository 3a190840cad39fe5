//! The largest batch that the Gemini project allows, whatever the settings of the deployment are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ledger::{Caps, ProjectLimits, Window},
    models::{Catalog, Tier},
    money::Usd,
    names::FolderPath,
};

/// The bounds of a batch that is admitted on a day without any other batch.
///
/// [`crate::plan::Sharder`] cuts shards to these bounds, and an image that exceeds them on its own
/// can't be made. They are not a part of a job's identity. `plan.lock` keeps them, so that planning
/// again after a crash produces the same shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchBounds {
    /// The lowest cap, in dollars. None means no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// The folder whose cap that is. None means that it is the daily cap of the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderBound>,
    /// The tier's limit on enqueued input tokens, by the model's full id. A model that isn't listed
    /// has no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, u64>,
}

/// The cap of a folder that is lower than all others of its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderBound {
    /// The folder.
    pub path: FolderPath,
    /// The time in which the cap holds.
    pub window: Window,
}

/// The bounds for manifests that are read outside any project.
static NONE: BatchBounds = BatchBounds {
    usd: None,
    folder: None,
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
            folder: None,
            tokens,
        }
    }

    /// Returns these bounds for a job of a folder with these caps.
    #[must_use]
    pub fn in_folder(mut self, path: &FolderPath, caps: Caps) -> Self {
        for (window, cap) in [
            (Window::Day, caps.daily_usd),
            (Window::Month, caps.monthly_usd),
        ] {
            if let Some(cap) = cap.filter(|cap| self.usd.is_none_or(|lowest| *cap < lowest)) {
                self.usd = Some(cap);
                self.folder = Some(FolderBound {
                    path: path.clone(),
                    window,
                });
            }
        }
        self
    }

    /// Returns the time in which the lowest cap holds.
    pub(crate) fn window(&self) -> Window {
        self.folder
            .as_ref()
            .map_or(Window::Day, |folder| folder.window)
    }

    /// Returns the lowest cap in words: `daily cap of $20.00 of inbox/acme/**`.
    pub(crate) fn cap_in_words(&self) -> String {
        let cap = format!(
            "{} cap of {}",
            self.window().adjective(),
            self.usd.unwrap_or_default()
        );
        match &self.folder {
            Some(folder) => format!("{cap} of {}", folder.path),
            None => cap,
        }
    }

    /// Returns why an image fits no batch, as a diagnostic's code and message, or `None` if it
    /// fits.
    pub fn refusal(&self, model: &str, tokens: u64, usd: Usd) -> Option<(&'static str, String)> {
        if let Some(cap) = self.usd
            && usd > cap
        {
            let (code, raise) = match &self.folder {
                None => ("over_daily_cap", "raise DAILY_CAP_USD"),
                Some(_) => ("over_folder_cap", "raise it in stack/folders.toml"),
            };
            let message = format!(
                "one image of {model} may cost {usd}, above the {}: {raise}, or request a cheaper image",
                self.cap_in_words()
            );
            return Some((code, message));
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
            folders: Default::default(),
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
    fn the_lowest_cap_holds_and_is_named() {
        let usd = |dollars: &str| Some(dollars.parse::<Usd>().unwrap());
        let path = FolderPath::new("inbox/acme/**");
        let of = |deployment: Option<&str>, daily: &str, monthly: &str| {
            let limits = limits(1_000, deployment);
            let caps = Caps {
                daily_usd: usd(daily),
                monthly_usd: usd(monthly),
            };
            BatchBounds::of(&limits, &Catalog::built_in(), Tier::One).in_folder(&path, caps)
        };
        let folder = of(Some("5"), "2", "3");
        assert_eq!(folder.usd, usd("2"));
        let (code, message) = folder.refusal(MODEL, 1, "2.5".parse().unwrap()).unwrap();
        assert_eq!(code, "over_folder_cap");
        assert!(
            message.contains("$2.50, above the daily cap of $2.00 of inbox/acme/**: raise it in"),
            "{message}"
        );
        assert_eq!(
            of(None, "9", "3").cap_in_words(),
            "monthly cap of $3.00 of inbox/acme/**"
        );
        let deployment = of(Some("1"), "2", "3");
        assert_eq!((deployment.usd, deployment.folder), (usd("1"), None));
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
