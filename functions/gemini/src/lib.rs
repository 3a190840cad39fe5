//! The Gemini API as Darkroom uses it: the Files API and the Batch API, over REST.
//!
//! Every call has a time limit of its own, follows no redirect, and says in its error what the
//! caller may do next. Calls that change nothing when repeated are sent once more, at once, when
//! the first time was interrupted; creating a batch is sent once and never again, because the API
//! would make a second batch of it.
//!
//! The contract is Google's REST reference, <https://ai.google.dev/api/batch-api> and
//! <https://ai.google.dev/api/files> (read 2026-11-21).

use std::{fmt, sync::Arc};

use seam::{
    environment::{VariableError, Variables},
    https::HttpsTransport,
    transport::Transport,
};
use url::Url;

use crate::key::{KeySource, KeyStore};

mod batch;
mod batches;
mod download;
mod error;
mod exchange;
mod file;
mod files;
mod inline;
pub mod key;
mod listing;
mod refusal;
#[cfg(test)]
mod script;
mod session;
mod upload;
#[cfg(test)]
mod upload_server;
mod window;
mod wire;

pub use batch::{Batch, BatchState, BatchStats};
pub use batches::CREATE_TIMEOUT;
pub use download::Download;
pub use error::{ApiError, CreateError, UploadError};
pub use file::{File, FileState};
pub use upload::UploadRequest;
pub use wire::Status;

/// Google's address.
const BASE_URL: &str = "https://generativelanguage.googleapis.com";
/// The version that Google's REST pages print. The SDKs call `v1` since November 2026; previews
/// live on `v1beta` only.
const API_VERSION: &str = "v1beta";
/// What an input file is announced as: `jsonl`, which Google's pages show, has been refused at
/// times.
const INPUT_MIME_TYPE: &str = "application/jsonl";

/// What can be set about the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, port and, where there is one, the path before the version.
    pub base_url: String,
    /// `v1beta` or `v1`.
    pub api_version: String,
    /// The MIME type of a batch's input file.
    pub input_mime_type: String,
    /// Where the API key comes from.
    pub key: Arc<KeySource>,
}

impl Settings {
    /// Google's own address, `v1beta`, and `application/jsonl` for input files.
    pub fn new(key: Arc<KeySource>) -> Self {
        Self {
            base_url: BASE_URL.to_owned(),
            api_version: API_VERSION.to_owned(),
            input_mime_type: INPUT_MIME_TYPE.to_owned(),
            key,
        }
    }
}

impl Settings {
    /// From `GEMINI_API_KEY` or `GEMINI_API_KEY_PARAMETER` and, where they are set,
    /// `GEMINI_BASE_URL`, `GEMINI_API_VERSION` and `GEMINI_INPUT_MIME_TYPE`. `open` makes the store
    /// for the parameter's name.
    ///
    /// # Errors
    /// [`VariableError`] when the key is missing or can't be one.
    pub fn from_variables(
        variables: &Variables,
        open: impl FnOnce(String) -> Arc<dyn KeyStore>,
    ) -> Result<Self, VariableError> {
        let defaults = Self::new(Arc::new(KeySource::from_variables(variables, open)?));
        Ok(Self {
            base_url: variables.parsed("GEMINI_BASE_URL", defaults.base_url)?,
            api_version: variables.parsed("GEMINI_API_VERSION", defaults.api_version)?,
            input_mime_type: variables
                .parsed("GEMINI_INPUT_MIME_TYPE", defaults.input_mime_type)?,
            key: defaults.key,
        })
    }
}

/// Settings that no client can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The base URL is not `http(s)://host[:port][/path]`.
    #[error("Gemini's base URL must be http(s)://host[:port][/path]")]
    BaseUrl,
    /// The version is not a word of ASCII letters and digits.
    #[error("Gemini's API version must be a word such as v1beta")]
    ApiVersion,
}

/// A client of the Gemini API. Cheap to clone: clones share the transport and the key.
#[derive(Clone)]
pub struct Gemini {
    transport: Arc<dyn Transport>,
    base: Url,
    api_version: String,
    input_mime_type: String,
    key: Arc<KeySource>,
}

impl Gemini {
    /// A client that talks through `transport`.
    ///
    /// # Errors
    /// [`SettingsError`] when the base URL or the version can't be used.
    pub fn new(settings: Settings, transport: Arc<dyn Transport>) -> Result<Self, SettingsError> {
        let base = Url::parse(&settings.base_url).map_err(|_| SettingsError::BaseUrl)?;
        let plain = base.query().is_none()
            && base.fragment().is_none()
            && base.username().is_empty()
            && base.password().is_none();
        if !matches!(base.scheme(), "http" | "https") || !plain {
            return Err(SettingsError::BaseUrl);
        }
        let version = &settings.api_version;
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SettingsError::ApiVersion);
        }
        Ok(Self {
            transport,
            base,
            api_version: settings.api_version,
            input_mime_type: settings.input_mime_type,
            key: settings.key,
        })
    }

    /// A client that talks over the network.
    ///
    /// # Errors
    /// [`SettingsError`] when the base URL or the version can't be used.
    pub fn over_https(settings: Settings) -> Result<Self, SettingsError> {
        Self::new(settings, Arc::new(HttpsTransport::default()))
    }

    /// The MIME type to upload a batch's input file with.
    pub fn input_mime_type(&self) -> &str {
        &self.input_mime_type
    }

    /// `{base}/{version}/{path}`.
    fn url(&self, path: &str) -> Url {
        self.url_under("", path)
    }

    /// `{base}{prefix}/{version}/{path}`: uploads and downloads have a prefix.
    fn url_under(&self, prefix: &str, path: &str) -> Url {
        let mut url = self.base.clone();
        let root = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{root}{prefix}/{}/{path}", self.api_version));
        url
    }
}

impl fmt::Debug for Gemini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gemini")
            .field("base", &self.base.as_str())
            .field("api_version", &self.api_version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{script::Script, *};
    use crate::key::ApiKey;

    fn settings() -> Settings {
        Settings::new(Arc::new(KeySource::fixed(
            ApiKey::new("canary-1234").unwrap(),
        )))
    }

    fn client(settings: Settings) -> Result<Gemini, SettingsError> {
        Gemini::new(settings, Script::replies([]))
    }

    #[test]
    fn key_shows_in_neither_settings_nor_client() {
        let settings = settings();
        assert!(!format!("{settings:?}").contains("canary"));
        assert!(!format!("{:?}", client(settings).unwrap()).contains("canary"));
    }

    #[test]
    fn base_url_keeps_its_port_and_path() {
        let gemini = client(Settings {
            base_url: "http://127.0.0.1:18081/gemini/".to_owned(),
            api_version: "v1".to_owned(),
            ..settings()
        })
        .unwrap();
        assert_eq!(
            gemini.url_under("/upload", "files").as_str(),
            "http://127.0.0.1:18081/gemini/upload/v1/files"
        );
    }

    #[test]
    fn base_url_is_a_plain_web_address() {
        for base_url in [
            "",
            "generativelanguage.googleapis.com",
            "ftp://host",
            "https://user:pw@host",
            "https://host?key=x",
            "https://host#x",
        ] {
            let settings = Settings {
                base_url: base_url.to_owned(),
                ..settings()
            };
            assert!(
                matches!(client(settings), Err(SettingsError::BaseUrl)),
                "{base_url}"
            );
        }
    }

    #[test]
    fn version_is_one_word() {
        for api_version in ["", "v1/../x", "v1 "] {
            let settings = Settings {
                api_version: api_version.to_owned(),
                ..settings()
            };
            assert!(
                matches!(client(settings), Err(SettingsError::ApiVersion)),
                "{api_version}"
            );
        }
    }
}
