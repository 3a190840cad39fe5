//! What depends on all images of a manifest, and so is known only when it was read: the lanes of
//! images with the lane `auto`, and which images are the proof.

use serde::{Deserialize, Serialize};

use super::ProofSelection;
use crate::lane::Lane;

/// The result of a first reading that another reading of the same manifest needs: see
/// [`super::Context::lanes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    pub(super) choices: Vec<LaneChoice>,
    pub(super) proof: Option<ProofSelection>,
}

impl Lanes {
    /// Whether a first reading gave each image its final lane already: no image has the lane
    /// `auto`, and none is in a proof.
    pub fn are_final(&self) -> bool {
        self.choices.is_empty() && self.proof.is_none()
    }

    /// Returns the lane of a model's images with the lane `auto`.
    pub fn auto(&self, model: &str) -> Lane {
        self.choices
            .iter()
            .find(|choice| choice.model == model)
            .map_or(Lane::default(), |choice| choice.lane)
    }

    /// Returns the decisions about `auto`, in the order of the models' names.
    pub fn choices(&self) -> &[LaneChoice] {
        &self.choices
    }

    /// Returns which images are the proof, or `None` if the manifest is not split by one.
    pub fn proof(&self) -> Option<&ProofSelection> {
        self.proof.as_ref()
    }
}

/// The lane that was chosen for the `auto` images of a model.
///
/// ```json
/// {"model":"gemini-nano-banana-2.1","lane":"interactive","images":12,
///  "why":"12 images within 20 min: interactive, +$0.20 over batch"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneChoice {
    /// The model, a full id.
    pub model: String,
    /// The lane.
    pub lane: Lane,
    /// The number of images.
    pub images: u64,
    /// The reason, as a text for users.
    pub why: String,
}
