//! The sampling controls of a request.

use std::fmt;

use serde::Deserialize;

/// A member of a request's `generationConfig` that controls sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// The seed of the random numbers.
    Seed,
    /// The randomness of answers.
    Temperature,
    /// The cumulative probability of the tokens to sample from.
    TopP,
    /// The number of tokens to sample from.
    TopK,
}

impl Control {
    /// Every control.
    pub(crate) const ALL: [Self; 4] = [Self::Seed, Self::Temperature, Self::TopP, Self::TopK];

    /// Returns its name in a request, such as `topP`.
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

/// Returns the controls of a model whose entry in the catalog lists none.
pub(super) fn all() -> Vec<Control> {
    Control::ALL.to_vec()
}
