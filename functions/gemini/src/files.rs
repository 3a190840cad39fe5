//! The Files API without upload and download: get, list and delete files.

use darkroom::names::FileName;
use http::Method;

use super::{
    Gemini,
    batches::{CALL_TIMEOUT, path_of},
    call::Call,
    error::ApiError,
    file::{File, WireFile},
    listing::Listed,
};

impl Listed for File {
    type Wire = WireFile;

    const PATH: &'static str = "files";
    const MEMBER: &'static str = "files";

    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Gemini {
    /// Returns the current state of a file. It fails for the output of a batch, whose name Google
    /// rejects as too long.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when the file is missing, has expired or belongs to another project,
    /// and the other [`ApiError`]s.
    pub async fn file(&self, name: &FileName) -> Result<File, ApiError> {
        let call = Call::new(Method::GET, self.url(file_path(name)?));
        self.send_with_retry(&call, CALL_TIMEOUT)
            .await?
            .json::<WireFile>()?
            .try_into()
    }

    /// Returns all files of the project that have not expired, in Google's order, each once. An
    /// incomplete list is an error, so an empty list means that there is no file.
    ///
    /// # Errors
    /// The error of the first page that fails, or [`ApiError::Malformed`] when the pages form a
    /// cycle.
    pub async fn files(&self) -> Result<Vec<File>, ApiError> {
        self.list().await
    }

    /// Deletes an uploaded file. It fails for the output of a batch, whose name Google rejects as
    /// too long.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when the file does not exist, which may be the effect of this call's
    /// own interrupted first attempt, and the other [`ApiError`]s.
    pub async fn delete_file(&self, name: &FileName) -> Result<(), ApiError> {
        let call = Call::new(Method::DELETE, self.url(file_path(name)?));
        self.send_with_retry(&call, CALL_TIMEOUT).await.map(drop)
    }
}

pub(super) fn file_path(name: &FileName) -> Result<&str, ApiError> {
    path_of("files/", name.as_str()).ok_or_else(|| ApiError::invalid("not the name of a file"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        FileState,
        fake_transport::{FakeTransport, client, json as answer},
    };

    #[tokio::test]
    async fn a_file_that_is_not_ready_is_processing() {
        let fake = FakeTransport::replies([answer(
            200,
            &json!({ "name": "files/1", "state": "PROCESSING" }),
        )]);
        let file = client(&fake).file(&FileName::new("files/1")).await.unwrap();
        assert_eq!(file.state, FileState::Processing);
        assert_eq!(fake.lines(), ["GET /v1beta/files/1"]);
    }

    #[tokio::test]
    async fn a_forbidden_file_is_not_found() {
        let message = "You do not have permission to access the File 1 or it may not exist.";
        let body =
            json!({ "error": { "code": 403, "message": message, "status": "PERMISSION_DENIED" } });
        let fake = FakeTransport::replies([answer(403, &body)]);
        let file = client(&fake).file(&FileName::new("files/1")).await;
        assert!(matches!(file, Err(ApiError::NotFound { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn the_list_follows_every_page_and_has_each_file_once() {
        let file = |id: &str| json!({ "name": format!("files/{id}"), "displayName": format!("stack/job/{id}") });
        let fake = FakeTransport::replies([
            answer(
                200,
                &json!({ "files": [file("1"), file("2")], "nextPageToken": "a&b=" }),
            ),
            answer(200, &json!({ "files": [file("2"), file("3")] })),
        ]);
        let files = client(&fake).files().await.unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| (file.name.as_str(), file.display_name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("files/1", "stack/job/1"),
                ("files/2", "stack/job/2"),
                ("files/3", "stack/job/3")
            ]
        );
        assert_eq!(
            fake.lines(),
            [
                "GET /v1beta/files?pageSize=100",
                "GET /v1beta/files?pageSize=100&pageToken=a%26b%3D"
            ]
        );
    }

    #[tokio::test]
    async fn an_incomplete_list_is_an_error() {
        let first = || {
            answer(
                200,
                &json!({ "files": [{ "name": "files/1" }], "nextPageToken": "a" }),
            )
        };
        for second in [
            answer(403, &json!({})),
            answer(429, &json!({})),
            answer(200, &json!({ "files": [{}] })),
        ] {
            client(&FakeTransport::replies([first(), second]))
                .files()
                .await
                .unwrap_err();
        }
        let circle = client(&FakeTransport::replies([first(), first()]))
            .files()
            .await;
        assert!(
            matches!(circle, Err(ApiError::Malformed { .. })),
            "{circle:?}"
        );
    }

    #[tokio::test]
    async fn an_interrupted_delete_is_repeated_once() {
        let fake = FakeTransport::replies([answer(503, &json!({})), answer(200, &json!({}))]);
        client(&fake)
            .delete_file(&FileName::new("files/1"))
            .await
            .unwrap();
        assert_eq!(
            fake.lines(),
            ["DELETE /v1beta/files/1", "DELETE /v1beta/files/1"]
        );
    }

    #[tokio::test]
    async fn a_name_of_another_path_is_not_sent() {
        for name in ["files/", "files/../batches", "batches/1", "files/1?key=x"] {
            let name = FileName::new(name);
            let gemini = client(&FakeTransport::replies([]));
            assert!(matches!(
                gemini.file(&name).await,
                Err(ApiError::Invalid { .. })
            ));
            assert!(matches!(
                gemini.delete_file(&name).await,
                Err(ApiError::Invalid { .. })
            ));
        }
    }
}
