//! The thinking levels of a request.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A thinking level (<https://ai.google.dev/gemini-api/docs/thinking>, read 2026-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThinkingLevel {
    /// The model's minimum.
    Minimal,
    /// A low level.
    Low,
    /// A medium level.
    Medium,
    /// The model's maximum.
    High,
}

impl ThinkingLevel {
    const ALL: [Self; 4] = [Self::Minimal, Self::Low, Self::Medium, Self::High];

    /// Returns its name in a manifest, such as `minimal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Returns its name in a request, such as `MINIMAL`.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Minimal => "MINIMAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }
}

impl fmt::Display for ThinkingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not a thinking level.
#[derive(Debug, thiserror::Error)]
#[error("invalid level of thinking: expected minimal, low, medium or high")]
pub struct ThinkingLevelError;

impl FromStr for ThinkingLevel {
    type Err = ThinkingLevelError;

    /// Reads a level in any case, as Google does.
    fn from_str(text: &str) -> Result<Self, ThinkingLevelError> {
        let text = text.trim();
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text))
            .ok_or(ThinkingLevelError)
    }
}
