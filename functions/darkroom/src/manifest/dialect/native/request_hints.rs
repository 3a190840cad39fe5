//! What to say about a name in a request that Gemini does not know.

use super::request_schema::{
    BLOB, CONTENT, FILE_DATA, GENERATE_CONTENT_REQUEST, GENERATION_CONFIG, IMAGE_CONFIG, Message,
    PART, SAFETY_SETTING, THINKING_CONFIG,
};
use crate::{manifest::dialect::field::snake_case, models::nearest};

/// Where the members that images have to do with belong.
static PLACES: [(&str, &Message); 9] = [
    ("", &GENERATE_CONTENT_REQUEST),
    (".generationConfig", &GENERATION_CONFIG),
    (".generationConfig.imageConfig", &IMAGE_CONFIG),
    (".generationConfig.thinkingConfig", &THINKING_CONFIG),
    (".contents[]", &CONTENT),
    (".contents[].parts[]", &PART),
    (".contents[].parts[].fileData", &FILE_DATA),
    (".contents[].parts[].inlineData", &BLOB),
    (".safetySettings[]", &SAFETY_SETTING),
];

const VERTEX: &str = "only Vertex AI has it, take it out";
const ONE_IMAGE: &str = "a request makes one image, write a request with a key of its own for each";

/// Members of other APIs and of Google's SDKs, and what to do instead. Vertex AI's are those of its
/// `GenerateContent`
/// (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>, read
/// 2026-11).
const ELSEWHERE: [(&str, &str); 19] = [
    ("personGeneration", VERTEX),
    ("prominentPeople", VERTEX),
    ("imageOutputOptions", VERTEX),
    (
        "outputMimeType",
        "only Vertex AI has it, images are kept as Gemini makes them",
    ),
    (
        "outputCompressionQuality",
        "only Vertex AI has it, images are kept as Gemini makes them",
    ),
    ("addWatermark", VERTEX),
    ("labels", VERTEX),
    ("modelArmorConfig", VERTEX),
    ("routingConfig", VERTEX),
    ("modelSelectionConfig", VERTEX),
    ("audioTimestamp", VERTEX),
    ("displayName", VERTEX),
    (
        "negativePrompt",
        "Gemini has none, say in the text what the image must not show",
    ),
    ("numberOfImages", ONE_IMAGE),
    ("sampleCount", ONE_IMAGE),
    ("n", ONE_IMAGE),
    (
        "config",
        "only Google's SDKs have it, write generationConfig",
    ),
    (
        "prompt",
        "write \"contents\": [{\"parts\": [{\"text\": …}]}]",
    ),
    (
        "messages",
        "write \"contents\": [{\"parts\": [{\"text\": …}]}]",
    ),
];

/// What to do about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// What was meant, or why it can't be there.
    Sure(String),
    /// Only what is there: Gemini may have learned the name since.
    Unsure(String),
}

/// What to do about a name that a message doesn't have: its right spelling or place where that can
/// be told.
pub(crate) fn hint(message: &Message, name: &str, root: &str) -> Hint {
    let meant = squashed(name);
    let has = |message: &Message| {
        message
            .1
            .iter()
            .map(|(known, _)| *known)
            .find(|known| squashed(known) == meant)
    };
    if let Some(known) = has(message) {
        return Hint::Sure(format!("did you mean {}?", in_casing_of(name, known)));
    }
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(known, _)| squashed(known) == meant) {
        return Hint::Sure((*instead).to_owned());
    }
    if let Some((place, known)) = PLACES
        .iter()
        .find_map(|(place, message)| Some((place, has(message)?)))
    {
        return Hint::Sure(format!("it belongs at {root}{place}.{known}"));
    }
    let names = || message.1.iter().map(|(known, _)| *known);
    match nearest(&meant, names()).first() {
        Some(near) => Hint::Unsure(format!("did you mean {}?", in_casing_of(name, near))),
        None if message.1.is_empty() => Hint::Unsure("take it out".to_owned()),
        None => Hint::Unsure(format!(
            "take it out, or use one of {}",
            names().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// A name without what different spellings of it differ in.
fn squashed(name: &str) -> String {
    name.chars()
        .filter(|letter| !matches!(letter, '_' | '-' | ' '))
        .collect::<String>()
        .to_lowercase()
}

/// A known name as the request would write it.
fn in_casing_of(written: &str, known: &str) -> String {
    if written.contains('_') {
        snake_case(known)
    } else {
        known.to_owned()
    }
}
