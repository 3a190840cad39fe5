//! The Gemini API key: its source, and the measures that keep it out of logs and messages.

mod cached;

use std::{fmt, sync::Arc};

use http::HeaderValue;
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    transport::BoxFuture,
};

use self::cached::CachedKey;

/// The replacement for the key in a text.
const HIDDEN: &str = "[api key]";

/// An API key. It is available only as a header value that is marked as sensitive.
///
/// There is no `Display` and no `Serialize`, and `Debug` shows nothing of the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

/// A text that can't be an API key: empty, or with characters that no header value may contain.
#[derive(Debug, thiserror::Error)]
#[error("the API key is empty, or contains a character other than visible ASCII")]
pub struct ApiKeyError;

impl ApiKey {
    /// Reads the key from a text, without the white space around it, such as the line end of a
    /// file.
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
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Replaces the key in a text. Some of Google's messages contain the key, such as the one about
    /// a suspended consumer.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        match self.0.to_str() {
            Ok(key) => text.replace(key, HIDDEN),
            // A key is visible ASCII, so this is unreachable. A text that can't be searched is not
            // shown.
            Err(_) => HIDDEN.to_owned(),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Why no key could be read. No request was sent. The message contains the name of the parameter
/// and never its value.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// SSM has no such parameter.
    #[error("there is no SSM parameter {0}: create it with the key as its value")]
    NotFound(String),
    /// This function's role may not read or decrypt the parameter.
    #[error("this function's role may not read the SSM parameter {0}, or may not decrypt it")]
    Denied(String),
    /// The value of the parameter can't be a key.
    #[error("invalid value of the SSM parameter {name}: {problem}")]
    Malformed {
        /// The parameter.
        name: String,
        /// What is wrong.
        problem: ApiKeyError,
    },
    /// SSM does not return the parameter, and has not since the start of this function.
    #[error("SSM doesn't answer about the parameter {name} ({problem})")]
    Unavailable {
        /// The parameter.
        name: String,
        /// SSM's error code, or what happened to the connection.
        problem: String,
    },
}

/// The source of the key, which is read whenever a call needs the key.
#[derive(Debug)]
pub struct KeySource(Source);

#[derive(Debug)]
enum Source {
    Fixed(ApiKey),
    Stored(CachedKey),
}

/// The store in which a deployment keeps its key.
pub trait KeyStore: fmt::Debug + Send + Sync {
    /// Reads the key from the store.
    ///
    /// # Errors
    /// [`KeyError`] when the store has no usable key, or does not answer.
    fn read(&self) -> BoxFuture<'_, Result<ApiKey, KeyError>>;

    /// The key's name in the store, for messages.
    fn name(&self) -> &str;
}

impl KeySource {
    /// A key that never changes, for use on one machine.
    pub fn fixed(key: ApiKey) -> Self {
        Self(Source::Fixed(key))
    }

    /// The key in `store`. It is first read when a key is first needed, and again after five
    /// minutes by `clock`.
    pub fn stored(store: Arc<dyn KeyStore>, clock: Clock) -> Self {
        Self(Source::Stored(CachedKey::new(store, clock)))
    }

    /// The key in `GEMINI_API_KEY`, or the key in the store that `open` returns for the name in
    /// `GEMINI_API_KEY_PARAMETER`.
    ///
    /// # Errors
    /// [`VariableError`] when neither variable is set, when both are, or when the key is invalid.
    pub fn from_variables(
        variables: &Variables,
        open: impl FnOnce(String) -> Arc<dyn KeyStore>,
    ) -> Result<Self, VariableError> {
        let (given, stored) = ("GEMINI_API_KEY", "GEMINI_API_KEY_PARAMETER");
        match (variables.optional(given), variables.optional(stored)) {
            (None, Some(name)) => Ok(Self::stored(open(name), Clock::system())),
            (None, None) => Err(VariableError::Missing(given)),
            (Some(_), Some(_)) => Err(VariableError::Malformed {
                name: stored,
                problem: format!("{given} is set too: set one of them"),
            }),
            (Some(key), None) => {
                ApiKey::new(&key)
                    .map(Self::fixed)
                    .map_err(|problem| VariableError::Malformed {
                        name: given,
                        problem: problem.to_string(),
                    })
            }
        }
    }

    /// Returns the current key.
    ///
    /// # Errors
    /// [`KeyError`] when no key can be read.
    pub async fn key(&self) -> Result<ApiKey, KeyError> {
        match &self.0 {
            Source::Fixed(key) => Ok(key.clone()),
            Source::Stored(cached) => cached.key().await,
        }
    }

    /// Returns a key other than the one that Gemini rejected, if the store has a new one.
    pub(crate) async fn refresh_after_rejection(&self, rejected: &ApiKey) -> Option<ApiKey> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Stored(cached) => cached.refresh_after_rejection(rejected).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that these tests never read.
    #[derive(Debug)]
    struct Unread(String);

    impl KeyStore for Unread {
        fn read(&self) -> BoxFuture<'_, Result<ApiKey, KeyError>> {
            Box::pin(async { Err(KeyError::NotFound(self.0.clone())) })
        }

        fn name(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let key = ApiKey::new("canary-1234").unwrap();
        assert!(!format!("{:?}", key.header()).contains("canary"));
        assert!(!format!("{:?}", KeySource::fixed(key)).contains("canary"));
    }

    #[test]
    fn the_key_is_in_a_variable_or_in_a_store_but_not_in_both() {
        let source = |given, stored| {
            let variables = [
                ("GEMINI_API_KEY", given),
                ("GEMINI_API_KEY_PARAMETER", stored),
            ]
            .into_iter()
            .collect();
            let open = |name| Arc::new(Unread(name)) as Arc<dyn KeyStore>;
            KeySource::from_variables(&variables, open)
                .map(|source| source.0)
                .map_err(|problem| problem.to_string())
        };
        assert!(matches!(source("canary-1234", ""), Ok(Source::Fixed(_))));
        assert!(matches!(source("", "/darkroom/key"), Ok(Source::Stored(_))));
        assert!(
            source("", "")
                .unwrap_err()
                .contains("GEMINI_API_KEY is not set")
        );
        assert!(
            source("canary-1234", "/darkroom/key")
                .unwrap_err()
                .contains("set one of them")
        );
        assert!(!source("canary 1234", "").unwrap_err().contains("canary"));
    }

    #[test]
    fn white_space_around_the_key_is_not_part_of_it() {
        assert_eq!(
            ApiKey::new(" canary-1234\n").unwrap().header(),
            "canary-1234"
        );
    }

    #[test]
    fn rejects_a_key_that_no_header_can_contain() {
        for text in ["", " \n", "two words", "clé", "a\u{0}b"] {
            ApiKey::new(text).unwrap_err();
        }
    }

    #[test]
    fn the_key_is_replaced_in_a_text() {
        let key = ApiKey::new("canary-1234").unwrap();
        assert_eq!(
            key.hide_in("consumer 'api_key:canary-1234' is suspended"),
            "consumer 'api_key:[api key]' is suspended"
        );
    }
}
