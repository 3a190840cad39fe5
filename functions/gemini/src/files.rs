//! The Files API, but for upload and download: look at a file, list all, delete one.

use darkroom::names::FileName;
use http::Method;

use super::{
    Gemini,
    batches::{CALL_TIMEOUT, path_of},
    error::ApiError,
    exchange::Call,
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
    /// A file as it is now. A batch's output can't be looked at: Google finds its name too long.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when it is missing, expired or another project's; others by their
    /// meaning.
    pub async fn file(&self, name: &FileName) -> Result<File, ApiError> {
        let call = Call::new(Method::GET, self.url(file_path(name)?));
        self.again(&call, CALL_TIMEOUT)
            .await?
            .json::<WireFile>()?
            .try_into()
    }

    /// All files of the project that have not expired, in Google's order, each once. Nothing is
    /// left out: what can't be listed whole is an error, so that an empty list means that there is
    /// no file.
    ///
    /// # Errors
    /// That of the first page that fails; [`ApiError::Malformed`] when the pages go in a circle.
    pub async fn files(&self) -> Result<Vec<File>, ApiError> {
        self.list().await
    }

    /// Deletes a file that was uploaded. A batch's output can't be deleted: Google finds its name
    /// too long.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when it is gone already, which after an interrupted call may be this
    /// call's doing; others by their meaning.
    pub async fn delete_file(&self, name: &FileName) -> Result<(), ApiError> {
        let call = Call::new(Method::DELETE, self.url(file_path(name)?));
        self.again(&call, CALL_TIMEOUT).await.map(drop)
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
        script::{Script, client, json as answer},
    };

    #[tokio::test]
    async fn file_that_is_not_ready_says_so() {
        let script = Script::replies([answer(
            200,
            &json!({ "name": "files/1", "state": "PROCESSING" }),
        )]);
        let file = client(&script)
            .file(&FileName::new("files/1"))
            .await
            .unwrap();
        assert_eq!(file.state, FileState::Processing);
        assert_eq!(script.lines(), ["GET /v1beta/files/1"]);
    }

    #[tokio::test]
    async fn forbidden_file_is_one_that_is_not_there() {
        let message = "You do not have permission to access the File 1 or it may not exist.";
        let body =
            json!({ "error": { "code": 403, "message": message, "status": "PERMISSION_DENIED" } });
        let script = Script::replies([answer(403, &body)]);
        let file = client(&script).file(&FileName::new("files/1")).await;
        assert!(matches!(file, Err(ApiError::NotFound { .. })), "{file:?}");
    }

    #[tokio::test]
    async fn list_follows_every_page_and_names_each_file_once() {
        let file = |id: &str| json!({ "name": format!("files/{id}"), "displayName": format!("stack/job/{id}") });
        let script = Script::replies([
            answer(
                200,
                &json!({ "files": [file("1"), file("2")], "nextPageToken": "a&b=" }),
            ),
            answer(200, &json!({ "files": [file("2"), file("3")] })),
        ]);
        let files = client(&script).files().await.unwrap();
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
            script.lines(),
            [
                "GET /v1beta/files?pageSize=100",
                "GET /v1beta/files?pageSize=100&pageToken=a%26b%3D"
            ]
        );
    }

    #[tokio::test]
    async fn list_that_is_not_whole_is_an_error() {
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
            client(&Script::replies([first(), second]))
                .files()
                .await
                .unwrap_err();
        }
        let circle = client(&Script::replies([first(), first()])).files().await;
        assert!(
            matches!(circle, Err(ApiError::Malformed { .. })),
            "{circle:?}"
        );
    }

    #[tokio::test]
    async fn delete_is_repeated_once() {
        let script = Script::replies([answer(503, &json!({})), answer(200, &json!({}))]);
        client(&script)
            .delete_file(&FileName::new("files/1"))
            .await
            .unwrap();
        assert_eq!(
            script.lines(),
            ["DELETE /v1beta/files/1", "DELETE /v1beta/files/1"]
        );
    }

    #[tokio::test]
    async fn name_of_another_path_is_not_sent() {
        for name in ["files/", "files/../batches", "batches/1", "files/1?key=x"] {
            let name = FileName::new(name);
            let gemini = client(&Script::replies([]));
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
