//! Rules about the outputs of batches, in the notation of flags and fields: `30m:first-2` for late
//! ones, `20%:compact` for arrays.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::scenario::{
    duration::{self, DurationError},
    selector::{Selector, SelectorError},
};

/// When an operation is shown as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoneFlag {
    /// As soon as the batch has ended.
    #[default]
    Early,
    /// As soon as the output is available.
    Late,
    /// Never.
    Absent,
}

/// Makes the outputs of batches late. Written `30m`, which applies to all batches, or
/// `30m:first-2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LateOutputRule {
    /// The delay between the end of the batch and its output. Whole milliseconds.
    pub delay: Duration,
    /// The batches, by the ordinal of their creation or as a share.
    pub which: Selector,
}

/// The layout of an output file that is one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrayStyle {
    /// On one line: `[{…},{…}]`.
    Compact,
    /// Each element and each bracket on its own line.
    Lines,
}

/// Makes the output files of batches one array. Written `3`, with a random style, or `3:compact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ArrayRule {
    /// The batches, by the ordinal of their creation or as a share.
    pub which: Selector,
    /// The style; `None` for a random one for each batch.
    pub style: Option<ArrayStyle>,
}

/// An invalid rule about outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputRuleError {
    /// The duration is invalid.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// The selector is invalid.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// There is no such style.
    #[error("invalid array style {0:?}: expected compact or lines")]
    Style(String),
}

impl ArrayStyle {
    fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Lines => "lines",
        }
    }
}

impl fmt::Display for LateOutputRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", duration::format(self.delay), self.which)
    }
}

impl FromStr for LateOutputRule {
    type Err = OutputRuleError;

    fn from_str(text: &str) -> Result<Self, OutputRuleError> {
        let (delay, which) = text.split_once(':').unwrap_or((text, "100%"));
        Ok(Self {
            delay: duration::parse(delay)?,
            which: which.parse()?,
        })
    }
}

impl fmt::Display for ArrayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.which)?;
        self.style
            .map_or(Ok(()), |style| write!(f, ":{}", style.name()))
    }
}

impl FromStr for ArrayRule {
    type Err = OutputRuleError;

    fn from_str(text: &str) -> Result<Self, OutputRuleError> {
        let Some((which, name)) = text.split_once(':') else {
            return Ok(Self {
                which: text.parse()?,
                style: None,
            });
        };
        let mut styles = [ArrayStyle::Compact, ArrayStyle::Lines].into_iter();
        let style = styles
            .find(|style| style.name() == name)
            .ok_or_else(|| OutputRuleError::Style(name.to_owned()))?;
        Ok(Self {
            which: which.parse()?,
            style: Some(style),
        })
    }
}

impl From<LateOutputRule> for String {
    fn from(rule: LateOutputRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for LateOutputRule {
    type Error = OutputRuleError;

    fn try_from(text: String) -> Result<Self, OutputRuleError> {
        text.parse()
    }
}

impl From<ArrayRule> for String {
    fn from(rule: ArrayRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for ArrayRule {
    type Error = OutputRuleError;

    fn try_from(text: String) -> Result<Self, OutputRuleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::selector::tests::any_which;

    #[test]
    fn a_late_output_applies_to_all_batches_by_default() {
        let hour = Duration::from_secs(3600);
        assert_eq!(
            "1h".parse(),
            Ok(LateOutputRule {
                delay: hour,
                which: Selector::Percent(100)
            })
        );
        assert_eq!(
            "1h:first-2".parse(),
            Ok(LateOutputRule {
                delay: hour,
                which: Selector::First(2)
            })
        );
    }

    #[test]
    fn invalid_rules_are_rejected_with_a_reason() {
        let late = |text: &str| {
            text.parse::<LateOutputRule>()
                .expect_err("wrong")
                .to_string()
        };
        assert!(late("later").contains("invalid duration \"later\""));
        assert!(late("1h:some").contains("20%"));
        let array = |text: &str| text.parse::<ArrayRule>().expect_err("wrong").to_string();
        assert_eq!(
            array("3:pretty"),
            "invalid array style \"pretty\": expected compact or lines"
        );
        assert!(array("compact").contains("20%"));
    }

    proptest! {
        #[test]
        fn rules_round_trip(
            which in any_which(),
            milliseconds in any::<u64>(),
            style in proptest::sample::select(vec![None, Some(ArrayStyle::Compact), Some(ArrayStyle::Lines)]),
        ) {
            let late = LateOutputRule { delay: Duration::from_millis(milliseconds), which };
            prop_assert_eq!(late.to_string().parse(), Ok(late));
            let array = ArrayRule { which, style };
            prop_assert_eq!(array.to_string().parse(), Ok(array));
        }
    }
}
