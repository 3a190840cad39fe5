//! What the manifests of a simulation ask for.

use fastrand::Rng;
use serde_json::{Value, json};

use super::calls;

/// The model of images in the synchronous lanes. It has a price in each lane.
const SYNCHRONOUS_MODEL: &str = "gemini-3-pro-image";

/// A small scene of the exhaustive part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum World {
    /// Three images in a batch whose output is truncated.
    Batch,
    /// Three images in the interactive and the flex lane.
    Lanes,
    /// A proof of two images that is approved, and two images in a batch.
    Proof,
    /// A batch that would come too late, whose two images are requested in the interactive lane.
    Rescue,
    /// A proof whose other request file changes before it is approved.
    Changed,
    /// One image in a batch, and a webhook that receives the events.
    Events,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Batch,
        Self::Lanes,
        Self::Proof,
        Self::Rescue,
        Self::Changed,
        Self::Events,
    ];

    /// Returns its name as an argument.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Lanes => "lanes",
            Self::Proof => "proof",
            Self::Rescue => "rescue",
            Self::Changed => "changed",
            Self::Events => "events",
        }
    }
}

/// What a manifest asks for, and its number of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All images in batches.
    Batch(usize),
    /// Images in the interactive and the flex lane, and from the fourth on also in batches.
    Lanes(usize),
    /// A proof of two images, and whether the others wait for approval.
    Proof(usize, bool),
    /// Images in batches that are requested interactively after four hours.
    Rescue(usize),
}

impl Kind {
    /// Draws what a manifest of `count` images asks for.
    pub(crate) fn drawn(count: usize, rng: &mut Rng) -> Self {
        match rng.u8(..6) {
            0 | 1 => Self::Lanes(count),
            2 => Self::Proof(count, true),
            3 => Self::Proof(count, false),
            4 => Self::Rescue(count),
            _ => Self::Batch(count),
        }
    }

    /// Returns the manifest with this number, whose images have `refs` as references.
    pub(crate) fn manifest(self, number: usize, refs: &[&str]) -> String {
        // Each manifest has its own content, because a job with the same content is bought once.
        let (count, job) = match self {
            Self::Batch(count) | Self::Lanes(count) => (count, json!({"run": number})),
            Self::Proof(count, hold) => {
                let proof = json!({"count": 2, "hold": hold});
                (count, json!({"run": number, "proof": proof}))
            }
            Self::Rescue(count) => (
                count,
                json!({"run": number, "within": "4h", "rescue": "interactive"}),
            ),
        };
        let items = (0..count).map(|place| self.item(number, place, refs).to_string() + "\n");
        json!({"manifest": {"job": job}}).to_string() + "\n" + &items.collect::<String>()
    }

    fn item(self, manifest: usize, number: usize, refs: &[&str]) -> Value {
        let (key, prompt) = (calls::key(number), calls::prompt(manifest, number));
        let mut item = json!({"key": key, "prompt": prompt, "image_size": "512", "refs": refs});
        if let Self::Lanes(_) = self {
            item["model"] = SYNCHRONOUS_MODEL.into();
            item["image_size"] = "1K".into();
            item["lane"] = ["interactive", "flex", "interactive", "batch"][number % 4].into();
        }
        item
    }
}
