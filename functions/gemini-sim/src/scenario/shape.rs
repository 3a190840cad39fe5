//! Odd shapes of result lines: what the contract does not say, and what clients have met all the
//! same.
//!
//! A rule is written `SHAPE:PERCENT`, as in `no-key:20`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::faults::list;

/// An odd shape of a result line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The line carries no key.
    NoKey,
    /// The key is a number in JSON. Only where the key is the digits of a number below 2^64,
    /// without leading zeros.
    NumericKey,
    /// The members of the response stand in the line itself, without `response` around them.
    NoWrapper,
    /// The data of the image is a whole `data:` URL instead of base64 alone.
    DataUrl,
    /// The only image part carries `thought: true`. It is the image all the same.
    ThoughtOnly,
    /// The image is the URI of a file instead of data.
    FileData,
    /// The image is a `data:` URL in a text part.
    ImageAsText,
    /// The names of the response's members are in snake_case.
    SnakeCase,
    /// An error with an HTTP code and the name of its status.
    ErrorHttp,
    /// An error that is one text.
    ErrorText,
    /// An error whose code is a text.
    ErrorCodeText,
    /// An error with the name of its status and no code.
    ErrorStatus,
    /// An error that says nothing.
    ErrorEmpty,
    /// A candidate that ended with `NO_IMAGE`.
    NoImage,
    /// A candidate that ended with `IMAGE_OTHER`.
    ImageOther,
    /// A candidate that ended with `OTHER`.
    Other,
    /// A candidate that ended with `MALFORMED_RESPONSE`.
    Malformed,
    /// A response without any member.
    EmptyResponse,
}

/// How many of the lines have a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ShapeRule {
    /// The shape.
    pub shape: Shape,
    /// So many of a hundred lines that could have it, drawn.
    pub percent: u8,
}

/// A text that is no [`ShapeRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeRuleError {
    /// It has not two parts.
    #[error("a shape is written SHAPE:PERCENT, as in no-key:20")]
    Form,
    /// No such shape.
    #[error("{0:?} is no shape; there are {shapes}", shapes = list(Shape::NAMES.iter().map(|(_, name)| *name)))]
    Shape(String),
    /// No share.
    #[error("{0:?} is no share: write a whole number from 0 to 100")]
    Percent(String),
}

impl Shape {
    /// All of them, with their names in rules.
    pub(crate) const NAMES: [(Self, &str); 18] = [
        (Self::NoKey, "no-key"),
        (Self::NumericKey, "numeric-key"),
        (Self::NoWrapper, "no-wrapper"),
        (Self::DataUrl, "data-url"),
        (Self::ThoughtOnly, "thought-only"),
        (Self::FileData, "file-data"),
        (Self::ImageAsText, "image-as-text"),
        (Self::SnakeCase, "snake-case"),
        (Self::ErrorHttp, "error-http"),
        (Self::ErrorText, "error-text"),
        (Self::ErrorCodeText, "error-code-text"),
        (Self::ErrorStatus, "error-status"),
        (Self::ErrorEmpty, "error-empty"),
        (Self::NoImage, "no-image"),
        (Self::ImageOther, "image-other"),
        (Self::Other, "other"),
        (Self::Malformed, "malformed"),
        (Self::EmptyResponse, "empty-response"),
    ];
}

impl fmt::Display for ShapeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Shape::NAMES
            .iter()
            .find(|(shape, _)| *shape == self.shape)
            .map_or("", |(_, name)| name);
        write!(f, "{name}:{}", self.percent)
    }
}

impl FromStr for ShapeRule {
    type Err = ShapeRuleError;

    fn from_str(text: &str) -> Result<Self, ShapeRuleError> {
        let (name, percent) = text.split_once(':').ok_or(ShapeRuleError::Form)?;
        let named = Shape::NAMES.iter().find(|(_, known)| *known == name);
        let (shape, _) = named.ok_or_else(|| ShapeRuleError::Shape(name.to_owned()))?;
        // A percent sign is as usual elsewhere.
        let share = percent
            .strip_suffix('%')
            .unwrap_or(percent)
            .parse()
            .ok()
            .filter(|share| *share <= 100);
        let percent = share.ok_or_else(|| ShapeRuleError::Percent(percent.to_owned()))?;
        Ok(Self {
            shape: *shape,
            percent,
        })
    }
}

impl From<ShapeRule> for String {
    fn from(rule: ShapeRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for ShapeRule {
    type Error = ShapeRuleError;

    fn try_from(text: String) -> Result<Self, ShapeRuleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_rules_say_what_there_is() {
        let told = |text: &str| text.parse::<ShapeRule>().expect_err("wrong").to_string();
        assert!(told("no-key").contains("SHAPE:PERCENT"));
        assert!(
            told("keyless:5")
                .starts_with("\"keyless\" is no shape; there are no-key, numeric-key, ")
        );
        assert_eq!(
            told("no-key:101"),
            "\"101\" is no share: write a whole number from 0 to 100"
        );
        assert_eq!(
            "no-key:20%".parse(),
            Ok(ShapeRule {
                shape: Shape::NoKey,
                percent: 20
            })
        );
    }

    proptest! {
        #[test]
        fn rule_that_is_written_is_read_again(
            named in proptest::sample::select(Shape::NAMES.to_vec()),
            percent in 0..=100_u8,
        ) {
            let rule = ShapeRule { shape: named.0, percent };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
