//! The Batch API: create, look at, list, cancel.

use std::time::Duration;

use darkroom::names::{BatchName, FileName};
use http::Method;
use serde::Serialize;

use super::{
    Gemini,
    batch::{Batch, Operation},
    error::{ApiError, CreateError},
    exchange::Call,
    listing::Listed,
};

/// Small questions get small answers; twice this, for the second try, is still a minute.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A batch may have all its results in its description, each twice. A call that gets no answer at
/// all, or whose answer stands still, ends sooner.
const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Google reads the whole input file before it answers. Giving up early is dear: it leaves the
/// outcome unknown, and finding out takes half an hour.
pub const CREATE_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Serialize)]
struct CreateBody<'a> {
    batch: NewBatch<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewBatch<'a> {
    input_config: InputConfig<'a>,
    display_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputConfig<'a> {
    file_name: &'a FileName,
}

impl Listed for Batch {
    type Wire = Operation;

    const PATH: &'static str = "batches";
    const MEMBER: &'static str = "operations";

    fn name(&self) -> &str {
        self.name.as_str()
    }
}

impl Gemini {
    /// Creates a batch of the requests in `input_file`, with one request that is never sent again,
    /// unless its key was refused: the API has no idempotency key, and a second create is a second
    /// bill.
    ///
    /// # Errors
    /// [`CreateError::NotCreated`] when there is no batch, [`CreateError::Unknown`] when there may
    /// be one.
    pub async fn create_batch(
        &self,
        model: &str,
        display_name: &str,
        input_file: &FileName,
    ) -> Result<Batch, CreateError> {
        let id = model.strip_prefix("models/").unwrap_or(model);
        if !is_id(id) {
            return Err(ApiError::invalid("not the id of a model").into());
        }
        let url = self.url(&format!("models/{id}:batchGenerateContent"));
        let call = Call::new(Method::POST, url).json(&CreateBody {
            batch: NewBatch {
                input_config: InputConfig {
                    file_name: input_file,
                },
                display_name,
            },
        })?;
        let answer = self.once(&call, CREATE_TIMEOUT).await?;
        Ok(answer.json::<Operation>()?.try_into()?)
    }

    /// A batch as it is now. Results that it holds itself are passed over, however large they are;
    /// that may take longer than other calls.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when this key's project has no such batch; others by their meaning.
    pub async fn batch(&self, name: &BatchName) -> Result<Batch, ApiError> {
        let call = Call::new(Method::GET, self.url(batch_path(name)?))
            .with_long_answer(DESCRIPTION_TIMEOUT);
        let answer = self.again(&call, CALL_TIMEOUT).await?;
        answer.json::<Operation>()?.try_into()
    }

    /// All batches of the project, in Google's order, each once. Nothing is left out: what can't be
    /// listed whole is an error, so that an empty list means that there is no batch.
    ///
    /// # Errors
    /// That of the first page that fails; [`ApiError::Malformed`] when the pages go in a circle.
    pub async fn batches(&self) -> Result<Vec<Batch>, ApiError> {
        self.list().await
    }

    /// Asks whether the key may use the Batch API. Changes nothing, and costs nothing.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] when the key or its project is refused; others say nothing about
    /// the key.
    pub async fn check_access(&self) -> Result<(), ApiError> {
        let mut url = self.url(Batch::PATH);
        url.query_pairs_mut().append_pair("pageSize", "1");
        self.again(&Call::new(Method::GET, url), CALL_TIMEOUT)
            .await
            .map(drop)
    }

    /// Asks for the batch's end. It may take a while, and the batch may still succeed.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is no such batch; others by their meaning.
    pub async fn cancel(&self, name: &BatchName) -> Result<(), ApiError> {
        let url = self.url(&format!("{}:cancel", batch_path(name)?));
        self.again(&Call::new(Method::POST, url), CALL_TIMEOUT)
            .await
            .map(drop)
    }
}

pub(super) fn batch_path(name: &BatchName) -> Result<&str, ApiError> {
    path_of("batches/", name.as_str()).ok_or_else(|| ApiError::invalid("not the name of a batch"))
}

/// The name as a path, if it is one of the collection's. Names come from stored states and foreign
/// answers: none may reach another path or add a query.
pub(super) fn path_of<'a>(collection: &str, name: &'a str) -> Option<&'a str> {
    is_id(name.strip_prefix(collection)?).then_some(name)
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use seam::transport::TransportError;
    use serde_json::{Value, json};

    use super::*;
    use crate::script::{
        CANARY, Reply, Script, assert_valid, client, interrupted, json as answer, never_sent,
        reply, shown,
    };

    fn operation(id: &str) -> Value {
        json!({ "name": format!("batches/{id}"), "metadata": { "state": "BATCH_STATE_RUNNING" } })
    }

    async fn create(reply: Reply) -> (Result<Batch, CreateError>, std::sync::Arc<Script>) {
        let script = Script::replies([reply]);
        let input = FileName::new("files/x");
        let batch = client(&script)
            .create_batch("gemini-3-pro-image", "studio/j/0000/1", &input)
            .await;
        (batch, script)
    }

    #[tokio::test]
    async fn create_sends_one_valid_request_with_the_key() {
        let (batch, script) = create(answer(200, &operation("1"))).await;
        assert_eq!(batch.unwrap().name, BatchName::new("batches/1"));
        let [request] = &script.seen()[..] else {
            panic!("{:?}", script.lines())
        };
        assert_eq!(
            request.line(),
            "POST /v1beta/models/gemini-3-pro-image:batchGenerateContent"
        );
        assert_eq!(request.header("x-goog-api-key"), Some(CANARY));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(
            request.body,
            r#"{"batch":{"inputConfig":{"fileName":"files/x"},"displayName":"studio/j/0000/1"}}"#
        );
        assert_valid("BatchGenerateContentRequest", &request.json());
    }

    #[tokio::test]
    async fn refused_create_made_no_batch() {
        for status in [400, 401, 403, 404, 409, 413, 429] {
            let (batch, script) = create(answer(status, &json!({}))).await;
            assert!(
                matches!(batch, Err(CreateError::NotCreated(_))),
                "{status}: {batch:?}"
            );
            assert_eq!(script.seen().len(), 1);
        }
    }

    #[tokio::test]
    async fn create_that_was_never_sent_made_no_batch() {
        let (batch, script) = create(never_sent()).await;
        let Err(CreateError::NotCreated(ApiError::Transient { source, .. })) = batch else {
            panic!("{batch:?}")
        };
        assert!(matches!(source, Some(TransportError::NeverSent(_))));
        assert_eq!(script.seen().len(), 1);
    }

    #[tokio::test]
    async fn create_without_a_clear_answer_is_unknown_and_is_not_repeated() {
        for status in [302, 307, 408, 499, 500, 502, 503, 504] {
            let (batch, script) = create(answer(status, &json!({}))).await;
            assert!(
                matches!(batch, Err(CreateError::Unknown(_))),
                "{status}: {batch:?}"
            );
            assert_eq!(script.seen().len(), 1);
        }
        for (case, reply) in [
            ("reset", interrupted()),
            ("not JSON", reply(200, "<html>")),
            ("empty", reply(200, "")),
            ("no name", answer(200, &json!({}))),
            (
                "an error inside",
                answer(200, &json!({ "error": { "code": 3 } })),
            ),
        ] {
            let (batch, script) = create(reply).await;
            assert!(
                matches!(batch, Err(CreateError::Unknown(_))),
                "{case}: {batch:?}"
            );
            assert_eq!(script.seen().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn create_without_an_answer_in_time_is_unknown() {
        struct Silent;
        impl seam::transport::Transport for Silent {
            fn send(
                &self,
                _: http::Request<seam::transport::Body>,
            ) -> seam::transport::BoxFuture<'_, Reply> {
                Box::pin(std::future::pending())
            }
        }
        let mut gemini = client(&Script::replies([]));
        gemini.transport = std::sync::Arc::new(Silent);
        let batch = gemini
            .create_batch("m", "d", &FileName::new("files/x"))
            .await;
        assert!(matches!(batch, Err(CreateError::Unknown(_))), "{batch:?}");
    }

    #[tokio::test]
    async fn model_may_carry_its_collection_but_no_other_path() {
        let script = Script::replies([answer(200, &operation("1"))]);
        let input = FileName::new("files/x");
        client(&script)
            .create_batch("models/m-1", "d", &input)
            .await
            .unwrap();
        assert_eq!(
            script.lines(),
            ["POST /v1beta/models/m-1:batchGenerateContent"]
        );
        for model in ["", "../files", "m?key=x", "m/n", "m:generateContent"] {
            let batch = client(&script).create_batch(model, "d", &input).await;
            assert!(matches!(batch, Err(CreateError::NotCreated(_))), "{model}");
        }
        assert_eq!(script.seen().len(), 1);
    }

    #[tokio::test]
    async fn list_follows_every_page_and_names_each_batch_once() {
        let script = Script::replies([
            answer(
                200,
                &json!({ "operations": [operation("1"), operation("2")], "nextPageToken": "a&b=" }),
            ),
            answer(
                200,
                &json!({ "operations": [operation("2"), operation("3")], "nextPageToken": "c" }),
            ),
            answer(200, &json!({})),
        ]);
        let batches = client(&script).batches().await.unwrap();
        let names: Vec<_> = batches.iter().map(|batch| batch.name.as_str()).collect();
        assert_eq!(names, ["batches/1", "batches/2", "batches/3"]);
        assert_eq!(
            script.lines(),
            [
                "GET /v1beta/batches?pageSize=100",
                "GET /v1beta/batches?pageSize=100&pageToken=a%26b%3D",
                "GET /v1beta/batches?pageSize=100&pageToken=c",
            ]
        );
    }

    #[tokio::test]
    async fn list_that_fails_on_its_second_page_is_an_error() {
        let first = || {
            answer(
                200,
                &json!({ "operations": [operation("1")], "nextPageToken": "a" }),
            )
        };
        let refused = Script::replies([first(), answer(403, &json!({}))]);
        let list = client(&refused).batches().await;
        assert!(
            matches!(list, Err(ApiError::Unauthorized { .. })),
            "{list:?}"
        );
        let down = Script::replies([first(), answer(503, &json!({})), interrupted()]);
        let list = client(&down).batches().await;
        assert!(matches!(list, Err(ApiError::Transient { .. })), "{list:?}");
    }

    #[tokio::test]
    async fn list_that_is_not_whole_is_an_error() {
        let nameless = json!({ "operations": [{ "metadata": {} }] });
        let partial = json!({ "unreachable": ["somewhere"] });
        let error = json!({ "error": { "code": 500 } });
        for page in [nameless, partial, error, json!([]), json!(null), json!("")] {
            client(&Script::replies([answer(200, &page)]))
                .batches()
                .await
                .unwrap_err();
        }
    }

    #[tokio::test]
    async fn list_that_goes_in_a_circle_is_an_error() {
        let mut page = 0;
        let script = Script::new(move |_| {
            page += 1;
            let token = if page % 2 == 0 { "a" } else { "b" };
            answer(200, &json!({ "nextPageToken": token }))
        });
        let list = client(&script).batches().await;
        assert!(matches!(list, Err(ApiError::Malformed { .. })), "{list:?}");
        assert_eq!(script.seen().len(), 3);
    }

    #[tokio::test]
    async fn interrupted_look_is_repeated_once() {
        for first in [interrupted(), never_sent(), answer(500, &json!({}))] {
            let script = Script::replies([first, answer(200, &operation("1"))]);
            let batch = client(&script)
                .batch(&BatchName::new("batches/1"))
                .await
                .unwrap();
            assert_eq!(batch.name.as_str(), "batches/1");
            assert_eq!(
                script.lines(),
                ["GET /v1beta/batches/1", "GET /v1beta/batches/1"]
            );
        }
    }

    #[tokio::test]
    async fn refused_look_is_not_repeated() {
        for status in [400, 401, 404, 429] {
            let script = Script::replies([answer(status, &json!({}))]);
            client(&script)
                .batch(&BatchName::new("batches/1"))
                .await
                .unwrap_err();
            assert_eq!(script.seen().len(), 1);
        }
    }

    #[tokio::test]
    async fn cancel_posts_without_a_body() {
        let script = Script::replies([answer(200, &json!({}))]);
        client(&script)
            .cancel(&BatchName::new("batches/1"))
            .await
            .unwrap();
        let [request] = &script.seen()[..] else {
            panic!("{:?}", script.lines())
        };
        assert_eq!(request.line(), "POST /v1beta/batches/1:cancel");
        assert_eq!(
            (request.header("content-length"), request.body.len()),
            (Some("0"), 0)
        );
    }

    #[tokio::test]
    async fn name_of_another_path_is_not_sent() {
        for name in [
            "batches/",
            "batches/..",
            "batches/1?key=x",
            "batches/1/x",
            "files/1",
            "batches/1:cancel",
        ] {
            let script = Script::replies([]);
            let name = BatchName::new(name);
            assert!(matches!(
                client(&script).batch(&name).await,
                Err(ApiError::Invalid { .. })
            ));
            assert!(matches!(
                client(&script).cancel(&name).await,
                Err(ApiError::Invalid { .. })
            ));
        }
    }

    #[tokio::test]
    async fn key_shows_in_no_error() {
        let message =
            format!("Consumer 'api_key:{CANARY}' at https://host/?key={CANARY} is suspended");
        for status in [302, 400, 401, 403, 404, 409, 418, 429, 500, 503] {
            let body = json!({ "error": { "code": status, "message": message } });
            let (batch, _) = create(answer(status, &body)).await;
            let shown = shown(&batch.unwrap_err());
            assert!(!shown.contains(CANARY), "{status}: {shown}");
        }
        for reply in [
            interrupted(),
            never_sent(),
            reply(200, format!("\"{CANARY}\"")),
        ] {
            let (batch, _) = create(reply).await;
            let shown = shown(&batch.unwrap_err());
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }
}
