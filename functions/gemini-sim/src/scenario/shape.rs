//! Unusual shapes of result lines, which the contract does not describe but clients have received.
//!
//! A rule has the form `SHAPE:PERCENT`, as in `no-key:20`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::faults::list;

/// An unusual shape of a result line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The line carries no key.
    NoKey,
    /// The key is a JSON number. Applies only to keys that are the digits of a number below 2^64,
    /// without leading zeros.
    NumericKey,
    /// The members of the response are in the line itself, without `response` around them.
    NoWrapper,
    /// The data of the image is a `data:` URL instead of plain base64.
    DataUrl,
    /// The only image part carries `thought: true`. It is the final image nevertheless.
    ThoughtOnly,
    /// The image is the URI of a file instead of data.
    FileData,
    /// The image is a `data:` URL in a text part.
    ImageAsText,
    /// The names of the response's members are in snake_case.
    SnakeCase,
    /// The texts of the response, such as the version of the model and the reason of a refusal,
    /// contain what a terminal, a Markdown viewer or a browser would obey.
    HostileText,
    /// An error with an HTTP code and the name of its status.
    ErrorHttp,
    /// An error that is a string.
    ErrorText,
    /// An error whose code is a string.
    ErrorCodeText,
    /// An error with the name of its status and no code.
    ErrorStatus,
    /// An error without content.
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

/// Gives a share of the lines a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ShapeRule {
    /// The shape.
    pub shape: Shape,
    /// The share in percent of the lines that could have the shape, drawn at random.
    pub percent: u8,
}

/// An invalid [`ShapeRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeRuleError {
    /// The rule does not have two parts.
    #[error("invalid shape: expected SHAPE:PERCENT, as in no-key:20")]
    Form,
    /// There is no such shape.
    #[error("unknown shape {0:?}: expected one of {shapes}", shapes = list(Shape::NAMES.iter().map(|(_, name)| *name)))]
    Shape(String),
    /// The percentage is invalid.
    #[error("invalid percentage {0:?}: expected a whole number from 0 to 100")]
    Percent(String),
}

impl Shape {
    /// All shapes, with their names in rules.
    pub(crate) const NAMES: [(Self, &str); 19] = [
        (Self::NoKey, "no-key"),
        (Self::NumericKey, "numeric-key"),
        (Self::NoWrapper, "no-wrapper"),
        (Self::DataUrl, "data-url"),
        (Self::ThoughtOnly, "thought-only"),
        (Self::FileData, "file-data"),
        (Self::ImageAsText, "image-as-text"),
        (Self::SnakeCase, "snake-case"),
        (Self::HostileText, "hostile-text"),
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

        // Accept a percent sign, because other rules require one.
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
    fn invalid_rules_are_rejected_with_the_valid_names() {
        let message = |text: &str| text.parse::<ShapeRule>().expect_err("wrong").to_string();
        assert!(message("no-key").contains("SHAPE:PERCENT"));
        assert!(
            message("keyless:5")
                .starts_with("unknown shape \"keyless\": expected one of no-key, numeric-key, ")
        );
        assert_eq!(
            message("no-key:101"),
            "invalid percentage \"101\": expected a whole number from 0 to 100"
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
        fn rules_round_trip(
            named in proptest::sample::select(Shape::NAMES.to_vec()),
            percent in 0..=100_u8,
        ) {
            let rule = ShapeRule { shape: named.0, percent };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
