//! Which images of a manifest are its proof, once the number of all its images is known.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;

use super::{Proof, ProofImages};
use crate::lane::Lane;

/// The most images among which a spread proof is chosen. Manifests with more images are sampled at
/// equal distances, so that reading one keeps no more than this number in memory.
pub(crate) const MAX_SAMPLES: u64 = 4_096;

/// Which images are the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSelection {
    selected: Selected,
    /// The lane in which the images of the proof are requested.
    pub lane: Lane,
    /// Whether the other images wait until the proof is approved.
    pub hold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selected {
    /// The positions of the images in the manifest, from 0.
    Positions(BTreeSet<u64>),
    /// The keys of the images, or of their items, in Unicode NFC.
    Keys(BTreeSet<String>),
}

impl ProofSelection {
    /// Selects the images of a proof from `images` images.
    ///
    /// Of a manifest with more than 4,096 images, a spread proof takes its images, except for the
    /// last one, from positions that are multiples of a power of two.
    pub fn new(proof: &Proof, images: u64) -> Self {
        let selected = match &proof.images {
            ProofImages::First(count) => Selected::Positions((0..*count.min(&images)).collect()),
            ProofImages::Spread(count) => Selected::Positions(spread(*count, images)),
            ProofImages::Keys(keys) => {
                Selected::Keys(keys.iter().map(|key| key.nfc().collect()).collect())
            }
        };
        Self {
            selected,
            lane: proof.lane,
            hold: proof.hold,
        }
    }

    /// Whether an image is in the proof. `position` is its position among all images of the
    /// manifest, from 0, `item` the key of its item, and `key` its request key.
    pub fn is_proof(&self, position: u64, item: &str, key: &str) -> bool {
        match &self.selected {
            Selected::Positions(positions) => positions.contains(&position),
            Selected::Keys(keys) => {
                let is_named = |key: &str| keys.contains(&key.nfc().collect::<String>());
                is_named(item) || is_named(key)
            }
        }
    }

    /// Returns the keys that the proof names and of which no image has one: `found` are the keys of
    /// images and items.
    pub(crate) fn without(&self, found: &BTreeSet<String>) -> Vec<String> {
        match &self.selected {
            Selected::Positions(_) => Vec::new(),
            Selected::Keys(keys) => keys.difference(found).cloned().collect(),
        }
    }

    /// Returns the key in the form in which [`Self::without`] compares it, if the proof names it.
    pub(crate) fn named(&self, key: &str) -> Option<String> {
        match &self.selected {
            Selected::Positions(_) => None,
            Selected::Keys(keys) => Some(key.nfc().collect()).filter(|key| keys.contains(key)),
        }
    }
}

/// Returns `count` evenly spaced positions from 0 to the last one, or all if there are not more.
fn spread(count: u64, images: u64) -> BTreeSet<u64> {
    let Some(last) = images.checked_sub(1).filter(|_| count < images) else {
        return (0..images).collect();
    };
    let stride = stride(images);
    let even = (0..count.saturating_sub(1)).map(|number| {
        let even = number * last / (count - 1);
        even - even % stride
    });
    // A single image is the first one.
    let end = if count == 1 { 0 } else { last };
    even.chain([end]).collect()
}

/// Returns the distance of the positions that are sampled in a manifest with `images` images.
fn stride(images: u64) -> u64 {
    let mut stride = 1;
    while images.div_ceil(stride) > MAX_SAMPLES {
        stride = next_stride(stride);
    }
    stride
}

/// Returns the next larger distance. Every position of it is also one of the smaller distance.
pub(crate) fn next_stride(stride: u64) -> u64 {
    stride * 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions(images: ProofImages, total: u64) -> Vec<u64> {
        let proof = Proof {
            images,
            lane: Lane::Interactive,
            hold: true,
        };
        let selection = ProofSelection::new(&proof, total);
        (0..total)
            .filter(|position| selection.is_proof(*position, "item", "key"))
            .collect()
    }

    #[test]
    fn the_first_images_are_selected_by_position() {
        assert_eq!(positions(ProofImages::First(3), 10), [0, 1, 2]);
        assert_eq!(positions(ProofImages::First(3), 2), [0, 1]);
    }

    #[test]
    fn spread_images_include_the_first_and_the_last_one() {
        assert_eq!(positions(ProofImages::Spread(4), 10), [0, 3, 6, 9]);
        assert_eq!(positions(ProofImages::Spread(2), 10), [0, 9]);
        assert_eq!(positions(ProofImages::Spread(1), 10), [0]);
        assert_eq!(positions(ProofImages::Spread(9), 10).len(), 9);
        assert_eq!(positions(ProofImages::Spread(10), 10).len(), 10);
        assert_eq!(positions(ProofImages::Spread(100), 3), [0, 1, 2]);
        assert_eq!(positions(ProofImages::Spread(1), 0), [0; 0]);
    }

    #[test]
    fn a_key_selects_one_image_or_all_images_of_an_item() {
        let proof = Proof {
            images: ProofImages::Keys(vec!["fox".to_owned(), "bear.v02".to_owned()]),
            lane: Lane::Interactive,
            hold: true,
        };
        let selection = ProofSelection::new(&proof, 4);
        for (item, key, expected) in [
            ("fox", "fox.v01", true),
            ("fox", "fox.v02", true),
            ("bear", "bear.v01", false),
            ("bear", "bear.v02", true),
        ] {
            assert_eq!(selection.is_proof(0, item, key), expected, "{key}");
        }
        let found = BTreeSet::from(["fox".to_owned()]);
        assert_eq!(selection.without(&found), ["bear.v02"]);
    }

    #[test]
    fn keys_that_look_the_same_are_equal() {
        let proof = Proof {
            images: ProofImages::Keys(vec!["cafe\u{301}".to_owned()]),
            lane: Lane::Batch,
            hold: false,
        };
        let selection = ProofSelection::new(&proof, 1);
        assert!(selection.is_proof(0, "caf\u{e9}", "caf\u{e9}"));
        assert_eq!(selection.named("caf\u{e9}").as_deref(), Some("caf\u{e9}"));
    }

    proptest! {
        #[test]
        fn spread_images_are_evenly_spaced(count in 2..=100_u64, images in 101..1_000_000_u64) {
            let positions: Vec<u64> = spread(count, images).into_iter().collect();
            prop_assert_eq!(positions.len() as u64, count);
            prop_assert_eq!((positions[0], positions[positions.len() - 1]), (0, images - 1));
            let even = (images - 1) / (count - 1);
            let slack = stride(images);
            for pair in positions.windows(2) {
                let distance = pair[1] - pair[0];
                prop_assert!((even - even.min(slack)..=even + slack).contains(&distance), "{distance} instead of {even}");
            }
        }
    }
}
