//! The JSON of a line without its images. It is borrowed, and is read leniently, because the answer
//! was paid for.
//!
//! Members that contain images must have the documented form, so that no image is lost silently.
//! Otherwise the line is bad, and its request is retried. Members that only describe an image may
//! have any form; an unexpected form counts as missing. Texts may be invalid Unicode, since a model
//! can stop in the middle of an emoji. Other members may have any form too.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One line of a result file. According to the documentation it has either a response or an error.
#[derive(Deserialize)]
pub(super) struct WireLine<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<WireResponse<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    // According to the documentation, the following members are in the response. They are also read
    // from a line that is itself a response, with a key. Tokens are read at any position, because
    // they are charged for.
    #[serde(borrow)]
    candidates: Option<&'a RawValue>,
    #[serde(borrow, rename = "promptFeedback", alias = "prompt_feedback")]
    prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, rename = "usageMetadata", alias = "usage_metadata")]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, rename = "modelVersion", alias = "model_version")]
    model_version: Option<Text<'a>>,
    #[serde(borrow, rename = "responseId", alias = "response_id")]
    response_id: Option<Text<'a>>,
}

impl<'a> WireLine<'a> {
    /// Takes the request key: that of the line, or that of the metadata, where inline requests have
    /// it. A key with invalid Unicode counts as missing, because no request has such a key.
    pub(super) fn take_key(&mut self) -> Option<String> {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            key: Option<&'a RawValue>,
        }
        let in_metadata = || {
            serde_json::from_str::<Metadata<'_>>(self.metadata?.get())
                .ok()?
                .key
                .and_then(key_of)
        };
        self.key.and_then(key_of).or_else(in_metadata)
    }

    /// Takes the response: the line's member, or else the line itself if it has members that only a
    /// response has.
    ///
    /// # Errors
    /// Returns serde's error if the line itself is not a response of the documented form.
    pub(super) fn take_response(&mut self) -> Result<Option<WireResponse<'a>>, serde_json::Error> {
        if let Some(response) = self.response.take() {
            return Ok(Some(response));
        }
        if self.candidates.is_none()
            && self.prompt_feedback.is_none()
            && (self.usage_metadata.is_none() || self.error.is_some())
        {
            return Ok(None);
        }
        Ok(Some(WireResponse {
            candidates: self
                .candidates
                .map(|candidates| serde_json::from_str(candidates.get()))
                .transpose()?,
            prompt_feedback: self
                .prompt_feedback
                .and_then(|feedback| serde_json::from_str(feedback.get()).ok()),
            usage_metadata: self.usage_metadata,
            model_version: self.model_version.take(),
            response_id: self.response_id.take(),
        }))
    }

    /// Returns the error of the line.
    pub(super) fn error(&self) -> Option<WireError<'a>> {
        self.error.map(WireError::read)
    }
}

/// Reads a request key: a text, or the digits of a number as they are written.
fn key_of(value: &RawValue) -> Option<String> {
    word(value)
        .filter(|key| !key.is_empty() && key.len() <= KEY_BYTES)
        .map(Cow::into_owned)
}

/// The maximum length of a request key, in bytes. Planning rejects longer keys.
const KEY_BYTES: usize = 64 * 1024;

/// Reads a text, or a number as it is written. Invalid Unicode gives `None`.
fn word(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).ok().map(Cow::Owned),
        Some(b'-' | b'0'..=b'9') => Some(Cow::Borrowed(text)),
        Some(_) | None => None,
    }
}

/// An error: a `google.rpc.Status`, or another form of it.
#[derive(Default)]
pub(super) struct WireError<'a> {
    /// The code, a number or a name as written.
    pub(super) code: Option<Cow<'a, str>>,
    /// The status, a name as written.
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) message: Option<Text<'a>>,
}

impl<'a> WireError<'a> {
    /// Reads an object, a text, which is the message or the name of a code, or a number, which is the
    /// code. Any other value is an unknown error.
    fn read(value: &'a RawValue) -> Self {
        let (error, inner) = Self::read_with_inner(value);
        match inner {
            // Some proxies wrap the envelope of an answer, which has another `error`, in the
            // envelope of a line.
            Some(inner) if error.is_empty() => Self::read_with_inner(inner).0,
            Some(_) | None => error,
        }
    }

    fn read_with_inner(value: &'a RawValue) -> (Self, Option<&'a RawValue>) {
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(borrow)]
            code: Option<&'a RawValue>,
            #[serde(borrow)]
            status: Option<&'a RawValue>,
            #[serde(borrow)]
            message: Option<Text<'a>>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
        }

        let text = value.get();
        match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map_or_else(
                |_| (Self::default(), None),
                |Members {
                     code,
                     status,
                     message,
                     error,
                 }| {
                    (
                        Self {
                            code: code.and_then(word),
                            status: status.and_then(word),
                            message,
                        },
                        error,
                    )
                },
            ),
            Some(b'"') => (
                Self {
                    message: serde_json::from_str(text).ok(),
                    ..Self::default()
                },
                None,
            ),
            _ => (
                Self {
                    code: word(value),
                    ..Self::default()
                },
                None,
            ),
        }
    }

    /// Whether the error neither names nor describes a reason.
    pub(super) fn is_empty(&self) -> bool {
        let is_nothing = |word: &Option<Cow<'_, str>>| {
            word.as_ref()
                .is_none_or(|word| matches!(&**word, "" | "0" | "OK"))
        };
        is_nothing(&self.code)
            && is_nothing(&self.status)
            && self.message.as_ref().is_none_or(|text| text.0.is_empty())
    }
}

/// A `GenerateContentResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireResponse<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<WireCandidate<'a>>>,
    #[serde(
        borrow,
        default,
        alias = "prompt_feedback",
        deserialize_with = "readable"
    )]
    pub(super) prompt_feedback: Option<WirePromptFeedback<'a>>,
    #[serde(borrow, alias = "usage_metadata")]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, alias = "model_version")]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(borrow, alias = "response_id")]
    pub(super) response_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePromptFeedback<'a> {
    #[serde(borrow, alias = "block_reason")]
    pub(super) block_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCandidate<'a> {
    #[serde(borrow)]
    pub(super) content: Option<WireContent<'a>>,
    #[serde(borrow, alias = "finish_reason")]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(borrow, alias = "finish_message")]
    pub(super) finish_message: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WireContent<'a> {
    #[serde(borrow)]
    pub(super) parts: Option<Vec<WirePart<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, alias = "inline_data")]
    pub(super) inline_data: Option<WireInlineData<'a>>,
    #[serde(default, deserialize_with = "readable")]
    pub(super) thought: Option<bool>,
    #[serde(borrow, default, alias = "file_data", deserialize_with = "readable")]
    pub(super) file_data: Option<WireFileData<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WireInlineData<'a> {
    /// The number with which the scanner replaced the image's text.
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
}

/// A link to a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireFileData<'a> {
    #[serde(borrow, alias = "mime_type")]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(borrow, alias = "file_uri")]
    pub(super) file_uri: Option<Text<'a>>,
}

/// Reads a value, or `None` if it doesn't have the expected form.
fn readable<'de: 'a, 'a, T: Deserialize<'a>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_str(<&RawValue>::deserialize(deserializer)?.get()).ok())
}

/// A text that may be invalid Unicode. Any other value is an empty text.
#[derive(Clone)]
pub(super) struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    /// Returns the text with replacement characters for invalid Unicode.
    pub(super) fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(bytes.to_vec())))
            }
        }

        // serde_json resolves the escapes of bytes, but does not require valid Unicode in them.
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw
            .starts_with('"')
            .then(|| serde_json::Deserializer::from_str(raw).deserialize_bytes(TextVisitor));
        Ok(text
            .and_then(Result::ok)
            .unwrap_or(Text(Cow::Borrowed(b""))))
    }
}

/// Returns the request key of a line that can't be read, if the key precedes the damage.
pub(super) fn key_of_damaged(skeleton: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(skeleton);
    let mut found = Keys::default();
    // The error is already known. Only the keys that were found before it matter.
    let _ = KeySearch {
        keys: &mut found,
        in_metadata: false,
    }
    .deserialize(&mut serde_json::Deserializer::from_str(&text));
    found
        .own
        .or(found.in_metadata)
        .filter(|key| is_own_text(key, skeleton))
}

/// Whether a key that was read with replacement characters contains none that the reading added.
/// Added characters are not a part of any request's key.
pub(super) fn is_own_text(key: &str, skeleton: &[u8]) -> bool {
    !key.contains(char::REPLACEMENT_CHARACTER) || std::str::from_utf8(skeleton).is_ok()
}

#[derive(Default)]
struct Keys {
    own: Option<String>,
    in_metadata: Option<String>,
}

impl Keys {
    fn of(&mut self, in_metadata: bool) -> &mut Option<String> {
        if in_metadata {
            &mut self.in_metadata
        } else {
            &mut self.own
        }
    }
}

struct KeySearch<'k> {
    keys: &'k mut Keys,
    in_metadata: bool,
}

impl<'de> DeserializeSeed<'de> for KeySearch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KeySearch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { keys, in_metadata } = self;
        // A number may be truncated together with its line, so it counts only if something follows
        // it. A text ends with its quote.
        let mut number = None;
        loop {
            let name = map.next_key::<Text<'de>>()?;
            if let Some(number) = number.take() {
                *keys.of(in_metadata) = key_of(number);
            }
            match name.as_ref().map(Text::lossy).as_deref() {
                Some("key") => {
                    let value: &RawValue = map.next_value()?;
                    if value.get().starts_with('"') {
                        *keys.of(in_metadata) = key_of(value);
                    } else {
                        number = Some(value);
                    }
                }
                Some("metadata") if !in_metadata => {
                    map.next_value_seed(KeySearch {
                        keys: &mut *keys,
                        in_metadata: true,
                    })?;
                }
                Some(_) => {
                    map.next_value::<IgnoredAny>()?;
                }
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_of_a_damaged_line_before_the_damage() {
        for (skeleton, key) in [
            (r#"{"key":"k1","response":{"candidates":["#, Some("k1")),
            (
                r#"{"response":{},"metadata":{"key":"k2"},"error""#,
                Some("k2"),
            ),
            (r#"{"metadata":{"key":"k2"},"key":"k1",,"#, Some("k1")),
            (r#"{"response":{"key":"no"},"#, None),
            (r#"{"response":tru,"key":"k1"}"#, None),
            (r#"{"key":17}}"#, Some("17")),
            (r#"{"key":17"#, None),
            (r#"{"metadata":{"key":-1.50},,"#, Some("-1.50")),
            (r#"{"metadata":{"key":-1.50"#, None),
            (r#"{"key":"k1""#, Some("k1")),
            (r#"{"key":true,,"#, None),
            (r#"{"key":""}"#, None),
            (r#"["key","k1"]"#, None),
            ("{\"\u{fffd}\":1,\"key\":\"\u{fffd}\"}}", Some("\u{fffd}")),
            ("", None),
        ] {
            assert_eq!(
                key_of_damaged(skeleton.as_bytes()).as_deref(),
                key,
                "{skeleton}"
            );
        }
    }

    #[test]
    fn a_key_with_invalid_unicode_counts_as_missing() {
        assert_eq!(
            key_of_damaged(b"{\"\xff\":1,\"key\":\"k1\",,"),
            Some("k1".to_owned())
        );
        assert_eq!(key_of_damaged(b"{\"key\":\"k\xff\",,"), None);
        assert_eq!(key_of_damaged(br#"{"key":"\ud800",,"#), None);
    }

    #[test]
    fn invalid_unicode_in_a_text_does_not_lose_the_line() {
        let line = b"{\"key\":\"k\",\"error\":{\"message\":\"a\\ud83d \xff\\u0000b\"}}";
        let line = String::from_utf8_lossy(line);
        let wire: WireLine<'_> = serde_json::from_str(&line).unwrap();
        let message = wire.error().unwrap().message.unwrap().lossy().into_owned();
        assert!(
            message.starts_with('a') && message.ends_with("\u{fffd}\0b"),
            "{message:?}"
        );
    }
}
