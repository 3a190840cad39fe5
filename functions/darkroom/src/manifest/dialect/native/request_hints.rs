//! Suggestions for unknown member names in a request: the correct spelling, or the place where the
//! member belongs.

use super::request_schema::{
    BLOB, CONTENT, FILE_DATA, GENERATE_CONTENT_REQUEST, GENERATION_CONFIG, IMAGE_CONFIG, Message,
    PART, SAFETY_SETTING, THINKING_CONFIG,
};
use crate::{manifest::dialect::field::snake_case, models::nearest};

/// Where the members that matter for images belong.
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

const VERTEX: &str = "only Vertex AI has it, remove it";
const ONE_IMAGE: &str = "a request makes one image, write a request with its own key for each";

/// Members of other APIs and of Google's SDKs, and what to do instead. Those of Vertex AI are from
/// its `GenerateContent`
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
        "Gemini has none, write into the text what the image must not show",
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

/// What to do about a name that is not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The right name or place, or why the name can't be used.
    Sure(String),
    /// A guess: Gemini may have added the name since.
    Unsure(String),
}

/// Returns a hint for a name that a message does not have: its right spelling or place, if these
/// can be determined.
pub(crate) fn hint(message: &Message, name: &str, root: &str) -> Hint {
    let meant = normalized(name);
    let has = |message: &Message| {
        message
            .1
            .iter()
            .map(|(known, _)| *known)
            .find(|known| normalized(known) == meant)
    };

    // The name may only be spelled differently.
    if let Some(known) = has(message) {
        return Hint::Sure(format!("did you mean {}?", in_casing_of(name, known)));
    }

    // It may belong to another API.
    if let Some((_, instead)) = ELSEWHERE
        .iter()
        .find(|(known, _)| normalized(known) == meant)
    {
        return Hint::Sure((*instead).to_owned());
    }

    // It may belong to another place in the request.
    if let Some((place, known)) = PLACES
        .iter()
        .find_map(|(place, message)| Some((place, has(message)?)))
    {
        return Hint::Sure(format!("it belongs at {root}{place}.{known}"));
    }

    // Otherwise, the nearest name is a guess.
    let names = || message.1.iter().map(|(known, _)| *known);
    match nearest(&meant, names()).first() {
        Some(near) => Hint::Unsure(format!("did you mean {}?", in_casing_of(name, near))),
        None if message.1.is_empty() => Hint::Unsure("remove it".to_owned()),
        None => Hint::Unsure(format!(
            "remove it, or use one of {}",
            names().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Normalizes a name, so that its spellings are equal.
fn normalized(name: &str) -> String {
    name.chars()
        .filter(|letter| !matches!(letter, '_' | '-' | ' '))
        .collect::<String>()
        .to_lowercase()
}

/// Returns a known name in the case that the request uses.
fn in_casing_of(written: &str, known: &str) -> String {
    if written.contains('_') {
        snake_case(known)
    } else {
        known.to_owned()
    }
}
