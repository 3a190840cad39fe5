//! What a request may say about sampling.

use std::fmt;

use serde::Deserialize;

/// A member of a request's `generationConfig` that steers sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// The number that sampling begins with.
    Seed,
    /// How far answers may stray.
    Temperature,
    /// The share of probability that tokens are drawn from.
    TopP,
    /// The number of tokens that are drawn from.
    TopK,
}

impl Control {
    /// Every control.
    pub(crate) const ALL: [Self; 4] = [Self::Seed, Self::Temperature, Self::TopP, Self::TopK];

    /// Its name in a request: `topP`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Temperature => "temperature",
            Self::TopP => "topP",
            Self::TopK => "topK",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Those of a model of which nothing else is said.
pub(super) fn all() -> Vec<Control> {
    Control::ALL.to_vec()
}
