//! The tokens that a reply reports.

use std::{fmt, ops::Add};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The tokens of one reply, by price.
///
/// It is read from Gemini's `usageMetadata`, and from the form that this type itself writes:
/// `{"prompt_tokens":1156,"output_image_tokens":1120,"output_text_tokens":368,"thought_tokens":483}`.
/// A count that is missing or unreadable is 0: an odd count must not lose an image that was paid
/// for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Counts")]
pub struct Usage {
    /// Input tokens, including tool results.
    pub prompt_tokens: u64,
    /// Output tokens of images.
    pub output_image_tokens: u64,
    /// Output tokens of text.
    pub output_text_tokens: u64,
    /// Thinking tokens, which are priced as text.
    pub thought_tokens: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Counts {
    #[serde(alias = "prompt_tokens", alias = "prompt_token_count")]
    prompt_token_count: Count,
    #[serde(alias = "tool_use_prompt_token_count")]
    tool_use_prompt_token_count: Count,
    #[serde(alias = "candidates_token_count")]
    candidates_token_count: Count,
    /// The name that newer models use for `candidatesTokenCount`.
    #[serde(alias = "response_token_count")]
    response_token_count: Count,
    #[serde(alias = "candidates_tokens_details")]
    candidates_tokens_details: Option<Vec<Detail>>,
    #[serde(alias = "thought_tokens", alias = "thoughts_token_count")]
    thoughts_token_count: Count,
    #[serde(rename = "output_image_tokens")]
    image: Count,
    #[serde(rename = "output_text_tokens")]
    text: Count,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    modality: Option<String>,
    #[serde(alias = "token_count")]
    token_count: Count,
}

impl Usage {
    /// Reads the `usageMetadata` of a reply. `holds_image` states whether the reply has an image.
    ///
    /// # Errors
    /// Returns serde's error if it is not an object.
    pub(crate) fn of_reply(json: &str, holds_image: bool) -> Result<Self, serde_json::Error> {
        Ok(Self::of(serde_json::from_str(json)?, holds_image))
    }

    /// The details may list images only; the remaining output is text. Without details the whole
    /// output of a reply with an image counts as image, which is more expensive, and the whole
    /// output of any other reply counts as text.
    fn of(counts: Counts, holds_image: bool) -> Self {
        let output = counts
            .candidates_token_count
            .0
            .max(counts.response_token_count.0);
        let images = counts.candidates_tokens_details.map_or(
            if holds_image { output } else { 0 },
            |details| {
                details
                    .iter()
                    .filter(|detail| {
                        detail
                            .modality
                            .as_ref()
                            .is_some_and(|name| name.eq_ignore_ascii_case("IMAGE"))
                    })
                    .fold(0, |sum, detail| detail.token_count.0.saturating_add(sum))
            },
        );
        Self {
            prompt_tokens: counts
                .prompt_token_count
                .0
                .saturating_add(counts.tool_use_prompt_token_count.0),
            output_image_tokens: images.max(counts.image.0),
            output_text_tokens: output.saturating_sub(images).max(counts.text.0),
            thought_tokens: counts.thoughts_token_count.0,
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            output_image_tokens: self
                .output_image_tokens
                .saturating_add(other.output_image_tokens),
            output_text_tokens: self
                .output_text_tokens
                .saturating_add(other.output_text_tokens),
            thought_tokens: self.thought_tokens.saturating_add(other.thought_tokens),
        }
    }
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        Self::of(counts, true)
    }
}

/// A count in JSON: a number, or a number as text, which is how Google's JSON writes 64-bit
/// numbers.
#[derive(Clone, Copy, Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> de::Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count of tokens")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(count))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count(count.try_into().unwrap_or(0)))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // `as` saturates, and converts NaN to 0.
        Ok(Count(count as u64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_str<E>(self, count: &str) -> Result<Count, E> {
        Ok(Count(count.parse().unwrap_or(0)))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<Count, A::Error> {
        while members
            .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
            .is_some()
        {}
        Ok(Count(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_output_that_the_details_leave_out_is_text() {
        let read = usage(
            r#"{"promptTokenCount":1156,"candidatesTokenCount":1488,"thoughtsTokenCount":483,"totalTokenCount":3127,
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1120}],"serviceTier":"standard"}"#,
        );
        let expected = Usage {
            prompt_tokens: 1156,
            output_image_tokens: 1120,
            output_text_tokens: 368,
            thought_tokens: 483,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn names_may_be_in_snake_case() {
        let read = usage(
            r#"{"prompt_token_count":6,"tool_use_prompt_token_count":"4","candidates_token_count":1488,
                "candidates_tokens_details":[{"modality":"image","token_count":1120}],"thoughts_token_count":483}"#,
        );
        let expected = Usage {
            prompt_tokens: 10,
            output_image_tokens: 1120,
            output_text_tokens: 368,
            thought_tokens: 483,
        };
        assert_eq!(read, expected);
        assert_eq!(
            usage(r#"{"response_token_count":7}"#).output_image_tokens,
            7
        );
    }

    #[test]
    fn counts_may_be_text_and_may_be_missing() {
        assert_eq!(usage("{}"), Usage::default());
        let read = usage(
            r#"{"promptTokenCount":"10","candidatesTokenCount":"1290","thoughtsTokenCount":null}"#,
        );
        assert_eq!(
            (
                read.prompt_tokens,
                read.output_image_tokens,
                read.output_text_tokens
            ),
            (10, 1290, 0)
        );
    }

    #[test]
    fn the_output_of_a_reply_without_an_image_is_text() {
        let read = Usage::of_reply(
            r#"{"promptTokenCount":10,"candidatesTokenCount":15}"#,
            false,
        )
        .unwrap();
        assert_eq!((read.output_image_tokens, read.output_text_tokens), (0, 15));
        let detailed = r#"{"candidatesTokenCount":15,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":15}]}"#;
        assert_eq!(
            Usage::of_reply(detailed, false)
                .unwrap()
                .output_image_tokens,
            15
        );
    }

    #[test]
    fn an_unreadable_count_is_zero() {
        let read = usage(
            r#"{"promptTokenCount":-5,"candidatesTokenCount":{"a":[1]},"thoughtsTokenCount":"many"}"#,
        );
        assert_eq!(read, Usage::default());
    }

    #[test]
    fn a_written_usage_reads_back() {
        let written = Usage {
            prompt_tokens: 1,
            output_image_tokens: 2,
            output_text_tokens: 3,
            thought_tokens: 4,
        };
        assert_eq!(usage(&serde_json::to_string(&written).unwrap()), written);
    }
}
