//! The Batch API: create, get, list and cancel batches.

use std::time::Duration;

use darkroom::names::{BatchName, FileName};
use http::Method;
use serde::Serialize;

use super::{
    Gemini,
    batch::{Batch, Operation},
    call::Call,
    error::{ApiError, CreateError},
    listing::Listed,
};

/// The limit for calls with small responses. With the second attempt a call takes a minute at most.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The description of a batch may contain all its results, each twice. A call without a response,
/// or whose response stalls, ends after [`CALL_TIMEOUT`].
const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a create call may take. Google reads the whole input file before it responds. A
/// time-out is expensive, because it leaves the outcome unknown, and to find it out takes half an
/// hour.
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
    /// Creates a batch of the requests in `input_file`. The call is never repeated, unless its key
    /// was rejected: the API has no idempotency key, and a second batch is billed as well.
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
        let url = self.url(&format!("{}:batchGenerateContent", model_path(model)?));
        let call = Call::new(Method::POST, url).json(&CreateBody {
            batch: NewBatch {
                input_config: InputConfig {
                    file_name: input_file,
                },
                display_name,
            },
        })?;
        let answer = self.send_once(&call, CREATE_TIMEOUT).await?;
        Ok(answer.json::<Operation>()?.try_into()?)
    }

    /// Returns the current state of a batch. Results within the response are skipped, whatever
    /// their size, which may take longer than other calls.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when this key's project has no such batch, and the other
    /// [`ApiError`]s.
    pub async fn batch(&self, name: &BatchName) -> Result<Batch, ApiError> {
        let call = Call::new(Method::GET, self.url(batch_path(name)?))
            .with_long_response(DESCRIPTION_TIMEOUT);
        let answer = self.send_with_retry(&call, CALL_TIMEOUT).await?;
        answer.json::<Operation>()?.try_into()
    }

    /// Returns all batches of the project, in Google's order, each once. An incomplete list is an
    /// error, so an empty list means that there is no batch.
    ///
    /// # Errors
    /// The error of the first page that fails, or [`ApiError::Malformed`] when the pages form a
    /// cycle.
    pub async fn batches(&self) -> Result<Vec<Batch>, ApiError> {
        self.list().await
    }

    /// Checks whether the key may use the Batch API. The call changes nothing and is free.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] when the key or its project is rejected. The other errors do not
    /// depend on the key.
    pub async fn check_access(&self) -> Result<(), ApiError> {
        let mut url = self.url(Batch::PATH);
        url.query_pairs_mut().append_pair("pageSize", "1");
        self.send_with_retry(&Call::new(Method::GET, url), CALL_TIMEOUT)
            .await
            .map(drop)
    }

    /// Requests the cancellation of a batch. It takes effect later, and the batch may still
    /// succeed.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is no such batch, and the other [`ApiError`]s.
    pub async fn cancel(&self, name: &BatchName) -> Result<(), ApiError> {
        let url = self.url(&format!("{}:cancel", batch_path(name)?));
        self.send_with_retry(&Call::new(Method::POST, url), CALL_TIMEOUT)
            .await
            .map(drop)
    }
}

/// Returns the path of a model.
pub(super) fn model_path(model: &str) -> Result<String, ApiError> {
    let id = model.strip_prefix("models/").unwrap_or(model);
    if is_id(id) {
        Ok(format!("models/{id}"))
    } else {
        Err(ApiError::invalid("not the ID of a model"))
    }
}

pub(super) fn batch_path(name: &BatchName) -> Result<&str, ApiError> {
    path_of("batches/", name.as_str()).ok_or_else(|| ApiError::invalid("not the name of a batch"))
}

/// Returns the name as a path if it belongs to the collection. Names come from stored states and
/// from responses, and none may reach another path or add a query.
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
    use crate::fake_transport::{
        CANARY, FakeTransport, Reply, assert_valid, client, error_chain, interrupted,
        json as answer, never_sent, reply,
    };

    fn operation(id: &str) -> Value {
        json!({ "name": format!("batches/{id}"), "metadata": { "state": "BATCH_STATE_RUNNING" } })
    }

    async fn create(reply: Reply) -> (Result<Batch, CreateError>, std::sync::Arc<FakeTransport>) {
        let fake = FakeTransport::replies([reply]);
        let input = FileName::new("files/x");
        let batch = client(&fake)
            .create_batch("gemini-3-pro-image", "studio/j/0000/1", &input)
            .await;
        (batch, fake)
    }

    #[tokio::test]
    async fn create_sends_one_valid_request_with_the_key() {
        let (batch, fake) = create(answer(200, &operation("1"))).await;
        assert_eq!(batch.unwrap().name, BatchName::new("batches/1"));
        let [request] = &fake.requests()[..] else {
            panic!("{:?}", fake.lines())
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
    async fn a_rejected_create_made_no_batch() {
        for status in [400, 401, 403, 404, 409, 413, 429] {
            let (batch, fake) = create(answer(status, &json!({}))).await;
            assert!(
                matches!(batch, Err(CreateError::NotCreated(_))),
                "{status}: {batch:?}"
            );
            assert_eq!(fake.requests().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_create_that_was_never_sent_made_no_batch() {
        let (batch, fake) = create(never_sent()).await;
        let Err(CreateError::NotCreated(ApiError::Transient { source, .. })) = batch else {
            panic!("{batch:?}")
        };
        assert!(matches!(source, Some(TransportError::NeverSent(_))));
        assert_eq!(fake.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_create_with_an_unclear_outcome_is_unknown_and_is_not_repeated() {
        for status in [302, 307, 408, 499, 500, 502, 503, 504] {
            let (batch, fake) = create(answer(status, &json!({}))).await;
            assert!(
                matches!(batch, Err(CreateError::Unknown(_))),
                "{status}: {batch:?}"
            );
            assert_eq!(fake.requests().len(), 1);
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
            let (batch, fake) = create(reply).await;
            assert!(
                matches!(batch, Err(CreateError::Unknown(_))),
                "{case}: {batch:?}"
            );
            assert_eq!(fake.requests().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_times_out_is_unknown() {
        struct Silent;
        impl seam::transport::Transport for Silent {
            fn send(
                &self,
                _: http::Request<seam::transport::Body>,
            ) -> seam::transport::BoxFuture<'_, Reply> {
                Box::pin(std::future::pending())
            }
        }
        let mut gemini = client(&FakeTransport::replies([]));
        gemini.transport = std::sync::Arc::new(Silent);
        let batch = gemini
            .create_batch("m", "d", &FileName::new("files/x"))
            .await;
        assert!(matches!(batch, Err(CreateError::Unknown(_))), "{batch:?}");
    }

    #[tokio::test]
    async fn a_model_may_include_its_collection_but_no_other_path() {
        let fake = FakeTransport::replies([answer(200, &operation("1"))]);
        let input = FileName::new("files/x");
        client(&fake)
            .create_batch("models/m-1", "d", &input)
            .await
            .unwrap();
        assert_eq!(
            fake.lines(),
            ["POST /v1beta/models/m-1:batchGenerateContent"]
        );
        for model in ["", "../files", "m?key=x", "m/n", "m:generateContent"] {
            let batch = client(&fake).create_batch(model, "d", &input).await;
            assert!(matches!(batch, Err(CreateError::NotCreated(_))), "{model}");
        }
        assert_eq!(fake.requests().len(), 1);
    }

    #[tokio::test]
    async fn the_list_follows_every_page_and_has_each_batch_once() {
        let fake = FakeTransport::replies([
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
        let batches = client(&fake).batches().await.unwrap();
        let names: Vec<_> = batches.iter().map(|batch| batch.name.as_str()).collect();
        assert_eq!(names, ["batches/1", "batches/2", "batches/3"]);
        assert_eq!(
            fake.lines(),
            [
                "GET /v1beta/batches?pageSize=100",
                "GET /v1beta/batches?pageSize=100&pageToken=a%26b%3D",
                "GET /v1beta/batches?pageSize=100&pageToken=c",
            ]
        );
    }

    #[tokio::test]
    async fn a_list_that_fails_on_its_second_page_is_an_error() {
        let first = || {
            answer(
                200,
                &json!({ "operations": [operation("1")], "nextPageToken": "a" }),
            )
        };
        let refused = FakeTransport::replies([first(), answer(403, &json!({}))]);
        let list = client(&refused).batches().await;
        assert!(
            matches!(list, Err(ApiError::Unauthorized { .. })),
            "{list:?}"
        );
        let down = FakeTransport::replies([first(), answer(503, &json!({})), interrupted()]);
        let list = client(&down).batches().await;
        assert!(matches!(list, Err(ApiError::Transient { .. })), "{list:?}");
    }

    #[tokio::test]
    async fn an_incomplete_list_is_an_error() {
        let nameless = json!({ "operations": [{ "metadata": {} }] });
        let partial = json!({ "unreachable": ["somewhere"] });
        let error = json!({ "error": { "code": 500 } });
        for page in [nameless, partial, error, json!([]), json!(null), json!("")] {
            client(&FakeTransport::replies([answer(200, &page)]))
                .batches()
                .await
                .unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_list_whose_pages_form_a_cycle_is_an_error() {
        let mut page = 0;
        let fake = FakeTransport::new(move |_| {
            page += 1;
            let token = if page % 2 == 0 { "a" } else { "b" };
            answer(200, &json!({ "nextPageToken": token }))
        });
        let list = client(&fake).batches().await;
        assert!(matches!(list, Err(ApiError::Malformed { .. })), "{list:?}");
        assert_eq!(fake.requests().len(), 3);
    }

    #[tokio::test]
    async fn an_interrupted_get_is_repeated_once() {
        for first in [interrupted(), never_sent(), answer(500, &json!({}))] {
            let fake = FakeTransport::replies([first, answer(200, &operation("1"))]);
            let batch = client(&fake)
                .batch(&BatchName::new("batches/1"))
                .await
                .unwrap();
            assert_eq!(batch.name.as_str(), "batches/1");
            assert_eq!(
                fake.lines(),
                ["GET /v1beta/batches/1", "GET /v1beta/batches/1"]
            );
        }
    }

    #[tokio::test]
    async fn a_rejected_get_is_not_repeated() {
        for status in [400, 401, 404, 429] {
            let fake = FakeTransport::replies([answer(status, &json!({}))]);
            client(&fake)
                .batch(&BatchName::new("batches/1"))
                .await
                .unwrap_err();
            assert_eq!(fake.requests().len(), 1);
        }
    }

    #[tokio::test]
    async fn cancel_is_a_post_without_a_body() {
        let fake = FakeTransport::replies([answer(200, &json!({}))]);
        client(&fake)
            .cancel(&BatchName::new("batches/1"))
            .await
            .unwrap();
        let [request] = &fake.requests()[..] else {
            panic!("{:?}", fake.lines())
        };
        assert_eq!(request.line(), "POST /v1beta/batches/1:cancel");
        assert_eq!(
            (request.header("content-length"), request.body.len()),
            (Some("0"), 0)
        );
    }

    #[tokio::test]
    async fn a_name_of_another_path_is_not_sent() {
        for name in [
            "batches/",
            "batches/..",
            "batches/1?key=x",
            "batches/1/x",
            "files/1",
            "batches/1:cancel",
        ] {
            let fake = FakeTransport::replies([]);
            let name = BatchName::new(name);
            assert!(matches!(
                client(&fake).batch(&name).await,
                Err(ApiError::Invalid { .. })
            ));
            assert!(matches!(
                client(&fake).cancel(&name).await,
                Err(ApiError::Invalid { .. })
            ));
        }
    }

    #[tokio::test]
    async fn no_error_contains_the_key() {
        let message =
            format!("Consumer 'api_key:{CANARY}' at https://host/?key={CANARY} is suspended");
        for status in [302, 400, 401, 403, 404, 409, 418, 429, 500, 503] {
            let body = json!({ "error": { "code": status, "message": message } });
            let (batch, _) = create(answer(status, &body)).await;
            let shown = error_chain(&batch.unwrap_err());
            assert!(!shown.contains(CANARY), "{status}: {shown}");
        }
        for reply in [
            interrupted(),
            never_sent(),
            reply(200, format!("\"{CANARY}\"")),
        ] {
            let (batch, _) = create(reply).await;
            let shown = error_chain(&batch.unwrap_err());
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }
}
