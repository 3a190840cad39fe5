//! Token counts and their cost.

use serde_json::{Value, json};

use crate::{
    generation::{
        generate_request::GenerateRequest,
        models::Model,
        outcome::RequestOutcome,
        refusal::{REFUSAL_TEXT, Refusal},
        service_tier::ServiceTier,
    },
    seeded_random::SeededRandom,
};

/// The text with an image, if the request wants text.
pub(crate) const REMARK: &str = "Here is your image.";

/// The tokens of one request and its answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    prompt_text: u64,
    prompt_images: u64,
    thoughts: u64,
    text: u64,
    image: u64,
}

impl Usage {
    /// Returns the tokens of `request` when it ends with `outcome`. `random` decides how long a
    /// thinking model thinks.
    pub(crate) fn of(
        request: &GenerateRequest,
        model: &Model,
        outcome: RequestOutcome,
        random: &SeededRandom,
    ) -> Self {
        let prompt = Self::of_prompt(request, model);
        let thoughts = model
            .thoughts
            .map_or(0, |(fewest, most)| random.between(fewest, most));
        match outcome {
            RequestOutcome::Image(_) | RequestOutcome::Missing => Self {
                thoughts,
                text: if request.text_wanted {
                    tokens(REMARK)
                } else {
                    0
                },
                image: model.image_tokens(outcome.size(request.size)).unwrap_or(0),
                ..prompt
            },
            // A blocked image is not charged, but the thinking before it is.
            RequestOutcome::Refused(Refusal::Finished(_) | Refusal::SignatureOnly) => {
                Self { thoughts, ..prompt }
            }
            RequestOutcome::Refused(Refusal::TextOnly) => Self {
                thoughts,
                text: tokens(REFUSAL_TEXT),
                ..prompt
            },
            RequestOutcome::Refused(Refusal::Blocked(_) | Refusal::NoCandidates) => prompt,
            RequestOutcome::EmptyResponse
            | RequestOutcome::InternalError
            | RequestOutcome::Failed(_)
            | RequestOutcome::NoReference
            | RequestOutcome::Unserved => Self::default(),
        }
    }

    /// Returns the tokens of the prompt of `request`.
    pub(crate) fn of_prompt(request: &GenerateRequest, model: &Model) -> Self {
        Self {
            prompt_text: tokens(&request.prompt),
            prompt_images: request.references.len() as u64 * model.reference_tokens,
            ..Self::default()
        }
    }

    /// Returns the number of input tokens, of text and images.
    pub(crate) fn input_tokens(&self) -> u64 {
        self.prompt_text + self.prompt_images
    }

    /// Returns the price at the model's standard rates, in billionths of a dollar. A batch costs
    /// half, and single requests [`Model::tier_percent`].
    pub(crate) fn nanodollars(&self, model: &Model) -> u64 {
        let price = &model.price;
        self.input_tokens() * price.input
            + (self.thoughts + self.text) * price.text
            + self.image * price.image
    }

    /// Returns the `usageMetadata` of a response that was served at this tier.
    pub(crate) fn metadata(&self, tier: ServiceTier) -> Value {
        let prompt = self.input_tokens();
        let candidates = self.text + self.image;
        let mut metadata = json!({
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates + self.thoughts,
            "promptTokensDetails": self.prompt_details(),
            "candidatesTokensDetails": details(&[("IMAGE", self.image)]),
            "thoughtsTokenCount": self.thoughts,
            "serviceTier": tier.name(),
        });
        leave_out_empty(&mut metadata);
        metadata
    }

    /// Returns the `CountTokensResponse` of a prompt.
    pub(crate) fn prompt_count(&self) -> Value {
        let mut count = json!({"totalTokens": self.input_tokens(), "promptTokensDetails": self.prompt_details()});
        leave_out_empty(&mut count);
        count
    }

    fn prompt_details(&self) -> Value {
        details(&[("TEXT", self.prompt_text), ("IMAGE", self.prompt_images)])
    }
}

/// Removes members that are zero or empty, as Protobuf's JSON format does.
fn leave_out_empty(message: &mut Value) {
    if let Value::Object(members) = message {
        members
            .retain(|_, value| *value != 0 && value.as_array().is_none_or(|list| !list.is_empty()));
    }
}

fn details(counts: &[(&str, u64)]) -> Value {
    let numbers = counts.iter().filter(|(_, count)| *count > 0);
    numbers
        .map(|(modality, count)| json!({"modality": modality, "tokenCount": count}))
        .collect()
}

/// Estimates the tokens of a text: one for four characters.
fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{error_form::ErrorForm, outcome::Rendering, refusal::BlockReason};

    fn usage(outcome: RequestOutcome) -> (Usage, &'static Model) {
        let model = Model::find("gemini-3.1-flash-image").expect("live");
        let request = json!({
            "contents": [{"parts": [{"text": "a red fox in snow"}, {"fileData": {"fileUri": "files/a"}}]}],
            "generationConfig": {"responseModalities": ["IMAGE"]},
        });
        let request = GenerateRequest::read(request, model).expect("valid");
        (
            Usage::of(&request, model, outcome, &SeededRandom::new(0, &[])),
            model,
        )
    }

    #[test]
    fn an_image_costs_its_prompt_and_its_tokens() {
        let (usage, model) = usage(RequestOutcome::Image(Rendering::default()));
        assert_eq!(usage.nanodollars(model), (5 + 258) * 500 + 1120 * 60_000);
        assert_eq!(
            usage.metadata(ServiceTier::Flex),
            json!({
                "promptTokenCount": 263, "candidatesTokenCount": 1120, "totalTokenCount": 1383,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 258},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
                "serviceTier": "flex",
            })
        );
    }

    #[test]
    fn a_refusal_costs_its_prompt_and_an_error_nothing() {
        let (refused, model) = usage(RequestOutcome::Refused(Refusal::Blocked(
            BlockReason::Other,
        )));
        assert_eq!(refused.nanodollars(model), (5 + 258) * 500);
        assert_eq!(usage(RequestOutcome::InternalError).0.nanodollars(model), 0);
        assert_eq!(usage(RequestOutcome::Unserved).0.nanodollars(model), 0);
        assert_eq!(
            usage(RequestOutcome::Failed(ErrorForm::Text))
                .0
                .nanodollars(model),
            0
        );
        assert_eq!(usage(RequestOutcome::EmptyResponse).0.nanodollars(model), 0);
    }

    #[test]
    fn refusals_cost_no_image_and_their_text_costs_as_text() {
        for refusal in Refusal::ALL {
            let (usage, model) = usage(RequestOutcome::Refused(refusal));
            let words = if refusal == Refusal::TextOnly {
                tokens(REFUSAL_TEXT) * 3_000
            } else {
                0
            };
            assert_eq!(
                usage.nanodollars(model),
                (5 + 258) * 500 + words,
                "{refusal:?}"
            );
        }
    }
}
