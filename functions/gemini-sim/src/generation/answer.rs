//! What the model says to one request: a `GenerateContentResponse`, or a `google.rpc.Status`.

use seam::transport::BoxError;
use serde_json::{Value, json};

use crate::{
    generation::{
        generate_request::{Ask, Reference, References},
        line_form::{ImageForm, inline},
        models::Model,
        outcome::{Outcome, Rendering},
        usage::{REMARK, Usage},
    },
    images::{dimensions::Ratio, placeholder::Picture},
    seeded_random::Draw,
    wire::reply::{INTERNAL_MESSAGE, no_file_message},
};

/// A request with all that its answer depends on: asked twice, the answer is the same to the byte.
pub(crate) struct Question<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) model: &'static Model,
    pub(crate) uploaded: &'a References,
    /// The request's key, or what stands for it: the picture's title.
    pub(crate) label: &'a str,
    /// The batch it is in, or what stands for it.
    pub(crate) batch: &'a str,
    pub(crate) seed: u64,
    pub(crate) serving: Serving,
}

/// Selector answer to a request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// The one that was asked for.
    First,
    /// Another, as the request was served twice.
    Second,
}

/// An answer, as an output line or a response body holds it.
pub(crate) enum Answer {
    /// A `GenerateContentResponse`.
    Response(Value),
    /// A `google.rpc.Status`, or what stands for it.
    Error(Value),
}

impl Question<'_> {
    /// The answer when the request ends as `outcome`, and its image is given as `form`.
    ///
    /// # Errors
    /// When the picture can't be encoded.
    pub(crate) fn answer(&self, outcome: Outcome, form: ImageForm) -> Result<Answer, BoxError> {
        let said = match outcome {
            Outcome::Image(rendering) => self.images(rendering, form)?,
            Outcome::Missing => self.images(Rendering::default(), form)?,
            Outcome::Refused(refusal) => refusal.response(&self.draw("signature").base64()),
            Outcome::EmptyResponse => return Ok(Answer::Response(json!({}))),
            // Seen without a message.
            Outcome::Unserved => return Ok(Answer::Error(json!({"code": 1}))),
            Outcome::InternalError => {
                return Ok(Answer::Error(
                    json!({"code": 13, "message": INTERNAL_MESSAGE}),
                ));
            }
            Outcome::Failed(form) => return Ok(Answer::Error(form.error(&self.draw("error")))),
            Outcome::NoReference => {
                let message = no_file_message(self.absent_file().unwrap_or_default());
                return Ok(Answer::Error(json!({"code": 7, "message": message})));
            }
        };
        let mut response = said;
        response["usageMetadata"] = self.usage(outcome).metadata();
        response["modelVersion"] = Value::from(self.model.id);
        response["responseId"] = Value::from(self.draw("response").id(22));
        Ok(Answer::Response(response))
    }

    /// The tokens of this request and its answer.
    pub(crate) fn usage(&self, outcome: Outcome) -> Usage {
        Usage::of(self.ask, self.model, outcome, &self.draw("thinking"))
    }

    /// The first uploaded file it refers to that was not there.
    pub(crate) fn absent_file(&self) -> Option<&str> {
        self.ask
            .uploaded()
            .find(|id| !self.uploaded.contains_key(*id))
    }

    /// Whether the members of its output line come in the other order.
    pub(crate) fn key_comes_last(&self) -> bool {
        self.draw("member order").below(2) == 1
    }

    /// The bytes of the image itself.
    ///
    /// # Errors
    /// When the picture can't be encoded.
    pub(crate) fn image(&self, rendering: Rendering) -> Result<Vec<u8>, BoxError> {
        self.picture(self.label, rendering)
    }

    fn images(&self, rendering: Rendering, form: ImageForm) -> Result<Value, BoxError> {
        let mut parts = Vec::new();
        if rendering.after_thought || form == ImageForm::OnlyThought {
            parts.push(json!({"text": "Planning the composition.", "thought": true}));
        }
        if rendering.after_thought {
            let idea =
                base64_simd::STANDARD.encode_to_string(self.picture("a first idea", rendering)?);
            parts.push(json!({"inlineData": inline(idea), "thought": true}));
        }
        if self.ask.text_wanted {
            parts.push(json!({"text": REMARK}));
        }
        let signature = self.draw("signature").base64();
        let file = format!(
            "https://generativelanguage.googleapis.com/v1beta/files/{}",
            self.draw("image file").id(12)
        );
        parts.push(form.part(&self.image(rendering)?, &signature, &file));
        Ok(json!({"candidates": [{
            "content": {"parts": parts, "role": "model"},
            "finishReason": "STOP",
            "index": 0,
        }]}))
    }

    fn picture(&self, title: &str, rendering: Rendering) -> Result<Vec<u8>, BoxError> {
        let ratio = self.ratio(rendering);
        let labels: Vec<&str> = self
            .ask
            .references
            .iter()
            .map(|reference| self.tile(reference))
            .collect();
        let picture = Picture {
            pixels: ratio.pixels(self.ask.size),
            title,
            text: &self.ask.prompt,
            caption: &format!(
                "{}  {}  {}",
                self.model.id,
                ratio.name,
                self.ask.size.name()
            ),
            tiles: &labels,
        };
        Ok(if rendering.mislabelled {
            picture.png()?
        } else {
            picture.jpeg()?
        })
    }

    fn ratio(&self, rendering: Rendering) -> &'static Ratio {
        let asked = self.ask.ratio(self.uploaded);
        if !rendering.wrong_ratio {
            return asked;
        }
        let others: Vec<_> = asked
            .clearly_others()
            .filter(|ratio| self.model.draws(ratio))
            .collect();
        let drawn = self.draw("wrong ratio").below(others.len() as u64);
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

    fn draw(&self, what: &str) -> Draw {
        match self.serving {
            Serving::First => Draw::about(self.seed, &[what, self.batch, self.label]),
            Serving::Second => Draw::about(self.seed, &[what, self.batch, self.label, "once more"]),
        }
    }
}
