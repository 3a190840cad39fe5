//! Reads an answer from the skeleton of a line and its images.

use found::Found;
use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

use super::{
    answer::{Answer, Outcome, Reason},
    bad_line::{BadLine, BadLineReason},
    codes::{
        FILE_DATA, IMAGE_AS_TEXT, error_status, grpc_status_of_name, is_refusal,
        is_retryable_without_image, is_transient_block, no_image_code, reason_name,
    },
    image::ImageFlaw,
    pool::PooledBuffer,
    skeleton::{Text, WireError, WireLine, WireResponse, is_own_text},
};
use crate::{cost::Usage, names::RequestKey};

mod found;
mod text_image;

/// The maximum length of a text from Google in a result: 1 KiB.
const MAX_TEXT_BYTES: usize = 1024;

/// The images of a line in the order of their texts. Each can be taken once.
pub(super) type Blobs = Vec<Option<Result<PooledBuffer, ImageFlaw>>>;

/// Reads a line from its skeleton and its images. `ends_file` states that no newline ended it.
///
/// # Errors
/// [`BadLine`] if the skeleton isn't JSON of the expected form.
pub(super) fn read_line(
    skeleton: &[u8],
    blobs: &mut Blobs,
    ends_file: bool,
) -> Result<Answer, BadLine> {
    let bad = |reason| BadLine::new(reason, skeleton);
    let text = String::from_utf8_lossy(skeleton);
    let mut wire: WireLine<'_> = serde_json::from_str(&text).map_err(|error| {
        bad(match error.classify() {
            Category::Data => BadLineReason::NotAReply,
            Category::Eof if ends_file => BadLineReason::Truncated,
            Category::Eof | Category::Syntax | Category::Io => BadLineReason::NotJson,
        })
    })?;
    let key = wire
        .take_key()
        .filter(|key| is_own_text(key, skeleton))
        .map(RequestKey::new);
    let response = wire
        .take_response()
        .map_err(|_| bad(BadLineReason::NotAReply))?;
    let answer = match (response, wire.error()) {
        (Some(mut response), error) => {
            response.usage_metadata = response.usage_metadata.or(wire.usage_metadata);
            read_response(&response, error, blobs)
        }
        (None, Some(error)) => error_answer(&error, wire.usage_metadata),
        (None, None) => return Err(bad(BadLineReason::NotAReply)),
    };
    Ok(Answer { key, ..answer })
}

fn error_answer(error: &WireError<'_>, usage: Option<&RawValue>) -> Answer {
    Answer {
        key: None,
        outcome: failure(error),
        finish_reason: None,
        model_version: None,
        response_id: None,
        usage: usage.and_then(|usage| Usage::of_reply(usage.get(), false).ok()),
        service_tier: usage.and_then(service_tier),
        thought_images: 0,
        warnings: Vec::new(),
    }
}

fn failure(error: &WireError<'_>) -> Outcome {
    let message = clean(error.message.as_ref());
    // An error that consists of a text only may be the name of its code.
    let is_named = error.status.is_none() && error.code.is_none();
    let named = message
        .as_deref()
        .filter(|message| is_named && grpc_status_of_name(message).is_some());
    let (code, retryable) = error_status(error.status.as_deref().or(named), error.code.as_deref());
    let message = match &message {
        Some(message) if named.is_none() => message.clone(),
        Some(_) | None => format!("Gemini reported {code} and gave no message."),
    };
    let reason = Reason {
        code: code.into(),
        message,
        retryable,
    };
    if code == "CANCELLED" {
        Outcome::Cancelled(reason)
    } else {
        Outcome::Failed(reason)
    }
}

/// Reads a response. An additional `error` counts only if the response contains no image.
fn read_response(
    response: &WireResponse<'_>,
    error: Option<WireError<'_>>,
    blobs: &mut Blobs,
) -> Answer {
    let mut found = Found::of(response, blobs);
    let mut warnings = Vec::new();
    let error = error.filter(|error| !error.is_empty());
    let ending = Ending::of(response);
    let dropped_thoughts = found.thoughts.len();
    let holds_image = found.holds_image();
    if found.images.is_empty() && ending.refusal().is_none() {
        found.use_thought(blobs, &mut warnings);
    }

    let thought_images = dropped_thoughts - usize::from(found.is_thought_used);
    let finish_reason = ending.finish_reason.clone();
    let outcome = match (found.images.pop(), error) {
        (Some(image), _) => {
            warnings.extend(found.unused());
            Outcome::Succeeded {
                image,
                extras: found.images,
            }
        }
        (None, Some(error)) => failure(&error),
        (None, None) => ending.without_image(found),
    };
    let usage = response.usage_metadata.and_then(|usage| {
        let read = Usage::of_reply(usage.get(), holds_image);
        read.map_err(|_| warnings.push("the answer's token counts can't be read".into()))
            .ok()
    });
    Answer {
        key: None,
        outcome,
        finish_reason,
        model_version: clean(response.model_version.as_ref()),
        response_id: clean(response.response_id.as_ref()),
        usage,
        service_tier: response.usage_metadata.and_then(service_tier),
        thought_images,
        warnings,
    }
}

/// Returns the tier that the token counts of an answer name.
fn service_tier(usage: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Tier {
        #[serde(rename = "serviceTier", alias = "service_tier")]
        service_tier: Option<String>,
    }
    let tier: Tier = serde_json::from_str(usage.get()).ok()?;
    tier.service_tier
}

/// The reasons that a response gives for its end.
struct Ending {
    block_reason: Option<String>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

impl Ending {
    fn of(response: &WireResponse<'_>) -> Self {
        let name = |text: Option<&Text<'_>>| {
            clean(text)
                .map(|text| reason_name(&text))
                .filter(|name| !name.is_empty())
        };
        let candidates = response.candidates.as_deref().unwrap_or_default();
        let feedback = response.prompt_feedback.as_ref();
        Self {
            block_reason: name(feedback.and_then(|feedback| feedback.block_reason.as_ref())),
            finish_reason: candidates
                .iter()
                .find_map(|candidate| name(candidate.finish_reason.as_ref())),
            finish_message: candidates
                .iter()
                .find_map(|candidate| clean(candidate.finish_message.as_ref())),
        }
    }

    /// Returns the filter that withheld the image, if any.
    fn refusal(&self) -> Option<&str> {
        self.block_reason.as_deref().or(self
            .finish_reason
            .as_deref()
            .filter(|reason| is_refusal(reason)))
    }

    /// Returns why a response contains no image. A refusal takes precedence over a damaged image. An
    /// image in an undocumented form is not retried, because it would be charged for again.
    fn without_image(self, found: Found) -> Outcome {
        let Found {
            link,
            text_image,
            last_flaw,
            text,
            ..
        } = found;
        let has_text = text.is_some();
        let explained = self.finish_message.clone().or(text);
        let reason = |code: &str, otherwise: &str, retryable| Reason {
            code: code.to_owned(),
            message: explained.clone().unwrap_or_else(|| otherwise.to_owned()),
            retryable,
        };

        if let Some(code) = &self.block_reason {
            return Outcome::Blocked(reason(
                code,
                "The prompt was blocked.",
                is_transient_block(code),
            ));
        }
        if let Some(code) = self.refusal() {
            return Outcome::Blocked(reason(code, "The image was withheld.", false));
        }
        if let Some(link) = link {
            return Outcome::Failed(Reason {
                code: FILE_DATA.into(),
                message: link.message(),
                retryable: false,
            });
        }
        if text_image {
            return Outcome::Failed(Reason {
                code: IMAGE_AS_TEXT.into(),
                message: text_image::MESSAGE.into(),
                retryable: false,
            });
        }
        if let Some(flaw) = last_flaw {
            return Outcome::Failed(flaw.into());
        }
        let finish_reason = self.finish_reason.as_deref();
        let retryable = is_retryable_without_image(finish_reason, has_text);
        Outcome::NoImage(reason(
            no_image_code(finish_reason),
            "The answer holds no image.",
            retryable,
        ))
    }
}

/// Cleans a text from Google for the report: without control characters and surrounding blanks, with
/// at most [`MAX_TEXT_BYTES`]. An empty text becomes `None`.
fn clean(text: Option<&Text<'_>>) -> Option<String> {
    let mut cleaned = String::new();
    for char in text?.lossy().trim().chars() {
        if cleaned.len() + char.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        match char {
            '\n' | '\t' => cleaned.push(' '),
            control if control.is_control() => {}
            other => cleaned.push(other),
        }
    }
    Some(cleaned).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
