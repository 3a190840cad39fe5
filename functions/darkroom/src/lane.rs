//! Lanes: how an image is requested, at which price, and how soon it arrives.

mod auto;

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

pub(crate) use self::auto::span;
pub use self::auto::{Decision, Rule, decide, duration};

/// How an image is requested.
///
/// Prices and times are those of Google's pages about the Batch API, about optimization and about
/// flex inference (<https://ai.google.dev/gemini-api/docs/batch-api>,
/// <https://ai.google.dev/gemini-api/docs/flex-inference>, read 2026-11).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// In a batch, at half price, within hours.
    #[default]
    Batch,
    /// In a synchronous request of the flex tier, at half price, within minutes. Gemini may refuse
    /// it when it has no capacity.
    Flex,
    /// In a synchronous request, at full price, within seconds.
    Interactive,
}

impl Lane {
    /// Every lane, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Flex, Self::Interactive];

    /// Returns the name, as in manifests and stored documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Interactive => "interactive",
        }
    }

    /// Whether `generate` makes the images, with one call for each.
    pub fn is_synchronous(self) -> bool {
        match self {
            Self::Batch => false,
            Self::Flex | Self::Interactive => true,
        }
    }

    /// Returns the lane that served a synchronous request of this lane, by the tier that the answer
    /// names. An answer that names no known tier was served in the lane that was asked for.
    #[must_use]
    pub fn served_by(self, tier: Option<&str>) -> Self {
        let tier = tier.map(str::to_ascii_lowercase);
        let tier = tier.as_deref();
        match tier.map(|tier| tier.strip_prefix("service_tier_").unwrap_or(tier)) {
            Some("flex") => Self::Flex,
            Some("standard" | "priority") => Self::Interactive,
            _ => self,
        }
    }

    /// Whether it is the lane of batches, which stored documents do not name.
    pub(crate) fn is_batch(&self) -> bool {
        *self == Self::Batch
    }
}

impl Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The lane that a manifest asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestedLane {
    /// The lane follows from the time that the job has: see [`decide`].
    Auto,
    /// This lane.
    Fixed(Lane),
    /// The manifest names no lane, which means [`Lane::Batch`].
    #[default]
    Unset,
}

impl RequestedLane {
    /// The names of all lanes that a manifest may ask for.
    pub(crate) const NAMES: [&str; 4] = ["batch", "flex", "interactive", "auto"];

    /// Returns this lane, or `other` if the manifest names none here.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Self::Unset => other,
            lane => lane,
        }
    }

    /// Returns the lane, or `None` if it follows from the time.
    pub(crate) fn fixed(self) -> Option<Lane> {
        match self {
            Self::Auto => None,
            Self::Fixed(lane) => Some(lane),
            Self::Unset => Some(Lane::default()),
        }
    }
}

/// The text is not a lane.
#[derive(Debug, thiserror::Error)]
#[error("invalid lane: expected batch, flex or interactive, or auto in a manifest")]
pub struct LaneError;

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.name() == text)
            .ok_or(LaneError)
    }
}

impl FromStr for RequestedLane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        match text {
            "auto" => Ok(Self::Auto),
            lane => lane.parse().map(Self::Fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_read_by_the_name_that_is_stored() {
        for lane in Lane::ALL {
            assert_eq!(lane.name().parse::<Lane>().unwrap(), lane);
            assert_eq!(serde_json::to_string(&lane).unwrap(), format!("\"{lane}\""));
            let requested: RequestedLane = lane.name().parse().unwrap();
            assert_eq!(requested, RequestedLane::Fixed(lane));
        }
        assert_eq!(
            "auto".parse::<RequestedLane>().unwrap(),
            RequestedLane::Auto
        );
        "fast".parse::<RequestedLane>().unwrap_err();
        for name in RequestedLane::NAMES {
            name.parse::<RequestedLane>().unwrap();
        }
    }

    #[test]
    fn the_tier_of_an_answer_names_the_lane_that_served_it() {
        for (asked, tier, lane) in [
            (Lane::Flex, Some("flex"), Lane::Flex),
            (Lane::Flex, Some("SERVICE_TIER_STANDARD"), Lane::Interactive),
            (Lane::Flex, None, Lane::Flex),
            (Lane::Interactive, Some("priority"), Lane::Interactive),
            (Lane::Interactive, Some("new"), Lane::Interactive),
        ] {
            assert_eq!(asked.served_by(tier), lane, "{asked} {tier:?}");
        }
    }

    #[test]
    fn a_lane_that_is_named_takes_precedence_over_the_next_one() {
        let flex = RequestedLane::Fixed(Lane::Flex);
        for (first, second, expected) in [
            (RequestedLane::Unset, flex, flex),
            (flex, RequestedLane::Auto, flex),
            (RequestedLane::Auto, flex, RequestedLane::Auto),
            (
                RequestedLane::Fixed(Lane::Batch),
                flex,
                RequestedLane::Fixed(Lane::Batch),
            ),
        ] {
            assert_eq!(first.or(second), expected);
        }
        assert_eq!(RequestedLane::Unset.fixed(), Some(Lane::Batch));
        assert_eq!(RequestedLane::Auto.fixed(), None);
    }
}
