//! From a skeleton and its images to an answer, by the rules of the contract.

use serde_json::{error::Category, value::RawValue};

use super::{
    answer::{Answer, Image, Outcome, Reason},
    bad_line::{BadLine, BadLineReason},
    codes::{grpc_status, is_refusal, no_image_code},
    image::ImageFlaw,
    pool::PooledBuffer,
    skeleton::{Text, WireError, WireLine, WireResponse, is_own_text},
};
use crate::{cost::Usage, names::RequestKey};

/// The most bytes that a text from Google keeps: 1 KiB, enough to understand it.
const TEXT_BYTES: usize = 1024;

/// The images of a line in the order of their texts, each to be taken once.
pub(super) type Blobs = Vec<Option<Result<PooledBuffer, ImageFlaw>>>;

/// Reads a line from its skeleton and its images. `ends_file` if no newline ended it.
///
/// # Errors
/// [`BadLine`] if the skeleton isn't JSON of the right form.
pub(super) fn read_line(skeleton: &[u8], blobs: &mut Blobs, ends_file: bool) -> Result<Answer, BadLine> {
    let bad = |reason| BadLine::new(reason, skeleton);
    let text = String::from_utf8_lossy(skeleton);
    let mut wire: WireLine<'_> = serde_json::from_str(&text).map_err(|error| {
        bad(match error.classify() {
            Category::Data => BadLineReason::NotAReply,
            Category::Eof if ends_file => BadLineReason::Truncated,
            Category::Eof | Category::Syntax | Category::Io => BadLineReason::NotJson,
        })
    })?;
    let key = wire.take_key().filter(|key| is_own_text(key, skeleton)).map(RequestKey::new);
    let answer = match (wire.response, wire.error) {
        (Some(response), error) => read_response(&response, error, blobs),
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
        thought_images: 0,
        warnings: Vec::new(),
    }
}

fn failure(error: &WireError<'_>) -> Outcome {
    let (code, retryable) = grpc_status(error.code.unwrap_or_default());
    let message = clean(&error.message).unwrap_or_else(|| "Gemini gives no reason.".into());
    let reason = Reason { code: code.into(), message, retryable };
    if code == "CANCELLED" { Outcome::Cancelled(reason) } else { Outcome::Failed(reason) }
}

/// Reads a response; an `error` beside it counts only if the response holds no image.
fn read_response(response: &WireResponse<'_>, error: Option<WireError<'_>>, blobs: &mut Blobs) -> Answer {
    let mut found = Found::of(response, blobs);
    let candidates = response.candidates.as_deref().unwrap_or_default();
    let finish_reason = candidates.iter().find_map(|candidate| clean(&candidate.finish_reason));
    let mut warnings = Vec::new();
    let holds_image = !found.images.is_empty() || found.last_flaw.is_some() || found.thought_images > 0;
    let outcome = match (found.images.pop(), error) {
        (Some(image), _) => {
            if let Some(flaw) = found.last_flaw {
                warnings.push(format!("another image of the answer can't be used: {flaw}"));
            }
            Outcome::Succeeded { image, extras: found.images }
        }
        (None, Some(error)) => failure(&error),
        (None, None) => no_image(response, finish_reason.as_deref(), found.text, found.last_flaw),
    };
    let usage = response.usage_metadata.and_then(|usage| {
        let read = Usage::of_reply(usage.get(), holds_image);
        read.map_err(|_| warnings.push("the answer's token counts can't be read".into())).ok()
    });
    Answer {
        key: None,
        outcome,
        finish_reason,
        model_version: clean(&response.model_version),
        response_id: clean(&response.response_id),
        usage,
        thought_images: found.thought_images,
        warnings,
    }
}

/// Why a response holds no image. A refusal is the answer even if a damaged image stands beside it.
fn no_image(
    response: &WireResponse<'_>,
    finish_reason: Option<&str>,
    said: Option<String>,
    flaw: Option<ImageFlaw>,
) -> Outcome {
    let candidates = response.candidates.as_deref().unwrap_or_default();
    let explained = candidates.iter().find_map(|candidate| clean(&candidate.finish_message)).or(said);
    let reason = |code: &str, otherwise: &str| Reason {
        code: code.to_owned(),
        message: explained.clone().unwrap_or_else(|| otherwise.to_owned()),
        retryable: false,
    };
    let block_reason = response.prompt_feedback.as_ref().and_then(|feedback| clean(&feedback.block_reason));
    match (block_reason, finish_reason, flaw) {
        (Some(code), _, _) => Outcome::Blocked(reason(&code, "The prompt was blocked.")),
        (None, Some(code), _) if is_refusal(code) => Outcome::Blocked(reason(code, "The image was withheld.")),
        (None, _, Some(flaw)) => Outcome::Failed(flaw.into()),
        (None, code, None) => Outcome::NoImage(reason(no_image_code(code), "The answer holds no image.")),
    }
}

/// What the parts of a response hold.
#[derive(Default)]
struct Found {
    /// Whole images that are no thoughts.
    images: Vec<Image>,
    /// What is wrong with the last of those that aren't whole.
    last_flaw: Option<ImageFlaw>,
    thought_images: usize,
    /// What the model says last, thoughts aside.
    text: Option<String>,
}

impl Found {
    fn of(response: &WireResponse<'_>, blobs: &mut Blobs) -> Self {
        let mut found = Self::default();
        let contents = response.candidates.iter().flatten().filter_map(|candidate| candidate.content.as_ref());
        for part in contents.flat_map(|content| content.parts.iter().flatten()) {
            let is_thought = part.thought.unwrap_or_default();
            match &part.inline_data {
                Some(_) if is_thought => found.thought_images += 1,
                Some(inline) => match take_blob(blobs, inline.data.as_ref()).and_then(Image::new) {
                    Ok(image) => found.images.push(image),
                    Err(flaw) => found.last_flaw = Some(flaw),
                },
                None if is_thought => {}
                None => found.text = clean(&part.text).or(found.text),
            }
        }
        found
    }
}

/// The image that a part's `data` stands for. A part without `data` has an empty one: JSON made from Protocol Buffers
/// leaves out what is empty.
fn take_blob(blobs: &mut Blobs, data: Option<&Text<'_>>) -> Result<PooledBuffer, ImageFlaw> {
    let number: Option<usize> = data.and_then(|data| data.lossy().parse().ok());
    number.and_then(|number| blobs.get_mut(number)?.take()).unwrap_or(Err(ImageFlaw::NotAnImage))
}

/// A text from Google, made fit for a report: without control characters, not longer than [`TEXT_BYTES`], not empty.
fn clean(text: &Option<Text<'_>>) -> Option<String> {
    let mut cleaned = String::new();
    for char in text.as_ref()?.lossy().chars() {
        if cleaned.len() + char.len_utf8() > TEXT_BYTES {
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
