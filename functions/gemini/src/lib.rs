//! The Gemini API as Darkroom uses it: the Files API, the Batch API and synchronous generation, over
//! REST.
//!
//! Every call has a time limit and follows no redirect, and its error states what the caller can do
//! next. Idempotent calls are repeated once, without a pause, after a temporary failure. A create
//! call is never repeated, because the API would create a second batch, and neither is a synchronous
//! generation, because Gemini charges for each.
//!
//! The contract is Google's REST reference, <https://ai.google.dev/api/batch-api>,
//! <https://ai.google.dev/api/files> and <https://ai.google.dev/api/generate-content> (read
//! 2026-11-21).

use std::{fmt, sync::Arc};

use seam::{
    environment::{VariableError, Variables},
    https::{DownloadTransport, HttpsTransport},
    proxies::Proxies,
    transport::Transport,
};
use url::Url;

use crate::key::{KeySource, KeyStore};

mod batch;
mod batches;
mod call;
mod download;
mod error;
#[cfg(test)]
mod fake_transport;
#[cfg(test)]
mod fake_upload_server;
mod file;
mod files;
mod generate;
mod inline;
pub mod key;
mod listing;
mod models;
mod refusal;
mod upload;
mod upload_buffer;
mod upload_session;
mod wire;

pub use batch::{Batch, BatchState, BatchStats};
pub use batches::CREATE_TIMEOUT;
pub use download::Download;
pub use error::{ApiError, CreateError, GenerateError, UploadError};
pub use file::{File, FileState};
pub use generate::Generated;
pub use models::Model;
pub use upload::UploadRequest;
pub use wire::Status;

/// The address of Google's service.
const BASE_URL: &str = "https://generativelanguage.googleapis.com";
/// The version in Google's REST reference. Google's SDKs have used `v1` since November 2026;
/// preview models are available on `v1beta` only.
const API_VERSION: &str = "v1beta";
/// The declared type of an input file. Google's pages show `jsonl`, which the API has rejected at
/// times.
const INPUT_MIME_TYPE: &str = "application/jsonl";

/// The settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, port and, if there is one, the path before the version.
    pub base_url: String,
    /// `v1beta` or `v1`.
    pub api_version: String,
    /// The MIME type of a batch's input file.
    pub input_mime_type: String,
    /// The source of the API key.
    pub key: Arc<KeySource>,
    /// The proxies of [`Gemini::over_https`].
    pub proxies: Proxies,
}

impl Settings {
    /// Google's own address, `v1beta`, `application/jsonl` for input files, and no proxy.
    pub fn new(key: Arc<KeySource>) -> Self {
        Self {
            base_url: BASE_URL.to_owned(),
            api_version: API_VERSION.to_owned(),
            input_mime_type: INPUT_MIME_TYPE.to_owned(),
            key,
            proxies: Proxies::default(),
        }
    }

    /// Reads `GEMINI_API_KEY` or `GEMINI_API_KEY_PARAMETER`, the optional variables
    /// `GEMINI_BASE_URL`, `GEMINI_API_VERSION` and `GEMINI_INPUT_MIME_TYPE`, and those of
    /// [`Proxies::from_variables`]. `open` returns the store for the parameter's name.
    ///
    /// # Errors
    /// [`VariableError`] when the key is missing, or when the key or a proxy is invalid.
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
            proxies: Proxies::from_variables(variables)?,
        })
    }
}

/// Settings that a client can't use.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The base URL is not `http(s)://host[:port][/path]`.
    #[error("invalid base URL of Gemini: expected http(s)://host[:port][/path]")]
    BaseUrl,
    /// The version contains something other than ASCII letters and digits, or nothing.
    #[error("invalid API version of Gemini: expected a word such as v1beta")]
    ApiVersion,
}

/// A client of the Gemini API. It is cheap to clone: clones share the transports and the key.
#[derive(Clone)]
pub struct Gemini {
    transport: Arc<dyn Transport>,
    /// For responses of gigabytes: files and inline results.
    downloads: Arc<dyn Transport>,
    base: Url,
    api_version: String,
    input_mime_type: String,
    key: Arc<KeySource>,
}

impl Gemini {
    /// A client that sends every request through `transport`.
    ///
    /// # Errors
    /// [`SettingsError`] when the base URL or the version can't be used.
    pub fn new(settings: Settings, transport: Arc<dyn Transport>) -> Result<Self, SettingsError> {
        let base = Url::parse(&settings.base_url).map_err(|_| SettingsError::BaseUrl)?;
        let has_only_host_and_path = base.query().is_none()
            && base.fragment().is_none()
            && base.username().is_empty()
            && base.password().is_none();
        if !matches!(base.scheme(), "http" | "https") || !has_only_host_and_path {
            return Err(SettingsError::BaseUrl);
        }
        let version = &settings.api_version;
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SettingsError::ApiVersion);
        }
        Ok(Self {
            downloads: Arc::clone(&transport),
            transport,
            base,
            api_version: settings.api_version,
            input_mime_type: settings.input_mime_type,
            key: settings.key,
        })
    }

    /// A client that sends its requests over the network.
    ///
    /// # Errors
    /// [`SettingsError`] when the base URL or the version can't be used.
    pub fn over_https(settings: Settings) -> Result<Self, SettingsError> {
        let proxies = settings.proxies.clone();
        let transport = Arc::new(HttpsTransport::new(proxies.clone()));
        Ok(Self {
            downloads: Arc::new(DownloadTransport::new(proxies)),
            ..Self::new(settings, transport)?
        })
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
    use super::{fake_transport::FakeTransport, *};
    use crate::key::ApiKey;

    fn settings() -> Settings {
        Settings::new(Arc::new(KeySource::fixed(
            ApiKey::new("canary-1234").unwrap(),
        )))
    }

    fn client(settings: Settings) -> Result<Gemini, SettingsError> {
        Gemini::new(settings, FakeTransport::replies([]))
    }

    #[test]
    fn debug_shows_the_key_in_neither_settings_nor_client() {
        let settings = settings();
        assert!(!format!("{settings:?}").contains("canary"));
        assert!(!format!("{:?}", client(settings).unwrap()).contains("canary"));
    }

    #[test]
    fn the_base_url_keeps_its_port_and_path() {
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
    fn rejects_a_base_url_with_more_than_host_and_path() {
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
    fn rejects_a_version_that_is_not_one_word() {
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
