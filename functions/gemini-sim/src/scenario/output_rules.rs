//! What flags and fields say of the outputs of batches: `30m:first-2` for a late one, `20%:compact`
//! for an array.

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::scenario::{
    duration::{self, DurationError},
    selector::{Selector, SelectorError},
};

/// When an operation says that it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DoneFlag {
    /// From the end of the batch on.
    #[default]
    Early,
    /// From the moment on at which the output of the batch is there.
    Late,
    /// Never.
    Absent,
}

/// Batches whose output comes late. Written `30m`, which means all batches, or `30m:first-2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LateOutput {
    /// How long after the end of the batch its output comes. Whole milliseconds.
    pub delay: Duration,
    /// The batches, by the ordinal of their creation or as a share.
    pub which: Selector,
}

/// How an output file that is one array is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrayStyle {
    /// On one line: `[{…},{…}]`.
    Compact,
    /// Each element on a line of its own, the brackets too.
    Lines,
}

/// Batches whose output file is one array. Written `3`, whose style is drawn, or `3:compact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ArrayRule {
    /// The batches, by the ordinal of their creation or as a share.
    pub which: Selector,
    /// The style; it is drawn for each batch where there is none.
    pub style: Option<ArrayStyle>,
}

/// A text that is no rule about outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputRuleError {
    /// No duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Nothing that means some of the batches.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// No such style of an array.
    #[error("{0:?} is no style of an array; there are compact and lines")]
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

impl fmt::Display for LateOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", duration::written(self.delay), self.which)
    }
}

impl FromStr for LateOutput {
    type Err = OutputRuleError;

    fn from_str(text: &str) -> Result<Self, OutputRuleError> {
        let (delay, which) = text.split_once(':').unwrap_or((text, "100%"));
        Ok(Self {
            delay: duration::read(delay)?,
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

impl From<LateOutput> for String {
    fn from(rule: LateOutput) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for LateOutput {
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
    fn late_outputs_mean_all_batches_unless_they_say_which() {
        let hour = Duration::from_secs(3600);
        assert_eq!(
            "1h".parse(),
            Ok(LateOutput {
                delay: hour,
                which: Selector::Percent(100)
            })
        );
        assert_eq!(
            "1h:first-2".parse(),
            Ok(LateOutput {
                delay: hour,
                which: Selector::First(2)
            })
        );
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        let late = |text: &str| text.parse::<LateOutput>().expect_err("wrong").to_string();
        assert!(late("later").contains("\"later\" is no duration"));
        assert!(late("1h:some").contains("20%"));
        let array = |text: &str| text.parse::<ArrayRule>().expect_err("wrong").to_string();
        assert_eq!(
            array("3:pretty"),
            "\"pretty\" is no style of an array; there are compact and lines"
        );
        assert!(array("compact").contains("20%"));
    }

    proptest! {
        #[test]
        fn rules_that_are_written_are_read_again(
            which in any_which(),
            milliseconds in any::<u64>(),
            style in proptest::sample::select(vec![None, Some(ArrayStyle::Compact), Some(ArrayStyle::Lines)]),
        ) {
            let late = LateOutput { delay: Duration::from_millis(milliseconds), which };
            prop_assert_eq!(late.to_string().parse(), Ok(late));
            let array = ArrayRule { which, style };
            prop_assert_eq!(array.to_string().parse(), Ok(array));
        }
    }
}
