//! A line without its images, as JSON: borrowed, and as forgiving as an answer that was paid for
//! deserves.
//!
//! What holds an image must be as the contract says, so that no image can vanish unseen: else the
//! line is bad, and its request is made again. What only describes it may be anything, and is then
//! as good as missing. Texts may be broken Unicode (a model can stop in the middle of an emoji);
//! members that aren't named here may be anything too.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One line of a result file. By its contract it has either a response or an error.
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
    // By the contract, the members below stand in the response. They are also read from a line that
    // is a response itself, with a key. And what says that tokens were used is believed wherever it
    // stands: they are charged for.
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
    /// The request key: the line's own, or that of the metadata, which is where inline requests
    /// carry it. A key of broken Unicode is none: no request has such a key.
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

    /// The response: the line's member, or else the line itself if it has what only a response has.
    ///
    /// # Errors
    /// When the line itself is no response of the right form.
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

    /// What the line says went wrong.
    pub(super) fn error(&self) -> Option<WireError<'a>> {
        self.error.map(WireError::read)
    }
}

/// A request key: a text, or a number, whose digits are taken as they are written.
fn key_of(value: &RawValue) -> Option<String> {
    word(value)
        .filter(|key| !key.is_empty() && key.len() <= KEY_BYTES)
        .map(Cow::into_owned)
}

/// The longest request key. Longer ones are refused when a job is planned.
const KEY_BYTES: usize = 64 * 1024;

/// A text, or a number as it is written. Broken Unicode is no text.
fn word(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).ok().map(Cow::Owned),
        Some(b'-' | b'0'..=b'9') => Some(Cow::Borrowed(text)),
        Some(_) | None => None,
    }
}

/// What went wrong: a `google.rpc.Status`, or what is written in place of one.
#[derive(Default)]
pub(super) struct WireError<'a> {
    /// A number or a name, as written.
    pub(super) code: Option<Cow<'a, str>>,
    /// A name, as written.
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) message: Option<Text<'a>>,
}

impl<'a> WireError<'a> {
    /// Reads an object; a text, which is the message or the name of a code; or a number, which is
    /// the code. Anything else is an error of which nothing is known.
    fn read(value: &'a RawValue) -> Self {
        let (error, inner) = Self::read_with_inner(value);
        match inner {
            // Some proxies put the envelope of an answer, which has an `error` of its own, into
            // that of a line.
            Some(inner) if error.says_nothing() => Self::read_with_inner(inner).0,
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

    /// Whether it neither names a reason nor describes one.
    pub(super) fn says_nothing(&self) -> bool {
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
    /// The number that the scanner put in place of the image's text.
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
}

/// A file that is given by its address.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireFileData<'a> {
    #[serde(borrow, alias = "mime_type")]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(borrow, alias = "file_uri")]
    pub(super) file_uri: Option<Text<'a>>,
}

/// A value if it can be read as what it should be, else none.
fn readable<'de: 'a, 'a, T: Deserialize<'a>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_str(<&RawValue>::deserialize(deserializer)?.get()).ok())
}

/// A text that may be no valid Unicode; empty if it is no text at all.
#[derive(Clone)]
pub(super) struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    /// The text, with replacement characters for what isn't Unicode.
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

        // As bytes, serde_json resolves escapes but asks for no valid Unicode.
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw
            .starts_with('"')
            .then(|| serde_json::Deserializer::from_str(raw).deserialize_bytes(TextVisitor));
        Ok(text
            .and_then(Result::ok)
            .unwrap_or(Text(Cow::Borrowed(b""))))
    }
}

/// The request key of a line that can't be read, if it stands before whatever is wrong with it.
pub(super) fn key_of_damaged(skeleton: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(skeleton);
    let mut found = Keys::default();
    // The error is known already; what counts is what was seen before it.
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

/// Whether a key that was read from a skeleton with replacement characters stood there without
/// ours: those are no part of any request's key.
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
        // A number may be cut where the line is: only what follows it shows that it is whole. A
        // text has its quote.
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
    fn the_key_of_a_damaged_line_is_found_before_the_damage() {
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
    fn a_key_of_broken_unicode_is_no_key() {
        assert_eq!(
            key_of_damaged(b"{\"\xff\":1,\"key\":\"k1\",,"),
            Some("k1".to_owned())
        );
        assert_eq!(key_of_damaged(b"{\"key\":\"k\xff\",,"), None);
        assert_eq!(key_of_damaged(br#"{"key":"\ud800",,"#), None);
    }

    #[test]
    fn broken_unicode_in_a_text_is_no_reason_to_lose_the_line() {
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
