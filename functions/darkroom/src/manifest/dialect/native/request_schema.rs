//! The members that a request to Gemini may have, at every level, and the kind of each.
//!
//! Google's parser refuses an unknown name, and the whole batch with it, so requests are compared
//! with this table before anything is bought. It is the `GenerateContentRequest` of Google's
//! discovery document as of August 2026 (<https://ai.google.dev/api/generate-content>, read
//! 2026-11). A test compares it with `tests/gemini.schema.json`.

mod tools;

use self::{
    Kind::{Any, Boolean, Bytes, Enum, Int32, List, Map, Number, Object, Text},
    tools::*,
};

/// A message: its name in Google's document, and its members by their names in camel case.
#[derive(Debug)]
pub(crate) struct Message(
    pub(crate) &'static str,
    pub(crate) &'static [(&'static str, Kind)],
);

/// The kind of a member.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A text.
    Text,
    /// Bytes as base64.
    Bytes,
    /// One of these names.
    Enum(&'static [&'static str]),
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A message.
    Object(&'static Message),
    /// A list of these.
    List(&'static Kind),
    /// An object with any names and these values.
    Map(&'static Kind),
    /// Any JSON.
    Any,
}

/// A whole request.
pub(crate) static GENERATE_CONTENT_REQUEST: Message = Message(
    "GenerateContentRequest",
    &[
        ("cachedContent", Text),
        ("contents", List(&Object(&CONTENT))),
        ("generationConfig", Object(&GENERATION_CONFIG)),
        ("model", Text),
        ("safetySettings", List(&Object(&SAFETY_SETTING))),
        (
            "serviceTier",
            Enum(&["unspecified", "standard", "flex", "priority"]),
        ),
        ("store", Boolean),
        ("systemInstruction", Object(&CONTENT)),
        ("toolConfig", Object(&TOOL_CONFIG)),
        ("tools", List(&Object(&TOOL))),
    ],
);

pub(crate) static CONTENT: Message = Message(
    "Content",
    &[("parts", List(&Object(&PART))), ("role", Text)],
);

pub(crate) static PART: Message = Message(
    "Part",
    &[
        ("codeExecutionResult", Object(&CODE_EXECUTION_RESULT)),
        ("executableCode", Object(&EXECUTABLE_CODE)),
        ("fileData", Object(&FILE_DATA)),
        ("functionCall", Object(&FUNCTION_CALL)),
        ("functionResponse", Object(&FUNCTION_RESPONSE)),
        ("inlineData", Object(&BLOB)),
        (
            "mediaProcessing",
            Enum(&["MEDIA_PROCESSING_UNSPECIFIED", "STATIC", "AGENTIC"]),
        ),
        ("mediaResolution", Object(&V1MAIN_MEDIA_RESOLUTION)),
        ("partMetadata", Map(&Any)),
        ("text", Text),
        ("thought", Boolean),
        ("thoughtSignature", Bytes),
        ("toolCall", Object(&TOOL_CALL)),
        ("toolResponse", Object(&TOOL_RESPONSE)),
        ("videoMetadata", Object(&VIDEO_METADATA)),
    ],
);

pub(crate) static FILE_DATA: Message =
    Message("FileData", &[("fileUri", Text), ("mimeType", Text)]);

pub(crate) static BLOB: Message = Message("Blob", &[("data", Bytes), ("mimeType", Text)]);

static V1MAIN_MEDIA_RESOLUTION: Message = Message(
    "V1mainMediaResolution",
    &[(
        "level",
        Enum(&[
            "MEDIA_RESOLUTION_UNSPECIFIED",
            "MEDIA_RESOLUTION_LOW",
            "MEDIA_RESOLUTION_MEDIUM",
            "MEDIA_RESOLUTION_HIGH",
            "MEDIA_RESOLUTION_ULTRA_HIGH",
        ]),
    )],
);

static VIDEO_METADATA: Message = Message(
    "VideoMetadata",
    &[("endOffset", Text), ("fps", Number), ("startOffset", Text)],
);

pub(crate) static SAFETY_SETTING: Message = Message(
    "SafetySetting",
    &[
        (
            "category",
            Enum(&[
                "HARM_CATEGORY_UNSPECIFIED",
                "HARM_CATEGORY_DEROGATORY",
                "HARM_CATEGORY_TOXICITY",
                "HARM_CATEGORY_VIOLENCE",
                "HARM_CATEGORY_SEXUAL",
                "HARM_CATEGORY_MEDICAL",
                "HARM_CATEGORY_DANGEROUS",
                "HARM_CATEGORY_HARASSMENT",
                "HARM_CATEGORY_HATE_SPEECH",
                "HARM_CATEGORY_SEXUALLY_EXPLICIT",
                "HARM_CATEGORY_DANGEROUS_CONTENT",
                "HARM_CATEGORY_CIVIC_INTEGRITY",
                "HARM_CATEGORY_JAILBREAK",
            ]),
        ),
        (
            "threshold",
            Enum(&[
                "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
                "BLOCK_LOW_AND_ABOVE",
                "BLOCK_MEDIUM_AND_ABOVE",
                "BLOCK_ONLY_HIGH",
                "BLOCK_NONE",
                "OFF",
            ]),
        ),
    ],
);

pub(crate) static GENERATION_CONFIG: Message = Message(
    "GenerationConfig",
    &[
        (
            "audioTranscriptionConfig",
            Object(&AUDIO_TRANSCRIPTION_CONFIG),
        ),
        ("candidateCount", Int32),
        ("enableAffectiveDialog", Boolean),
        ("enableEnhancedCivicAnswers", Boolean),
        ("frequencyPenalty", Number),
        ("imageConfig", Object(&IMAGE_CONFIG)),
        ("logprobs", Int32),
        ("maxOutputTokens", Int32),
        (
            "mediaResolution",
            Enum(&[
                "MEDIA_RESOLUTION_UNSPECIFIED",
                "MEDIA_RESOLUTION_LOW",
                "MEDIA_RESOLUTION_MEDIUM",
                "MEDIA_RESOLUTION_HIGH",
            ]),
        ),
        ("presencePenalty", Number),
        ("responseFormat", Object(&RESPONSE_FORMAT_CONFIG)),
        ("responseJsonSchema", Any),
        ("responseLogprobs", Boolean),
        ("responseMimeType", Text),
        (
            "responseModalities",
            List(&Enum(&[
                "MODALITY_UNSPECIFIED",
                "TEXT",
                "IMAGE",
                "AUDIO",
                "VIDEO",
            ])),
        ),
        ("responseSchema", Object(&SCHEMA)),
        ("seed", Int32),
        ("speechConfig", Object(&SPEECH_CONFIG)),
        ("stopSequences", List(&Text)),
        ("temperature", Number),
        ("thinkingConfig", Object(&THINKING_CONFIG)),
        ("topK", Int32),
        ("topP", Number),
        ("translationConfig", Object(&TRANSLATION_CONFIG)),
    ],
);

pub(crate) static IMAGE_CONFIG: Message =
    Message("ImageConfig", &[("aspectRatio", Text), ("imageSize", Text)]);

pub(crate) static THINKING_CONFIG: Message = Message(
    "ThinkingConfig",
    &[
        ("includeThoughts", Boolean),
        ("thinkingBudget", Int32),
        (
            "thinkingLevel",
            Enum(&[
                "THINKING_LEVEL_UNSPECIFIED",
                "MINIMAL",
                "LOW",
                "MEDIUM",
                "HIGH",
            ]),
        ),
    ],
);

static RESPONSE_FORMAT_CONFIG: Message = Message(
    "ResponseFormatConfig",
    &[
        ("audio", Object(&AUDIO_RESPONSE_FORMAT)),
        ("image", Object(&IMAGE_RESPONSE_FORMAT)),
        ("text", Object(&TEXT_RESPONSE_FORMAT)),
    ],
);

static IMAGE_RESPONSE_FORMAT: Message = Message(
    "ImageResponseFormat",
    &[
        (
            "aspectRatio",
            Enum(&[
                "ASPECT_RATIO_UNSPECIFIED",
                "ASPECT_RATIO_ONE_BY_ONE",
                "ASPECT_RATIO_TWO_BY_THREE",
                "ASPECT_RATIO_THREE_BY_TWO",
                "ASPECT_RATIO_THREE_BY_FOUR",
                "ASPECT_RATIO_FOUR_BY_THREE",
                "ASPECT_RATIO_FOUR_BY_FIVE",
                "ASPECT_RATIO_FIVE_BY_FOUR",
                "ASPECT_RATIO_NINE_BY_SIXTEEN",
                "ASPECT_RATIO_SIXTEEN_BY_NINE",
                "ASPECT_RATIO_TWENTY_ONE_BY_NINE",
                "ASPECT_RATIO_ONE_BY_EIGHT",
                "ASPECT_RATIO_EIGHT_BY_ONE",
                "ASPECT_RATIO_ONE_BY_FOUR",
                "ASPECT_RATIO_FOUR_BY_ONE",
            ]),
        ),
        ("delivery", Enum(&["DELIVERY_UNSPECIFIED", "INLINE", "URI"])),
        (
            "imageSize",
            Enum(&[
                "IMAGE_SIZE_UNSPECIFIED",
                "IMAGE_SIZE_FIVE_TWELVE",
                "IMAGE_SIZE_ONE_K",
                "IMAGE_SIZE_TWO_K",
                "IMAGE_SIZE_FOUR_K",
            ]),
        ),
        ("mimeType", Enum(&["MIME_TYPE_UNSPECIFIED", "IMAGE_JPEG"])),
    ],
);

static AUDIO_RESPONSE_FORMAT: Message = Message(
    "AudioResponseFormat",
    &[
        ("bitRate", Int32),
        ("delivery", Enum(&["DELIVERY_UNSPECIFIED", "INLINE", "URI"])),
        (
            "mimeType",
            Enum(&[
                "MIME_TYPE_UNSPECIFIED",
                "AUDIO_MP3",
                "AUDIO_OGG_OPUS",
                "AUDIO_L16",
                "AUDIO_WAV",
                "AUDIO_ALAW",
                "AUDIO_MULAW",
            ]),
        ),
        ("sampleRate", Int32),
    ],
);

static TEXT_RESPONSE_FORMAT: Message = Message(
    "TextResponseFormat",
    &[
        (
            "mimeType",
            Enum(&["MIME_TYPE_UNSPECIFIED", "APPLICATION_JSON", "TEXT_PLAIN"]),
        ),
        ("schema", Any),
    ],
);

#[cfg(test)]
mod tests;
