//! Synchronous generation: one image per call.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{
    HeaderValue, Method,
    header::{CONTENT_TYPE, HeaderName},
};
use http_body_util::BodyDataStream;

use super::{
    Gemini,
    batches::model_path,
    call::{Call, refusal_of, with_timeout},
    error::{ApiError, GenerateError},
};

/// The header in which Gemini names the tier that served a request
/// (<https://ai.google.dev/gemini-api/docs/flex-inference>, read 2026-11).
const TIER: HeaderName = HeaderName::from_static("x-gemini-service-tier");

/// How much earlier than this client Gemini is asked to give up, so that its refusal arrives.
const SERVER_MARGIN: Duration = Duration::from_secs(5);

/// The answer to a synchronous request.
pub struct Generated {
    /// The tier that served it, if the header names it.
    pub service_tier: Option<String>,
    /// The `GenerateContentResponse`. An error is the last item: the image may have been charged
    /// for.
    pub body: BoxStream<'static, Result<Bytes, ApiError>>,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated")
            .field("service_tier", &self.service_tier)
            .finish_non_exhaustive()
    }
}

impl Gemini {
    /// Requests one image, and waits up to `within` for the head of the answer. `body` is a
    /// `GenerateContentRequest`. The call is never repeated, unless its key was rejected: the API
    /// has no idempotency key, and Gemini charges for each image.
    ///
    /// # Errors
    /// [`GenerateError`], by whether an image may have been generated.
    pub async fn generate_content(
        &self,
        model: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Generated, GenerateError> {
        let url = self.url(&format!("{}:generateContent", model_path(model)?));
        let server = within.saturating_sub(SERVER_MARGIN).as_secs().max(1);
        let call = Call::new(Method::POST, url)
            .header("x-server-timeout", &server.to_string())?
            .header(CONTENT_TYPE.as_str(), "application/json")?
            .body(body);
        let exchange = self.with_key(&call, async |key| {
            let request = call.request(key)?;
            let response = self.transport.send(request).await?;
            if !response.status().is_success() {
                return Err(refusal_of(response, key).await);
            }
            let (head, body) = response.into_parts();
            let tier = head.headers.get(TIER).map(HeaderValue::to_str);
            Ok(Generated {
                service_tier: tier.and_then(Result::ok).map(str::to_owned),
                body: BodyDataStream::new(body)
                    .map(|piece| piece.map_err(ApiError::body_interrupted))
                    .boxed(),
            })
        });
        Ok(with_timeout(within, Box::pin(exchange)).await?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_transport::{
        FakeTransport, Reply, client, interrupted, json as answer, never_sent, reply,
    };

    const WITHIN: Duration = Duration::from_secs(60);

    async fn outcome(answered: Reply) -> Result<Generated, GenerateError> {
        let transport = FakeTransport::replies([answered]);
        client(&transport)
            .generate_content("m-1", Bytes::from_static(b"{}"), WITHIN)
            .await
    }

    #[tokio::test]
    async fn sends_the_body_unchanged_and_never_twice() {
        let transport = FakeTransport::replies([reply(200, "{}")]);
        client(&transport)
            .generate_content("models/m-1", Bytes::from_static(b"{ }"), WITHIN)
            .await
            .unwrap();
        let requests = transport.requests();
        assert_eq!(
            transport.lines(),
            ["POST /v1beta/models/m-1:generateContent"]
        );
        assert_eq!(requests[0].body, "{ }");
        assert_eq!(requests[0].header("x-server-timeout"), Some("55"));
    }

    #[tokio::test]
    async fn an_error_says_whether_an_image_may_have_been_made() {
        let error = |code: u16| {
            let body = json!({"error": {"code": code, "message": "no", "status": "X"}});
            answer(code, &body)
        };
        for code in [400, 403, 404, 429] {
            let outcome = outcome(error(code)).await;
            assert!(
                matches!(outcome, Err(GenerateError::NotMade(_))),
                "{code}: {outcome:?}"
            );
        }
        assert!(matches!(
            outcome(never_sent()).await,
            Err(GenerateError::NotMade(_))
        ));
        assert!(matches!(
            outcome(error(503)).await,
            Err(GenerateError::NoCapacity(_))
        ));
        for answered in [error(500), error(504), error(408), interrupted()] {
            assert!(matches!(
                outcome(answered).await,
                Err(GenerateError::Unknown(_))
            ));
        }
    }
}
