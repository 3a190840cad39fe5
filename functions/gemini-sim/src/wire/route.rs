//! The call that a request makes, by its method and path, in any version and below `/upload` and
//! `/download`.

use http::{HeaderMap, HeaderValue, Method, Uri, header::HOST, request::Parts};
use serde::{Deserialize, Serialize};

/// A kind of call, as counted by the simulated service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The start of a resumable upload, or a whole upload in one request.
    StartUpload,
    /// A chunk of an upload, its end, or a query of the number of received bytes.
    ContinueUpload,
    /// `files.list`.
    ListFiles,
    /// `files.get`.
    GetFile,
    /// `files.delete`.
    DeleteFile,
    /// `:download` of an output file.
    Download,
    /// `:batchGenerateContent`.
    CreateBatch,
    /// `batches.list`.
    ListBatches,
    /// `batches.get`.
    GetBatch,
    /// `batches.cancel`.
    CancelBatch,
    /// `batches.delete`.
    DeleteBatch,
    /// `batches.updateGenerateContentBatch`.
    UpdateBatch,
    /// `:generateContent`.
    GenerateContent,
    /// `:streamGenerateContent`.
    StreamGenerateContent,
    /// `:countTokens`.
    CountTokens,
    /// `models.list`.
    ListModels,
    /// `models.get`.
    GetModel,
    /// Any other request.
    Unknown,
}

impl Call {
    /// All kinds.
    pub(crate) const ALL: [Self; 18] = [
        Self::StartUpload,
        Self::ContinueUpload,
        Self::ListFiles,
        Self::GetFile,
        Self::DeleteFile,
        Self::Download,
        Self::CreateBatch,
        Self::ListBatches,
        Self::GetBatch,
        Self::CancelBatch,
        Self::DeleteBatch,
        Self::UpdateBatch,
        Self::GenerateContent,
        Self::StreamGenerateContent,
        Self::CountTokens,
        Self::ListModels,
        Self::GetModel,
        Self::Unknown,
    ];

    /// Returns the name in rules and flags, such as `create-batch`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StartUpload => "start-upload",
            Self::ContinueUpload => "continue-upload",
            Self::ListFiles => "list-files",
            Self::GetFile => "get-file",
            Self::DeleteFile => "delete-file",
            Self::Download => "download",
            Self::CreateBatch => "create-batch",
            Self::ListBatches => "list-batches",
            Self::GetBatch => "get-batch",
            Self::CancelBatch => "cancel-batch",
            Self::DeleteBatch => "delete-batch",
            Self::UpdateBatch => "update-batch",
            Self::GenerateContent => "generate-content",
            Self::StreamGenerateContent => "stream-generate-content",
            Self::CountTokens => "count-tokens",
            Self::ListModels => "list-models",
            Self::GetModel => "get-model",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether the call is a single request to a model.
    pub(crate) fn is_single_request(self) -> bool {
        matches!(self, Self::GenerateContent | Self::StreamGenerateContent)
    }

    /// Returns the kind with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name() == name)
    }

    /// Returns all names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::name)
    }
}

/// The call of a request and the id in its path, without `files/`, `batches/` or `models/`; empty
/// if there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) call: Call,
    pub(crate) id: String,
    /// `v1` or `v1beta`.
    pub(crate) version: &'static str,
}

impl Route {
    /// Returns the route of a request.
    pub(crate) fn of(request: &Parts) -> Self {
        Self::parse(&request.method, &request.uri).unwrap_or(Self {
            call: Call::Unknown,
            id: String::new(),
            version: "v1beta",
        })
    }

    fn parse(method: &Method, uri: &Uri) -> Option<Self> {
        // An optional prefix, then the version, then a collection with an optional name.
        let mut path: Vec<&str> = uri.path().split('/').skip(1).collect();
        let below = match path.first() {
            Some(&below @ ("upload" | "download")) => {
                path.remove(0);
                below
            }
            _ => "",
        };
        let (version, path) = match path.split_first()? {
            (&"v1", path) => ("v1", path),
            (&"v1beta", path) => ("v1beta", path),
            _ => return None,
        };
        let (collection, name) = match path {
            [collection] => (*collection, ""),
            [collection, name] if !name.is_empty() => (*collection, *name),
            _ => return None,
        };

        // The name may end with a custom verb, as in `batches/x:cancel`.
        let (id, verb) = name.split_once(':').unwrap_or((name, ""));
        let call = match (below, method.as_str(), collection, verb, id.is_empty()) {
            ("upload", "POST", "files", "", true) if parameter(uri, "upload_id").is_some() => {
                Call::ContinueUpload
            }
            ("upload", "POST", "files", "", true) => Call::StartUpload,
            ("" | "download", "GET", "files", "download", false) => Call::Download,
            ("", "GET", "files", "", true) => Call::ListFiles,
            ("", "GET", "files", "", false) => Call::GetFile,
            ("", "DELETE", "files", "", false) => Call::DeleteFile,
            ("", "POST", "models", "batchGenerateContent", false) => Call::CreateBatch,
            ("", "POST", "models", "generateContent", false) => Call::GenerateContent,
            ("", "POST", "models", "streamGenerateContent", false) => Call::StreamGenerateContent,
            ("", "POST", "models", "countTokens", false) => Call::CountTokens,
            ("", "GET", "models", "", true) => Call::ListModels,
            ("", "GET", "models", "", false) => Call::GetModel,
            ("", "GET", "batches", "", true) => Call::ListBatches,
            ("", "GET", "batches", "", false) => Call::GetBatch,
            ("", "POST", "batches", "cancel", false) => Call::CancelBatch,
            ("", "DELETE", "batches", "", false) => Call::DeleteBatch,
            ("", "PATCH", "batches", "updateGenerateContentBatch", false) => Call::UpdateBatch,
            _ => return None,
        };
        Some(Self {
            call,
            id: id.to_owned(),
            version,
        })
    }
}

/// Returns a query parameter, without decoding it.
pub(crate) fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Returns the API key that the request carries.
pub(crate) fn key(request: &Parts) -> Option<&[u8]> {
    let header = request
        .headers
        .get("x-goog-api-key")
        .map(HeaderValue::as_bytes);
    let key = header.or_else(|| parameter(&request.uri, "key").map(str::as_bytes));
    key.filter(|key| !key.is_empty())
}

/// Returns the scheme and host that the caller used, such as `http://127.0.0.1:9000`, with which
/// URLs in answers start.
pub(crate) fn origin(request: &Parts) -> String {
    let scheme = request.uri.scheme_str().unwrap_or("http");
    let host = host_header(&request.headers)
        .or_else(|| request.uri.authority().map(|authority| authority.as_str()));
    host.map_or_else(
        || "https://generativelanguage.googleapis.com".to_owned(),
        |host| format!("{scheme}://{host}"),
    )
}

fn host_header(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn route(method: &str, uri: &str) -> (Call, String) {
        let (parts, ()) = Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .expect("a request")
            .into_parts();
        let route = Route::of(&parts);
        (route.call, route.id)
    }

    #[test]
    fn both_versions_and_both_download_paths_are_served() {
        for path in [
            "/v1/files/batch-x:download",
            "/v1beta/files/batch-x:download",
            "/download/v1/files/batch-x:download",
        ] {
            assert_eq!(route("GET", path), (Call::Download, "batch-x".to_owned()));
        }
    }

    #[test]
    fn an_upload_id_distinguishes_a_chunk_from_a_start() {
        assert_eq!(route("POST", "/upload/v1beta/files").0, Call::StartUpload);
        assert_eq!(
            route(
                "POST",
                "/upload/v1beta/files?upload_id=a&upload_protocol=resumable"
            )
            .0,
            Call::ContinueUpload
        );
    }

    #[test]
    fn verbs_are_valid_for_their_collection_only() {
        assert_eq!(
            route("POST", "/v1/batches/b:cancel"),
            (Call::CancelBatch, "b".to_owned())
        );
        assert_eq!(
            route("POST", "/v1/models/m:batchGenerateContent"),
            (Call::CreateBatch, "m".to_owned())
        );
        assert_eq!(
            route("POST", "/v1beta/models/m:countTokens"),
            (Call::CountTokens, "m".to_owned())
        );
        let streamed = route("POST", "/v1beta/models/m:streamGenerateContent?alt=sse");
        assert_eq!(streamed, (Call::StreamGenerateContent, "m".to_owned()));
        assert_eq!(route("GET", "/v1/models/m:countTokens").0, Call::Unknown);
        assert_eq!(route("POST", "/v1/files/f:cancel").0, Call::Unknown);
        assert_eq!(route("GET", "/v2/files").0, Call::Unknown);
        assert_eq!(route("GET", "/").0, Call::Unknown);
    }

    #[test]
    fn the_host_header_takes_precedence_over_the_uri() {
        let request = Request::builder()
            .uri("http://one/x")
            .header(HOST, "two:81")
            .body(())
            .expect("a request");
        assert_eq!(origin(&request.into_parts().0), "http://two:81");
    }
}
