//! Prompts that the service's policy forbids, and how a request with one is answered.
//!
//! Google's policy forbids sexually explicit images
//! (<https://policies.google.com/terms/generative-ai/use-policy>, read 2026-11). How a batch answers
//! such a request is not documented.

use serde::{Deserialize, Serialize};

use crate::{
    generation::{
        error_form::ErrorForm,
        outcome::RequestOutcome,
        refusal::{BlockReason, FinishReason, Refusal},
    },
    scenario::Scenario,
};

/// What a prompt contains that the policy forbids, in lower case.
const FORBIDDEN: &str = "sexually explicit";

/// How a request with a forbidden prompt is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForbiddenPrompt {
    /// By feedback on the prompt without a candidate, as documented for single requests.
    #[default]
    Blocked,
    /// By a candidate without an image that names the filter.
    Withheld,
    /// By a text that declines.
    Text,
    /// By an error line, as if the request had failed.
    Error,
    /// By an image.
    Drawn,
}

impl Scenario {
    /// Returns the outcome of a request with this prompt that would otherwise be `outcome`. Only
    /// images are replaced.
    pub(crate) fn policy_outcome(&self, prompt: &str, outcome: RequestOutcome) -> RequestOutcome {
        let is_forbidden = prompt.to_lowercase().contains(FORBIDDEN);
        match (outcome, self.forbidden_prompt) {
            (RequestOutcome::Image(_), form) if is_forbidden => match form {
                ForbiddenPrompt::Blocked => {
                    RequestOutcome::Refused(Refusal::Blocked(BlockReason::ProhibitedContent))
                }
                ForbiddenPrompt::Withheld => {
                    RequestOutcome::Refused(Refusal::Finished(FinishReason::ImageSafety))
                }
                ForbiddenPrompt::Text => RequestOutcome::Refused(Refusal::TextOnly),
                ForbiddenPrompt::Error => RequestOutcome::Failed(ErrorForm::Http),
                ForbiddenPrompt::Drawn => outcome,
            },
            _ => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::outcome::Rendering;

    #[test]
    fn only_images_of_forbidden_prompts_are_replaced() {
        let image = RequestOutcome::Image(Rendering::default());
        let scenario = |forbidden_prompt| Scenario {
            forbidden_prompt,
            ..Scenario::default()
        };
        let outcome = |form, prompt| scenario(form).policy_outcome(prompt, image);
        let forbidden = "A Sexually Explicit photograph";
        assert_eq!(outcome(ForbiddenPrompt::Error, "a stone"), image);
        assert_eq!(outcome(ForbiddenPrompt::Drawn, forbidden), image);
        for form in [
            ForbiddenPrompt::Blocked,
            ForbiddenPrompt::Withheld,
            ForbiddenPrompt::Text,
            ForbiddenPrompt::Error,
        ] {
            assert_ne!(outcome(form, forbidden), image, "{form:?}");
        }
        let missing = RequestOutcome::Missing;
        let replaced = scenario(ForbiddenPrompt::Blocked).policy_outcome(forbidden, missing);
        assert_eq!(replaced, missing);
    }
}
