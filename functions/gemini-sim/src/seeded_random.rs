//! Randomness without a generator: every value is a hash of the seed and of what it decides.
//!
//! The same seed, batch and key give the same value in any order, on any thread and after a
//! restart.

use sha2::{Digest, Sha256};

const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// One random value: 32 bytes of a hash.
pub(crate) struct SeededRandom([u8; 32]);

impl SeededRandom {
    /// Derives the value for these words. Each word is hashed with its length, so that `["ab",
    /// "c"]` and `["a", "bc"]` differ.
    pub(crate) fn new(seed: u64, words: &[&str]) -> Self {
        let mut hash = Sha256::new().chain_update(seed.to_le_bytes());
        for word in words {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        Self(hash.finalize().into())
    }

    /// Returns a number in the whole range.
    pub(crate) fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns a number in `0..below`, or 0 when that range is empty.
    pub(crate) fn below(&self, below: u64) -> u64 {
        self.number().checked_rem(below).unwrap_or(0)
    }

    /// Returns a number in `low..=high`, or `low` when that range is empty.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// Returns an identifier of up to 64 lower-case letters and digits.
    pub(crate) fn id(&self, length: usize) -> String {
        let more = Sha256::digest(self.0);
        let bytes = self.0.iter().chain(more.iter()).take(length);
        bytes
            .map(|byte| char::from(LETTERS[usize::from(byte % 36)]))
            .collect()
    }

    /// Returns the value itself in base64.
    pub(crate) fn base64(&self) -> String {
        base64_simd::STANDARD.encode_to_string(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_borders_matter() {
        assert_ne!(
            SeededRandom::new(1, &["ab", "c"]).number(),
            SeededRandom::new(1, &["a", "bc"]).number()
        );
    }

    #[test]
    fn seed_matters() {
        assert_ne!(
            SeededRandom::new(1, &["a"]).number(),
            SeededRandom::new(2, &["a"]).number()
        );
    }

    #[test]
    fn ids_have_the_requested_length() {
        let id = SeededRandom::new(1, &["a"]).id(36);
        assert_eq!(id.len(), 36);
        assert!(id.bytes().all(|byte| LETTERS.contains(&byte)));
    }

    #[test]
    fn between_includes_both_bounds_and_nothing_else() {
        let drawn: std::collections::BTreeSet<u64> = (0..200)
            .map(|seed| SeededRandom::new(seed, &[]).between(3, 5))
            .collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }
}
