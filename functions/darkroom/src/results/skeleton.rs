//! A line without its images, as JSON: borrowed, and as forgiving as an answer that was paid for deserves.
//!
//! What holds an image must be as the contract says, so that no image can vanish unseen: else the line is bad, and its
//! request is made again. What only describes it may be anything, and is then as good as missing. Texts may be broken
//! Unicode (a model can stop in the middle of an emoji); members that aren't named here may be anything too.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One line of a result file. By its contract it has either a response or an error.
#[derive(Deserialize)]
pub(super) struct WireLine<'a> {
    #[serde(default, deserialize_with = "readable")]
    key: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<WireResponse<'a>>,
    #[serde(borrow, default, deserialize_with = "readable")]
    pub(super) error: Option<WireError<'a>>,
    /// Not by the contract, but what says that tokens were used is believed: they are charged for.
    #[serde(borrow, default, rename = "usageMetadata")]
    pub(super) usage_metadata: Option<&'a RawValue>,
}

impl WireLine<'_> {
    /// The request key: the line's own, or that of the metadata, which is where inline requests carry it. A key that is
    /// no text, or broken Unicode, is none: no request has such a key.
    pub(super) fn take_key(&mut self) -> Option<String> {
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default, deserialize_with = "readable")]
            key: Option<String>,
        }
        let in_metadata = || serde_json::from_str::<Metadata>(self.metadata?.get()).ok()?.key;
        self.key.take().or_else(in_metadata).filter(|key| !key.is_empty())
    }
}

/// A `google.rpc.Status`.
#[derive(Deserialize)]
pub(super) struct WireError<'a> {
    #[serde(default, deserialize_with = "readable")]
    pub(super) code: Option<i64>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
}

/// A `GenerateContentResponse`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireResponse<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<WireCandidate<'a>>>,
    #[serde(borrow, default, deserialize_with = "readable")]
    pub(super) prompt_feedback: Option<WirePromptFeedback<'a>>,
    #[serde(borrow)]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) response_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePromptFeedback<'a> {
    #[serde(borrow)]
    pub(super) block_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCandidate<'a> {
    #[serde(borrow)]
    pub(super) content: Option<WireContent<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
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
}

#[derive(Deserialize)]
pub(super) struct WireInlineData<'a> {
    /// The number that the scanner put in place of the image's text.
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
}

/// A value if it can be read as what it should be, else none.
fn readable<'de: 'a, 'a, T: Deserialize<'a>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
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
        let text = raw.starts_with('"').then(|| serde_json::Deserializer::from_str(raw).deserialize_bytes(TextVisitor));
        Ok(text.and_then(Result::ok).unwrap_or(Text(Cow::Borrowed(b""))))
    }
}

/// The request key of a line that can't be read, if it stands before whatever is wrong with it.
pub(super) fn key_of_damaged(skeleton: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(skeleton);
    let mut found = Keys::default();
    // The error is known already; what counts is what was seen before it.
    let _ =
        KeySearch { keys: &mut found, in_metadata: false }.deserialize(&mut serde_json::Deserializer::from_str(&text));
    found.own.or(found.in_metadata).filter(|key| !key.is_empty() && is_own_text(key, skeleton))
}

/// Whether a key that was read from a skeleton with replacement characters stood there without ours: those are no part
/// of any request's key.
pub(super) fn is_own_text(key: &str, skeleton: &[u8]) -> bool {
    !key.contains(char::REPLACEMENT_CHARACTER) || std::str::from_utf8(skeleton).is_ok()
}

#[derive(Default)]
struct Keys {
    own: Option<String>,
    in_metadata: Option<String>,
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
        while let Some(name) = map.next_key::<Text<'de>>()? {
            match &*name.lossy() {
                "key" if self.in_metadata => self.keys.in_metadata = Some(map.next_value()?),
                "key" => self.keys.own = Some(map.next_value()?),
                "metadata" if !self.in_metadata => {
                    map.next_value_seed(KeySearch { keys: self.keys, in_metadata: true })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_damaged_line_is_found_before_the_damage() {
        for (skeleton, key) in [
            (r#"{"key":"k1","response":{"candidates":["#, Some("k1")),
            (r#"{"response":{},"metadata":{"key":"k2"},"error""#, Some("k2")),
            (r#"{"metadata":{"key":"k2"},"key":"k1",,"#, Some("k1")),
            (r#"{"response":{"key":"no"},"#, None),
            (r#"{"response":tru,"key":"k1"}"#, None),
            (r#"{"key":17}"#, None),
            (r#"{"key":""}"#, None),
            (r#"["key","k1"]"#, None),
            ("{\"\u{fffd}\":1,\"key\":\"\u{fffd}\"}}", Some("\u{fffd}")),
            ("", None),
        ] {
            assert_eq!(key_of_damaged(skeleton.as_bytes()).as_deref(), key, "{skeleton}");
        }
    }

    #[test]
    fn a_key_of_broken_unicode_is_no_key() {
        assert_eq!(key_of_damaged(b"{\"\xff\":1,\"key\":\"k1\",,"), Some("k1".to_owned()));
        assert_eq!(key_of_damaged(b"{\"key\":\"k\xff\",,"), None);
        assert_eq!(key_of_damaged(br#"{"key":"\ud800",,"#), None);
    }

    #[test]
    fn broken_unicode_in_a_text_is_no_reason_to_lose_the_line() {
        let line = b"{\"key\":\"k\",\"error\":{\"message\":\"a\\ud83d \xff\\u0000b\"}}";
        let line = String::from_utf8_lossy(line);
        let wire: WireLine<'_> = serde_json::from_str(&line).unwrap();
        let message = wire.error.unwrap().message.unwrap().lossy().into_owned();
        assert!(message.starts_with('a') && message.ends_with("\u{fffd}\0b"), "{message:?}");
    }
}
