//! Answers without an image to valid requests.
//!
//! Source: the service's discovery document as of 2026-08 and the official SDKs, read 2026-11-21,
//! and captured answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The text of a refusal that has text.
pub(crate) const REFUSAL_TEXT: &str =
    "I can't create this image. I can describe the scene instead.";

const IMAGE_SAFETY_MESSAGE: &str = "Unable to show the generated image. The image was filtered out because it violated \
                                    Google's Generative AI Prohibited Use policy. You will not be charged for blocked \
                                    images. Try rephrasing the prompt.";

/// The form of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The prompt was blocked: no candidate.
    Blocked(BlockReason),
    /// A candidate that ended for this reason, with the content `{}`.
    Finished(FinishReason),
    /// `STOP` after a text part alone.
    TextOnly,
    /// `STOP` after a part that holds only the signature of a thought.
    SignatureOnly,
    /// No candidate and no feedback on the prompt.
    NoCandidates,
}

/// Why a prompt was blocked. Serialized as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum BlockReason {
    Safety,
    Other,
    Blocklist,
    ProhibitedContent,
    ImageSafety,
    /// Defined by the SDKs only.
    ModelArmor,
    /// Defined by the SDKs only.
    Jailbreak,
}

/// Why a candidate ended. Serialized as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum FinishReason {
    Stop,
    MaxTokens,
    Safety,
    Recitation,
    Other,
    ProhibitedContent,
    ImageSafety,
    ImageProhibitedContent,
    ImageOther,
    ImageRecitation,
    NoImage,
    MalformedResponse,
    /// An undocumented reason, which the service may add at any time.
    NotYetDocumented,
}

impl Refusal {
    /// The refusals that the refused requests are divided among at random.
    pub(crate) const ALL: [Self; 22] = [
        Self::Blocked(BlockReason::Safety),
        Self::Blocked(BlockReason::Other),
        Self::Blocked(BlockReason::Blocklist),
        Self::Blocked(BlockReason::ProhibitedContent),
        Self::Blocked(BlockReason::ImageSafety),
        Self::Blocked(BlockReason::ModelArmor),
        Self::Blocked(BlockReason::Jailbreak),
        Self::Finished(FinishReason::Stop),
        Self::Finished(FinishReason::MaxTokens),
        Self::Finished(FinishReason::Safety),
        Self::Finished(FinishReason::Recitation),
        Self::Finished(FinishReason::Other),
        Self::Finished(FinishReason::ProhibitedContent),
        Self::Finished(FinishReason::ImageSafety),
        Self::Finished(FinishReason::ImageProhibitedContent),
        Self::Finished(FinishReason::ImageOther),
        Self::Finished(FinishReason::ImageRecitation),
        Self::Finished(FinishReason::NoImage),
        Self::Finished(FinishReason::NotYetDocumented),
        Self::TextOnly,
        Self::SignatureOnly,
        Self::NoCandidates,
    ];

    /// Returns the response, without its usage. `signature` is that of the preceding thought.
    pub(crate) fn response(self, signature: &str) -> Value {
        match self {
            Self::Blocked(reason) => json!({"promptFeedback": {"blockReason": reason}}),
            Self::Finished(reason) => candidate(json!({}), reason),
            Self::TextOnly => stopped_candidate(json!({"text": REFUSAL_TEXT})),
            Self::SignatureOnly => stopped_candidate(json!({"thoughtSignature": signature})),
            Self::NoCandidates => json!({}),
        }
    }
}

fn stopped_candidate(part: Value) -> Value {
    candidate(
        json!({"parts": [part], "role": "model"}),
        FinishReason::Stop,
    )
}

fn candidate(content: Value, reason: FinishReason) -> Value {
    let mut candidate = json!({"content": content, "finishReason": reason});
    if reason == FinishReason::ImageSafety {
        candidate["finishMessage"] = Value::from(IMAGE_SAFETY_MESSAGE);
    }
    candidate["index"] = Value::from(0);
    json!({"candidates": [candidate]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_are_different() {
        for (n, one) in Refusal::ALL.iter().enumerate() {
            assert!(
                Refusal::ALL[n + 1..]
                    .iter()
                    .all(|other| one.response("s") != other.response("s")),
                "{one:?}"
            );
        }
    }

    #[test]
    fn reasons_are_written_as_on_the_wire() {
        let response = Refusal::Finished(FinishReason::NoImage).response("s");
        assert_eq!(
            response,
            json!({"candidates": [{"content": {}, "finishReason": "NO_IMAGE", "index": 0}]})
        );
        let response = Refusal::Blocked(BlockReason::ProhibitedContent).response("s");
        assert_eq!(
            response,
            json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
        );
    }
}
