//! The Gemini API key: where it comes from, and how it stays unseen.

use std::fmt;

use http::HeaderValue;

/// What stands in a text where the key stood.
const HIDDEN: &str = "[api key]";

/// An API key. It leaves this type in one form only: a header value marked as sensitive.
///
/// There is no `Display` and no `Serialize`, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

/// A text that can't be an API key: empty, or with characters that no header value may hold.
#[derive(Debug, thiserror::Error)]
#[error("the API key is empty, or holds a character other than visible ASCII")]
pub struct ApiKeyError;

impl ApiKey {
    /// Takes the key from its text. White space around it, such as the line end of a file, is not part of it.
    ///
    /// # Errors
    /// [`ApiKeyError`] when the rest is empty or is not visible ASCII.
    pub fn new(text: &str) -> Result<Self, ApiKeyError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| ApiKeyError)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The value of the header `x-goog-api-key`.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The text without the key. Google puts the key into some of its refusals, such as that of a suspended consumer.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        match self.0.to_str() {
            Ok(key) => text.replace(key, HIDDEN),
            // A key is visible ASCII, so this is never reached; a text that can't be searched is not shown.
            Err(_) => HIDDEN.to_owned(),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Where the key is read from, each time it is needed.
#[derive(Debug)]
pub struct KeySource {
    fixed: ApiKey,
}

impl KeySource {
    /// Always the same key, read by the function's configuration: for use on one machine.
    pub fn fixed(key: ApiKey) -> Self {
        Self { fixed: key }
    }

    /// The key to use now.
    pub async fn key(&self) -> ApiKey {
        self.fixed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let source = KeySource::fixed(ApiKey::new("canary-1234").unwrap());
        assert!(!format!("{source:?}").contains("canary"));
        assert!(!format!("{:?}", source.fixed.header()).contains("canary"));
    }

    #[test]
    fn white_space_around_the_key_is_not_part_of_it() {
        assert_eq!(ApiKey::new(" canary-1234\n").unwrap().header(), "canary-1234");
    }

    #[test]
    fn what_no_header_can_hold_is_no_key() {
        for text in ["", " \n", "two words", "clé", "a\u{0}b"] {
            ApiKey::new(text).unwrap_err();
        }
    }

    #[test]
    fn key_is_hidden_in_a_text() {
        let key = ApiKey::new("canary-1234").unwrap();
        assert_eq!(
            key.hide_in("consumer 'api_key:canary-1234' is suspended"),
            "consumer 'api_key:[api key]' is suspended"
        );
    }
}
