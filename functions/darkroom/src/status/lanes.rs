//! The progress of each lane in `job.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lane::Lane;

/// The progress of the images that are planned in one lane.
///
/// ```json
/// {"lane":"interactive","images":4,"finished":3}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneProgress {
    /// The lane.
    pub lane: Lane,
    /// The number of its images in the shards that are listed.
    pub images: u64,
    /// The number of its images that Gemini has finished or that were collected so far. In a
    /// finished job, the number of images that exist.
    pub finished: u64,
}

impl LaneProgress {
    /// Adds the images and the finished images of each lane. Returns nothing if there are only
    /// batches.
    pub(crate) fn by_lane(parts: impl Iterator<Item = (Lane, u64, u64)>) -> Vec<Self> {
        let mut sums: BTreeMap<Lane, (u64, u64)> = BTreeMap::new();
        for (lane, images, finished) in parts {
            let sum = sums.entry(lane).or_default();
            *sum = (sum.0 + images, sum.1 + finished);
        }
        if sums.keys().all(Lane::is_batch) {
            return Vec::new();
        }
        let progress = |(lane, (images, finished))| Self {
            lane,
            images,
            finished,
        };
        sums.into_iter().map(progress).collect()
    }
}
