//! The messages that a request may contain, as far as image generation uses them.
//!
//! Fields for other uses (tools, speech, schemas) are accepted by name and not examined. Source:
//! the service's discovery document as of 2026-08, read 2026-11-21.

use crate::wire::proto::{
    Kind::{Any, Boolean, Enum, Integer, List, Number, Text},
    Message,
};

const fn message(message: &'static Message) -> crate::wire::proto::Kind {
    crate::wire::proto::Kind::Message(message)
}

/// `GenerateContentRequest`, the body of `:generateContent`.
pub(crate) static GENERATE_CONTENT: Message = Message(&[
    ("model", Text),
    ("contents", List(&message(&CONTENT))),
    ("systemInstruction", message(&CONTENT)),
    ("generationConfig", message(&GENERATION_CONFIG)),
    ("safetySettings", List(&message(&SAFETY_SETTING))),
    ("tools", Any),
    ("toolConfig", Any),
    ("cachedContent", Text),
    ("store", Boolean),
    (
        "serviceTier",
        Enum(&["unspecified", "standard", "flex", "priority"]),
    ),
]);

/// `CountTokensRequest`, the body of `:countTokens`.
pub(crate) static COUNT_TOKENS: Message = Message(&[
    ("model", Text),
    ("contents", List(&message(&CONTENT))),
    ("generateContentRequest", message(&GENERATE_CONTENT)),
]);

/// [`GENERATE_CONTENT`] in a batch, where the model is the batch's and the tier is fixed.
pub(crate) static BATCHED_REQUEST: Message = Message(&[
    ("contents", List(&message(&CONTENT))),
    ("systemInstruction", message(&CONTENT)),
    ("generationConfig", message(&GENERATION_CONFIG)),
    ("safetySettings", List(&message(&SAFETY_SETTING))),
    ("tools", Any),
    ("toolConfig", Any),
    ("cachedContent", Text),
    ("store", Boolean),
]);

/// One line of a batch's input file.
pub(crate) static INPUT_LINE: Message =
    Message(&[("key", Text), ("request", message(&BATCHED_REQUEST))]);

/// One request in the create call itself.
pub(crate) static INLINE_REQUEST: Message =
    Message(&[("request", message(&BATCHED_REQUEST)), ("metadata", Any)]);

/// `BatchGenerateContentRequest`, the body of `:batchGenerateContent`.
pub(crate) static CREATE_BATCH: Message = Message(&[("batch", message(&BATCH))]);

/// The fields of `GenerateContentBatch` that a caller sets; the body of an update.
pub(crate) static BATCH: Message = Message(&[
    ("model", Text),
    ("displayName", Text),
    ("inputConfig", message(&INPUT_CONFIG)),
    ("priority", Integer),
    ("webhookConfig", message(&WEBHOOK_CONFIG)),
]);

static INPUT_CONFIG: Message =
    Message(&[("fileName", Text), ("requests", message(&INLINE_REQUESTS))]);
static INLINE_REQUESTS: Message = Message(&[("requests", List(&message(&INLINE_REQUEST)))]);
static WEBHOOK_CONFIG: Message = Message(&[("uris", List(&Text)), ("userMetadata", Any)]);

/// `CreateFileRequest`, the body that starts an upload.
pub(crate) static CREATE_FILE: Message = Message(&[("file", message(&FILE))]);

static FILE: Message = Message(&[
    ("name", Text),
    ("displayName", Text),
    ("mimeType", Text),
    ("sizeBytes", Integer),
]);

static CONTENT: Message = Message(&[("role", Text), ("parts", List(&message(&PART)))]);

static PART: Message = Message(&[
    ("text", Text),
    ("inlineData", message(&BLOB)),
    ("fileData", message(&FILE_DATA)),
    ("thought", Boolean),
    ("thoughtSignature", Text),
    ("mediaResolution", Any),
    ("partMetadata", Any),
    ("videoMetadata", Any),
    ("functionCall", Any),
    ("functionResponse", Any),
    ("executableCode", Any),
    ("codeExecutionResult", Any),
]);

static BLOB: Message = Message(&[("mimeType", Text), ("data", Text)]);
static FILE_DATA: Message = Message(&[("mimeType", Text), ("fileUri", Text)]);
static SAFETY_SETTING: Message = Message(&[
    ("category", Text),
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
]);

static GENERATION_CONFIG: Message = Message(&[
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
    ("imageConfig", message(&IMAGE_CONFIG)),
    ("thinkingConfig", message(&THINKING_CONFIG)),
    ("candidateCount", Integer),
    ("seed", Integer),
    ("temperature", Number),
    ("topP", Number),
    ("topK", Integer),
    ("maxOutputTokens", Integer),
    ("stopSequences", List(&Text)),
    ("presencePenalty", Number),
    ("frequencyPenalty", Number),
    ("responseLogprobs", Boolean),
    ("logprobs", Integer),
    ("mediaResolution", Text),
    ("responseMimeType", Text),
    ("responseSchema", Any),
    ("responseJsonSchema", Any),
    ("responseFormat", message(&RESPONSE_FORMAT)),
    ("speechConfig", Any),
    ("enableEnhancedCivicAnswers", Boolean),
    ("enableAffectiveDialog", Boolean),
]);

static RESPONSE_FORMAT: Message = Message(&[
    ("image", message(&IMAGE_RESPONSE_FORMAT)),
    ("text", Any),
    ("audio", Any),
]);

/// Accepted and ignored. Only the declared enum names are valid, and only inline delivery.
static IMAGE_RESPONSE_FORMAT: Message = Message(&[
    ("delivery", Enum(&["DELIVERY_UNSPECIFIED", "INLINE"])),
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
    ("mimeType", Enum(&["MIME_TYPE_UNSPECIFIED", "IMAGE_JPEG"])),
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
]);

static IMAGE_CONFIG: Message = Message(&[("aspectRatio", Text), ("imageSize", Text)]);

static THINKING_CONFIG: Message = Message(&[
    ("includeThoughts", Boolean),
    ("thinkingBudget", Integer),
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
]);
