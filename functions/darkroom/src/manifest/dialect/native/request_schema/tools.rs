//! Messages that requests for images rarely contain: tools and their calls, schemas of answers,
//! speech.

use super::{
    Kind::{self, Any, Boolean, Bytes, Enum, Int32, Int64, List, Map, Number, Object, Text},
    Message,
};

pub(crate) static TOOL: Message = Message(
    "Tool",
    &[
        ("codeExecution", Object(&CODE_EXECUTION)),
        ("computerUse", Object(&COMPUTER_USE)),
        ("fileSearch", Object(&FILE_SEARCH)),
        ("functionDeclarations", List(&Object(&FUNCTION_DECLARATION))),
        ("googleMaps", Object(&GOOGLE_MAPS)),
        ("googleSearch", Object(&GOOGLE_SEARCH)),
        ("googleSearchRetrieval", Object(&GOOGLE_SEARCH_RETRIEVAL)),
        ("mcpServers", List(&Object(&MCP_SERVER))),
        ("urlContext", Object(&URL_CONTEXT)),
    ],
);

pub(crate) static MCP_SERVER: Message = Message(
    "McpServer",
    &[
        ("name", Text),
        (
            "streamableHttpTransport",
            Object(&STREAMABLE_HTTP_TRANSPORT),
        ),
    ],
);

pub(crate) static STREAMABLE_HTTP_TRANSPORT: Message = Message(
    "StreamableHttpTransport",
    &[
        ("headers", Map(&Text)),
        ("sseReadTimeout", Text),
        ("terminateOnClose", Boolean),
        ("timeout", Text),
        ("url", Text),
    ],
);

pub(crate) static URL_CONTEXT: Message = Message("UrlContext", &[]);

pub(crate) static FUNCTION_DECLARATION: Message = Message(
    "FunctionDeclaration",
    &[
        (
            "behavior",
            Enum(&["UNSPECIFIED", "BLOCKING", "NON_BLOCKING"]),
        ),
        ("description", Text),
        ("name", Text),
        ("parameters", Object(&SCHEMA)),
        ("parametersJsonSchema", Any),
        ("response", Object(&SCHEMA)),
        ("responseJsonSchema", Any),
    ],
);

pub(crate) static SCHEMA: Message = Message(
    "Schema",
    &[
        ("anyOf", List(&Object(&SCHEMA))),
        ("default", Any),
        ("description", Text),
        ("enum", List(&Text)),
        ("example", Any),
        ("format", Text),
        ("items", Object(&SCHEMA)),
        ("maxItems", Int64),
        ("maxLength", Int64),
        ("maxProperties", Int64),
        ("maximum", Number),
        ("minItems", Int64),
        ("minLength", Int64),
        ("minProperties", Int64),
        ("minimum", Number),
        ("nullable", Boolean),
        ("pattern", Text),
        ("properties", Map(&Object(&SCHEMA))),
        ("propertyOrdering", List(&Text)),
        ("required", List(&Text)),
        ("title", Text),
        (
            "type",
            Enum(&[
                "TYPE_UNSPECIFIED",
                "STRING",
                "NUMBER",
                "INTEGER",
                "BOOLEAN",
                "ARRAY",
                "OBJECT",
                "NULL",
            ]),
        ),
    ],
);

pub(crate) static CODE_EXECUTION: Message = Message("CodeExecution", &[]);

pub(crate) static GOOGLE_SEARCH_RETRIEVAL: Message = Message(
    "GoogleSearchRetrieval",
    &[("dynamicRetrievalConfig", Object(&DYNAMIC_RETRIEVAL_CONFIG))],
);

pub(crate) static DYNAMIC_RETRIEVAL_CONFIG: Message = Message(
    "DynamicRetrievalConfig",
    &[
        ("dynamicThreshold", Number),
        ("mode", Enum(&["MODE_UNSPECIFIED", "MODE_DYNAMIC"])),
    ],
);

pub(crate) static GOOGLE_SEARCH: Message = Message(
    "GoogleSearch",
    &[
        ("searchTypes", Object(&SEARCH_TYPES)),
        ("timeRangeFilter", Object(&INTERVAL)),
    ],
);

pub(crate) static SEARCH_TYPES: Message = Message(
    "SearchTypes",
    &[
        ("imageSearch", Object(&IMAGE_SEARCH)),
        ("webSearch", Object(&WEB_SEARCH)),
    ],
);

pub(crate) static WEB_SEARCH: Message = Message("WebSearch", &[]);

pub(crate) static IMAGE_SEARCH: Message = Message("ImageSearch", &[]);

pub(crate) static INTERVAL: Message =
    Message("Interval", &[("endTime", Text), ("startTime", Text)]);

pub(crate) static FILE_SEARCH: Message = Message(
    "FileSearch",
    &[
        ("fileSearchStoreNames", List(&Text)),
        ("metadataFilter", Text),
        ("topK", Int32),
    ],
);

pub(crate) static GOOGLE_MAPS: Message = Message("GoogleMaps", &[("enableWidget", Boolean)]);

pub(crate) static COMPUTER_USE: Message = Message(
    "ComputerUse",
    &[
        (
            "disabledSafetyPolicies",
            List(&Enum(&[
                "SAFETY_POLICY_UNSPECIFIED",
                "FINANCIAL_TRANSACTIONS",
                "SENSITIVE_DATA_MODIFICATION",
                "COMMUNICATION_TOOL",
                "ACCOUNT_CREATION",
                "DATA_MODIFICATION",
                "USER_CONSENT_MANAGEMENT",
                "LEGAL_TERMS_AND_AGREEMENTS",
            ])),
        ),
        ("enablePromptInjectionDetection", Boolean),
        (
            "environment",
            Enum(&[
                "ENVIRONMENT_UNSPECIFIED",
                "ENVIRONMENT_BROWSER",
                "ENVIRONMENT_MOBILE",
                "ENVIRONMENT_DESKTOP",
            ]),
        ),
        ("excludedPredefinedFunctions", List(&Text)),
    ],
);

pub(crate) static TOOL_CONFIG: Message = Message(
    "ToolConfig",
    &[
        ("functionCallingConfig", Object(&FUNCTION_CALLING_CONFIG)),
        ("includeServerSideToolInvocations", Boolean),
        ("retrievalConfig", Object(&RETRIEVAL_CONFIG)),
    ],
);

pub(crate) static FUNCTION_CALLING_CONFIG: Message = Message(
    "FunctionCallingConfig",
    &[
        ("allowedFunctionNames", List(&Text)),
        (
            "mode",
            Enum(&["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"]),
        ),
    ],
);

pub(crate) static RETRIEVAL_CONFIG: Message = Message(
    "RetrievalConfig",
    &[("languageCode", Text), ("latLng", Object(&LAT_LNG))],
);

pub(crate) static LAT_LNG: Message =
    Message("LatLng", &[("latitude", Number), ("longitude", Number)]);

pub(crate) static FUNCTION_RESPONSE: Message = Message(
    "FunctionResponse",
    &[
        ("id", Text),
        ("name", Text),
        ("parts", List(&Object(&FUNCTION_RESPONSE_PART))),
        ("response", Map(&Any)),
        (
            "scheduling",
            Enum(&["SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"]),
        ),
        ("willContinue", Boolean),
    ],
);

pub(crate) static FUNCTION_RESPONSE_PART: Message = Message(
    "FunctionResponsePart",
    &[("inlineData", Object(&FUNCTION_RESPONSE_BLOB))],
);

pub(crate) static FUNCTION_RESPONSE_BLOB: Message = Message(
    "FunctionResponseBlob",
    &[("data", Bytes), ("mimeType", Text)],
);

pub(crate) static CODE_EXECUTION_RESULT: Message = Message(
    "CodeExecutionResult",
    &[
        ("id", Text),
        (
            "outcome",
            Enum(&[
                "OUTCOME_UNSPECIFIED",
                "OUTCOME_OK",
                "OUTCOME_FAILED",
                "OUTCOME_DEADLINE_EXCEEDED",
            ]),
        ),
        ("output", Text),
    ],
);

pub(crate) static FUNCTION_CALL: Message = Message(
    "FunctionCall",
    &[("args", Map(&Any)), ("id", Text), ("name", Text)],
);

pub(crate) static EXECUTABLE_CODE: Message = Message(
    "ExecutableCode",
    &[
        ("code", Text),
        ("id", Text),
        ("language", Enum(&["LANGUAGE_UNSPECIFIED", "PYTHON"])),
    ],
);

const TOOL_TYPE: Kind = Enum(&[
    "TOOL_TYPE_UNSPECIFIED",
    "GOOGLE_SEARCH_WEB",
    "GOOGLE_SEARCH_IMAGE",
    "URL_CONTEXT",
    "GOOGLE_MAPS",
    "FILE_SEARCH",
]);

pub(crate) static TOOL_CALL: Message = Message(
    "ToolCall",
    &[
        ("args", Map(&Any)),
        ("id", Text),
        ("toolName", Text),
        ("toolType", TOOL_TYPE),
    ],
);

pub(crate) static TOOL_RESPONSE: Message = Message(
    "ToolResponse",
    &[
        ("id", Text),
        ("response", Map(&Any)),
        ("toolType", TOOL_TYPE),
    ],
);

pub(crate) static SPEECH_CONFIG: Message = Message(
    "SpeechConfig",
    &[
        ("languageCode", Text),
        (
            "multiSpeakerVoiceConfig",
            Object(&MULTI_SPEAKER_VOICE_CONFIG),
        ),
        ("voiceConfig", Object(&VOICE_CONFIG)),
    ],
);

pub(crate) static VOICE_CONFIG: Message = Message(
    "VoiceConfig",
    &[("prebuiltVoiceConfig", Object(&PREBUILT_VOICE_CONFIG))],
);

pub(crate) static PREBUILT_VOICE_CONFIG: Message =
    Message("PrebuiltVoiceConfig", &[("voiceName", Text)]);

pub(crate) static MULTI_SPEAKER_VOICE_CONFIG: Message = Message(
    "MultiSpeakerVoiceConfig",
    &[("speakerVoiceConfigs", List(&Object(&SPEAKER_VOICE_CONFIG)))],
);

pub(crate) static SPEAKER_VOICE_CONFIG: Message = Message(
    "SpeakerVoiceConfig",
    &[("speaker", Text), ("voiceConfig", Object(&VOICE_CONFIG))],
);

pub(crate) static TRANSLATION_CONFIG: Message = Message(
    "TranslationConfig",
    &[
        ("echoTargetLanguage", Boolean),
        ("targetLanguageCode", Text),
    ],
);

pub(crate) static AUDIO_TRANSCRIPTION_CONFIG: Message = Message(
    "AudioTranscriptionConfig",
    &[
        ("adaptationPhrases", List(&Text)),
        ("customVocabulary", List(&Text)),
        ("diarization", Boolean),
        ("languageAuto", Object(&LANGUAGE_AUTO)),
        ("languageCodes", List(&Text)),
        ("languageHints", Object(&LANGUAGE_HINTS)),
        ("mode", Enum(&["MODE_UNSPECIFIED", "VERBATIM", "SMART"])),
        ("wordTimestamp", Boolean),
    ],
);

pub(crate) static LANGUAGE_HINTS: Message =
    Message("LanguageHints", &[("languageCodes", List(&Text))]);

pub(crate) static LANGUAGE_AUTO: Message = Message("LanguageAuto", &[]);
