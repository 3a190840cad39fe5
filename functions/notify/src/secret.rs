//! The secret of a webhook, and the signatures that it makes.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>,
//! read 2026-11: the secret is `whsec_` and 24 to 64 bytes in base64; the signature is
//! HMAC-SHA256 of `id.timestamp.body` in base64 behind `v1,`.

use base64_simd::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::SendError;

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";

/// The secret of a webhook. There is no `Debug`, so that it is never shown.
pub(crate) struct Secret(Hmac<Sha256>);

impl Secret {
    /// Reads a secret from its text, without the white space around it.
    ///
    /// # Errors
    /// [`SendError::Secret`]
    pub(crate) fn parse(text: &str) -> Result<Self, SendError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SendError::Secret)?;
        let bytes = STANDARD
            .decode_to_vec(encoded)
            .map_err(|_| SendError::Secret)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(SendError::Secret);
        }
        // HMAC accepts a key of any length.
        Hmac::new_from_slice(&bytes)
            .map(Self)
            .map_err(|_| SendError::Secret)
    }

    /// Returns the value of `webhook-signature`. `timestamp` is in seconds since the Unix epoch.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!(
            "v1,{}",
            STANDARD.encode_to_string(mac.finalize().into_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation of Svix, which wrote the first libraries for the
    /// specification (<https://docs.svix.com/receiving/verifying-payloads/how-manual>, read
    /// 2026-11).
    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_text_that_is_no_secret_is_refused() {
        for text in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La",
            "whsec_!!!!9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
    }
}
