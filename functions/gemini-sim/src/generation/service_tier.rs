//! The service tiers of single requests.
//!
//! Source: ai.google.dev/gemini-api/docs/flex-inference and /priority-inference, read 2026-11. The
//! service can serve a priority request at the standard tier. It never does so with a flex request.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The service tier of a single request. Requests of batches have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The tier of requests that name none.
    #[default]
    Standard,
    /// Half the price, as far as there is capacity.
    Flex,
    /// Precedence over the other tiers, at a higher price.
    Priority,
}

impl ServiceTier {
    /// All tiers.
    const ALL: [Self; 3] = [Self::Standard, Self::Flex, Self::Priority];

    /// Returns the tier that a `GenerateContentRequest` asks for. Its names are already validated.
    pub(crate) fn requested(request: &Value) -> Self {
        let name = request["serviceTier"].as_str();
        // `unspecified` is the standard tier too.
        Self::ALL
            .into_iter()
            .find(|tier| name == Some(tier.name()))
            .unwrap_or_default()
    }

    /// Returns the name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

impl fmt::Display for ServiceTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_without_a_tier_are_standard() {
        for (request, tier) in [
            (json!({}), ServiceTier::Standard),
            (json!({"serviceTier": "unspecified"}), ServiceTier::Standard),
            (json!({"serviceTier": "standard"}), ServiceTier::Standard),
            (json!({"serviceTier": "flex"}), ServiceTier::Flex),
            (json!({"serviceTier": "priority"}), ServiceTier::Priority),
        ] {
            assert_eq!(ServiceTier::requested(&request), tier, "{request}");
        }
    }

    #[test]
    fn tiers_are_stored_by_their_names_on_the_wire() {
        for tier in ServiceTier::ALL {
            assert_eq!(serde_json::to_value(tier).expect("JSON"), tier.name());
        }
    }
}
