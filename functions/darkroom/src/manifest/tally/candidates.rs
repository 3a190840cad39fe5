//! The images that may be in the proof, until the number of all images decides which of them are.
//!
//! A manifest is read as a stream, and the positions of a spread proof depend on its length. So a
//! sample of the images is kept: every image at first, then every second one, and so on, and always
//! the last one. [`ProofSelection`] takes a spread proof from the same sample.

use std::{collections::BTreeSet, mem};

use super::CountedImage;
use crate::manifest::{
    Diagnostic,
    diagnostics::quote,
    proof::{MAX_SAMPLES, Proof, ProofImages, ProofSelection, next_stride},
};

/// The images that may be in a proof.
#[derive(Debug)]
pub(super) struct Candidates {
    images: ProofImages,
    /// The selection by keys, or by the positions of an empty manifest.
    by_key: ProofSelection,
    sample: Vec<CountedImage>,
    /// The distance of the positions in the sample.
    stride: u64,
    /// The last image, which is in a spread proof wherever it is.
    last: Option<CountedImage>,
    /// The keys of the proof that images or items have.
    found: BTreeSet<String>,
}

impl Candidates {
    pub(super) fn new(proof: &Proof) -> Self {
        Self {
            images: proof.images.clone(),
            by_key: ProofSelection::new(proof, 0),
            sample: Vec::new(),
            stride: 1,
            last: None,
            found: BTreeSet::new(),
        }
    }

    /// Records the key of an item or an image.
    pub(super) fn note_key(&mut self, key: &str) {
        self.found.extend(self.by_key.named(key));
    }

    /// Takes the next image, and returns the images that can't be in the proof.
    pub(super) fn offer(
        &mut self,
        image: CountedImage,
        item: &str,
        key: &str,
    ) -> Vec<CountedImage> {
        let is_candidate = match &self.images {
            ProofImages::First(count) => image.position < *count,
            ProofImages::Keys(_) => self.by_key.is_proof(image.position, item, key),
            ProofImages::Spread(_) => return self.offer_to_spread(image),
        };
        if is_candidate {
            self.sample.push(image);
            Vec::new()
        } else {
            vec![image]
        }
    }

    /// Takes the next image for a spread proof.
    fn offer_to_spread(&mut self, image: CountedImage) -> Vec<CountedImage> {
        let Some(previous) = self.last.replace(image) else {
            return Vec::new();
        };
        if !previous.position.is_multiple_of(self.stride) {
            return vec![previous];
        }
        self.sample.push(previous);
        if (self.sample.len() as u64) <= MAX_SAMPLES {
            return Vec::new();
        }
        self.stride = next_stride(self.stride);
        let (kept, dropped) = mem::take(&mut self.sample)
            .into_iter()
            .partition(|image| image.position.is_multiple_of(self.stride));
        self.sample = kept;
        dropped
    }

    /// Returns an error for each key that the proof names and the manifest does not have.
    pub(super) fn unknown_keys(&self, selection: &ProofSelection) -> Vec<Diagnostic> {
        let error = |key: String| {
            let message = format!(
                "job.proof.keys has {}, and no item and no image has this key: correct it, or \
                 remove it",
                quote(&key)
            );
            Diagnostic::error(1, "unknown_key", message)
        };
        let unknown = selection.without(&self.found);
        unknown.into_iter().map(error).collect()
    }

    /// Returns the images of the proof, and the candidates that are not in it, both in the order of
    /// the manifest.
    pub(super) fn finish(
        self,
        selection: &ProofSelection,
    ) -> (Vec<CountedImage>, Vec<CountedImage>) {
        let is_by_key = matches!(self.images, ProofImages::Keys(_));
        // A candidate by key is in the proof; a position has no key.
        self.sample
            .into_iter()
            .chain(self.last)
            .partition(|image| is_by_key || selection.is_proof(image.position, "", ""))
    }
}
