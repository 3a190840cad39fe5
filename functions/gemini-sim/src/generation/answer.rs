//! The model's answer to one request: a `GenerateContentResponse`, or a `google.rpc.Status`.

use seam::transport::BoxError;
use serde_json::{Value, json};

use crate::{
    generation::{
        generate_request::{GenerateRequest, Reference, References},
        line_form::{ImageForm, inline},
        models::Model,
        outcome::{Rendering, RequestOutcome},
        service_tier::ServiceTier,
        thought_signature::signature,
        usage::{REMARK, Usage},
    },
    images::{dimensions::AspectRatio, placeholder::Placeholder},
    seeded_random::SeededRandom,
    wire::reply::{INTERNAL_MESSAGE, no_file_message},
};

/// Distinguishes the random values of second answers. It is hashed, so it can't change.
const SECOND: &str = "once more"; // words: allow once more: changing it would change every hash

/// A request with everything that its answer depends on. The answer is always the same, byte for
/// byte.
pub(crate) struct AnswerContext<'a> {
    pub(crate) request: &'a GenerateRequest,
    pub(crate) model: &'static Model,
    pub(crate) uploaded: &'a References,
    /// The request's key, or a replacement if it has none: the title of the image.
    pub(crate) label: &'a str,
    /// The batch of the request, or a replacement for a single request.
    pub(crate) batch: &'a str,
    pub(crate) seed: u64,
    pub(crate) serving: Serving,
    /// The tier at which the request is served, as the answer states it. In a batch, that is the
    /// standard tier.
    pub(crate) tier: ServiceTier,
}

/// Which of a request's answers this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// The regular answer.
    First,
    /// The second answer of a request that is served twice.
    Second,
}

/// An answer, as the content of an output line or of a response body.
pub(crate) enum Answer {
    /// A `GenerateContentResponse`.
    Response(Value),
    /// A `google.rpc.Status`, or what an error line holds instead.
    Error(Value),
}

impl AnswerContext<'_> {
    /// Returns the answer of a request with this `outcome`, with its image in this `form`.
    ///
    /// # Errors
    /// When the image can't be encoded.
    pub(crate) fn answer(
        &self,
        outcome: RequestOutcome,
        form: ImageForm,
    ) -> Result<Answer, BoxError> {
        // Errors and empty responses return early, because they report no usage.
        let mut response = match outcome {
            RequestOutcome::Image(rendering) => self.images(rendering, form)?,
            RequestOutcome::Missing => self.images(Rendering::default(), form)?,
            RequestOutcome::Refused(refusal) => {
                refusal.response(&self.random("signature").base64())
            }
            RequestOutcome::EmptyResponse => return Ok(Answer::Response(json!({}))),
            // The captured error has no message.
            RequestOutcome::Unserved => return Ok(Answer::Error(json!({"code": 1}))),
            RequestOutcome::InternalError => {
                return Ok(Answer::Error(
                    json!({"code": 13, "message": INTERNAL_MESSAGE}),
                ));
            }
            RequestOutcome::Failed(form) => {
                return Ok(Answer::Error(form.error(&self.random("error"))));
            }
            RequestOutcome::NoReference => {
                let absent = self.request.absent_file(self.uploaded);
                let message = no_file_message(absent.unwrap_or_default());
                return Ok(Answer::Error(json!({"code": 7, "message": message})));
            }
        };

        response["usageMetadata"] = self.usage(outcome).metadata(self.tier);
        response["modelVersion"] = Value::from(self.model.id);
        response["responseId"] = Value::from(self.random("response").id(22));
        Ok(Answer::Response(response))
    }

    /// Returns the tokens of the request and its answer.
    pub(crate) fn usage(&self, outcome: RequestOutcome) -> Usage {
        Usage::of(self.request, self.model, outcome, &self.random("thinking"))
    }

    /// Returns whether the key is the last member of the output line instead of the first.
    pub(crate) fn key_comes_last(&self) -> bool {
        self.random("member order").below(2) == 1
    }

    /// Returns the bytes of the image.
    ///
    /// # Errors
    /// When the image can't be encoded.
    pub(crate) fn image(&self, rendering: Rendering) -> Result<Vec<u8>, BoxError> {
        self.draw_image(self.label, rendering)
    }

    fn images(&self, rendering: Rendering, form: ImageForm) -> Result<Value, BoxError> {
        let mut parts = Vec::new();
        if rendering.after_thought || form == ImageForm::OnlyThought {
            parts.push(json!({"text": "Planning the composition.", "thought": true}));
        }
        if rendering.after_thought {
            let idea =
                base64_simd::STANDARD.encode_to_string(self.draw_image("a first idea", rendering)?);
            parts.push(json!({"inlineData": inline(idea), "thought": true}));
        }
        if self.request.text_wanted {
            parts.push(json!({"text": REMARK}));
        }
        let image = self.image(rendering)?;
        let file = format!(
            "https://generativelanguage.googleapis.com/v1beta/files/{}",
            self.random("image file").id(12)
        );
        parts.push(form.part(&image, &signature(self.seed, &image), &file));
        Ok(json!({"candidates": [{
            "content": {"parts": parts, "role": "model"},
            "finishReason": "STOP",
            "index": 0,
        }]}))
    }

    fn draw_image(&self, title: &str, rendering: Rendering) -> Result<Vec<u8>, BoxError> {
        let ratio = self.ratio(rendering);
        let labels: Vec<&str> = self
            .request
            .references
            .iter()
            .map(|reference| self.tile(reference))
            .collect();
        let size = rendering.size(self.request.size);
        let draw_image = Placeholder {
            pixels: rendering.pixels(ratio.pixels(size)),
            title,
            text: &self.request.prompt,
            caption: &format!("{}  {}  {}", self.model.id, ratio.name, size.name()),
            tiles: &labels,
            marks: rendering.marks,
        };
        let mut image = if rendering.mislabelled {
            draw_image.png()?
        } else {
            draw_image.jpeg()?
        };
        let min_bytes = rendering.min_bytes.map_or(0, |bytes| bytes as usize);
        image.resize(image.len().max(min_bytes), 0);
        Ok(image)
    }

    fn ratio(&self, rendering: Rendering) -> &'static AspectRatio {
        let asked = self.request.ratio(self.uploaded);
        if !rendering.wrong_ratio {
            return asked;
        }
        let others: Vec<_> = asked
            .clearly_different()
            .filter(|ratio| self.model.supports(ratio))
            .collect();
        let drawn = self.random("wrong ratio").below(others.len() as u64);
        usize::try_from(drawn)
            .ok()
            .and_then(|drawn| others.get(drawn))
            .copied()
            .unwrap_or(asked)
    }

    fn tile<'a>(&'a self, reference: &'a Reference) -> &'a str {
        match reference {
            Reference::Uploaded(id) => self.uploaded.get(id).map_or(id, |uploaded| &uploaded.label),
            Reference::Inline(_) => "inline",
        }
    }

    fn random(&self, what: &str) -> SeededRandom {
        match self.serving {
            Serving::First => SeededRandom::new(self.seed, &[what, self.batch, self.label]),
            Serving::Second => {
                SeededRandom::new(self.seed, &[what, self.batch, self.label, SECOND])
            }
        }
    }
}
