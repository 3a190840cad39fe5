//! The form of a result line: its key, the member around its response, the names of members, its
//! image.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::wire::proto::snake;

/// The format that the service states for every image.
const MIME_TYPE: &str = "image/jpeg";

/// A text that a terminal, a Markdown viewer or a browser would obey if a client showed it
/// unchanged: escape sequences, a mark that reverses text, a cell border, a code span, a link, a
/// script, a mention and a heading.
pub(crate) const HOSTILE_TEXT: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}| `x` \
     [link](javascript:alert(1)) <script>alert(1)</script> @everyone\r\n# Owned";

/// The form of a result line. The default is that of the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LineForm {
    pub(crate) key: KeyForm,
    /// Whether the members of the response are in the line itself.
    pub(crate) unwrapped: bool,
    /// Whether the names of the response's members are in snake_case.
    pub(crate) snake_case: bool,
    /// Whether the texts of the response are hostile.
    pub(crate) hostile_text: bool,
    pub(crate) image: ImageForm,
}

/// How a line carries its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyForm {
    /// As a string.
    #[default]
    Text,
    /// As a number, if the key is one.
    Number,
    /// Not at all.
    Absent,
}

/// How a line holds its image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageForm {
    /// As base64 in `inlineData`.
    #[default]
    InlineData,
    /// As a `data:` URL in `inlineData`.
    DataUrl,
    /// As base64 in `inlineData` of a part that is marked as a thought.
    OnlyThought,
    /// As the URI of a file. The output does not contain the bytes.
    FileData,
    /// As a `data:` URL in a text part.
    Text,
}

impl ImageForm {
    /// Returns whether a client can be expected to decode the image, because its bytes are in an
    /// `inlineData`.
    pub fn is_decodable(self) -> bool {
        match self {
            Self::InlineData | Self::DataUrl | Self::OnlyThought => true,
            Self::FileData | Self::Text => false,
        }
    }

    /// Returns the part that holds the image. `signature` is the image's thought signature; `file` is
    /// the URI of a file.
    pub(crate) fn part(self, bytes: &[u8], signature: &str, file: &str) -> Value {
        let base64 = base64_simd::STANDARD.encode_to_string(bytes);
        let url = || format!("data:{MIME_TYPE};base64,{base64}");
        match self {
            Self::InlineData => {
                json!({"inlineData": inline(base64), "thoughtSignature": signature})
            }
            Self::DataUrl => json!({"inlineData": inline(url()), "thoughtSignature": signature}),
            Self::OnlyThought => {
                json!({"inlineData": inline(base64), "thought": true, "thoughtSignature": signature})
            }
            Self::FileData => {
                json!({"fileData": {"mimeType": MIME_TYPE, "fileUri": file}, "thoughtSignature": signature})
            }
            Self::Text => json!({"text": format!("![image]({})", url())}),
        }
    }
}

/// The `Blob` of an image.
pub(crate) fn inline(data: String) -> Value {
    json!({"mimeType": MIME_TYPE, "data": data})
}

impl KeyForm {
    /// Returns the key as the line carries it, or `None` if it carries none.
    pub(crate) fn key(self, key: &str) -> Option<Value> {
        // As a number, a key with leading zeros or with too many digits would become another key.
        let number = || {
            key.parse::<u64>()
                .ok()
                .filter(|number| number.to_string() == key)
        };
        match self {
            Self::Text => Some(key.into()),
            Self::Number => Some(number().map_or_else(|| key.into(), Value::from)),
            Self::Absent => None,
        }
    }
}

impl LineForm {
    /// Returns whether the line has the form of the contract.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the members of a line with this response.
    pub(crate) fn response(self, mut response: Value) -> Map<String, Value> {
        if self.hostile_text {
            make_hostile(&mut response);
        }
        let response = if self.snake_case {
            in_snake_case(response)
        } else {
            response
        };
        match response {
            Value::Object(members) if self.unwrapped => members,
            response => Map::from_iter([("response".to_owned(), response)]),
        }
    }
}

/// Replaces the texts of a response, and adds a member with a hostile name. The image stays.
fn make_hostile(response: &mut Value) {
    let text = || Value::from(HOSTILE_TEXT);
    if let Some(reason) = response.pointer_mut("/promptFeedback/blockReason") {
        *reason = text();
    }
    if let Some(candidate) = response.pointer_mut("/candidates/0") {
        candidate["finishMessage"] = text();
    }
    for name in ["modelVersion", "responseId", HOSTILE_TEXT] {
        response[name] = text();
    }
}

fn in_snake_case(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (snake(&name), in_snake_case(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.into_iter().map(in_snake_case).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_replace_the_reason_of_a_refusal() {
        let form = LineForm {
            hostile_text: true,
            ..LineForm::default()
        };
        let refused = json!({"promptFeedback": {"blockReason": "SAFETY"}});
        let line = Value::from(form.response(refused));
        assert_eq!(
            line["response"]["promptFeedback"]["blockReason"],
            HOSTILE_TEXT
        );
        assert_eq!(line["response"]["modelVersion"], HOSTILE_TEXT);
    }

    #[test]
    fn keys_become_numbers_only_if_lossless() {
        let number = |key: &str| KeyForm::Number.key(key);
        assert_eq!(number("17"), Some(json!(17)));
        assert_eq!(number("18446744073709551615"), Some(json!(u64::MAX)));
        for text in ["007", "18446744073709551616", "+1", "1.5", "a", ""] {
            assert_eq!(number(text), Some(json!(text)));
        }
        assert_eq!(KeyForm::Absent.key("17"), None);
    }

    #[test]
    fn unwrapped_responses_are_in_the_line() {
        let form = LineForm {
            unwrapped: true,
            snake_case: true,
            ..LineForm::default()
        };
        let response = json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 7}});
        let members = Value::from(form.response(response.clone()));
        assert_eq!(
            members,
            json!({"candidates": [{"finish_reason": "STOP"}], "usage_metadata": {"prompt_token_count": 7}})
        );
        assert_eq!(
            Value::from(LineForm::default().response(response.clone())),
            json!({"response": response})
        );
    }
}
