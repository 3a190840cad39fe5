//! The thought signatures of images.
//!
//! The final image of an answer has a signature. To continue the conversation, the caller returns
//! the model's parts unchanged, in a content with the role `model`. An image without its signature
//! is refused there. Images that are marked as thoughts have no signature. Source:
//! ai.google.dev/gemini-api/docs/thought-signatures and /image-generation, read 2026-11, and
//! published answers: <https://github.com/archestra-ai/archestra/issues/2548> for a missing
//! signature and <https://github.com/google-gemini/gemini-cli/issues/13467> for a wrong one.
//!
//! A signature is derived from the seed and the bytes of its image, so the service recognizes it
//! without having stored it.

use crate::{
    digest::sha256_hex, generation::generate_request::References, seeded_random::SeededRandom,
};

/// The message for a signature that does not belong to its image.
const CORRUPTED: &str = "Corrupted thought signature.";

/// An image in a turn of the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReturnedImage {
    /// The position of the content in the request and of the part in the content, from 1.
    pub(crate) position: (usize, usize),
    /// The signature in base64, if the part has one.
    pub(crate) signature: Option<String>,
    /// Where the image is.
    pub(crate) source: ReturnedSource,
}

/// Where an image in a turn of the model is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReturnedSource {
    /// In the request itself, with the SHA-256 of its bytes unless they can't be decoded.
    Inline(Option<String>),
    /// In an uploaded file, by its id.
    Uploaded(String),
}

impl ReturnedImage {
    /// Checks whether the image has the signature with which it was answered.
    ///
    /// # Errors
    /// The service's message for a missing or wrong signature.
    pub(crate) fn check(&self, seed: u64, uploaded: &References) -> Result<(), String> {
        let Some(signature) = &self.signature else {
            let (content, part) = self.position;
            return Err(format!(
                "Image part is missing a thought_signature in content position {content}, part position {part}. Please \
                 refer to https://ai.google.dev/gemini-api/docs/thought-signatures#model-behavior for more details."
            ));
        };
        let sha256 = match &self.source {
            ReturnedSource::Inline(sha256) => sha256.as_deref(),
            ReturnedSource::Uploaded(id) => {
                uploaded.get(id).map(|uploaded| uploaded.sha256.as_str())
            }
        };
        let issued = sha256.map(|sha256| issued_for(seed, sha256));
        if issued.is_some() && decoded(signature) == issued.as_deref().and_then(decoded) {
            Ok(())
        } else {
            Err(CORRUPTED.to_owned())
        }
    }
}

/// Returns the signature of an image in an answer, in base64.
pub(crate) fn signature(seed: u64, image: &[u8]) -> String {
    issued_for(seed, &sha256_hex(image))
}

fn issued_for(seed: u64, sha256: &str) -> String {
    SeededRandom::new(seed, &["thought signature", sha256]).base64()
}

/// Decodes base64 in either alphabet, as the service does. Google's Python SDK writes the one for
/// URLs.
pub(crate) fn decoded(base64: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD
        .decode_to_vec(base64)
        .or_else(|_| base64_simd::URL_SAFE.decode_to_vec(base64))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::generate_request::UploadedReference;

    const SEED: u64 = 7;

    fn inline(image: &[u8], signature: Option<String>) -> ReturnedImage {
        ReturnedImage {
            position: (2, 1),
            signature,
            source: ReturnedSource::Inline(Some(sha256_hex(image))),
        }
    }

    fn check(image: &ReturnedImage) -> Result<(), String> {
        image.check(SEED, &References::new())
    }

    #[test]
    fn an_image_with_its_own_signature_is_accepted_in_either_alphabet() {
        let own = signature(SEED, b"image");
        let url_safe = own.replace('+', "-").replace('/', "_");
        for own in [own, url_safe] {
            assert_eq!(check(&inline(b"image", Some(own))), Ok(()));
        }
    }

    #[test]
    fn a_missing_signature_is_reported_with_its_position() {
        let message = check(&inline(b"image", None)).expect_err("missing");
        assert!(
            message.starts_with(
                "Image part is missing a thought_signature in content position 2, part position 1. Please refer"
            ),
            "{message}"
        );
    }

    #[test]
    fn other_signatures_are_corrupted() {
        for wrong in [
            signature(SEED, b"another image"),
            signature(SEED + 1, b"image"),
            "c2ln".to_owned(),
            "not base64!".to_owned(),
            String::new(),
        ] {
            let image = inline(b"image", Some(wrong.clone()));
            assert_eq!(check(&image), Err(CORRUPTED.to_owned()), "{wrong}");
        }
        let undecodable = ReturnedImage {
            source: ReturnedSource::Inline(None),
            ..inline(b"", Some("not base64!".to_owned()))
        };
        assert_eq!(check(&undecodable), Err(CORRUPTED.to_owned()));
    }

    #[test]
    fn an_uploaded_image_is_recognized_by_its_hash() {
        let uploaded = ReturnedImage {
            source: ReturnedSource::Uploaded("a".to_owned()),
            ..inline(b"", Some(signature(SEED, b"image")))
        };
        let file = |content: &[u8]| {
            let reference = UploadedReference {
                label: "a".to_owned(),
                pixels: None,
                sha256: sha256_hex(content),
            };
            References::from([("a".to_owned(), reference)])
        };
        assert_eq!(uploaded.check(SEED, &file(b"image")), Ok(()));
        assert!(uploaded.check(SEED, &file(b"another image")).is_err());
    }
}
