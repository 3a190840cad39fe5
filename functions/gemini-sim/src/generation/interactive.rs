//! Calls that are answered immediately: single requests, streamed or not, and token counts.

use std::io;

use http::{HeaderValue, Response, StatusCode, Uri};
use jiff::Timestamp;
use seam::transport::{Body, full};
use serde_json::{Value, json};

use crate::{
    files::uploads::Caller,
    generation::{
        answer::{Answer, AnswerContext, Serving},
        generate_request::GenerateRequest,
        line_form::ImageForm,
        models::Model,
        service_tier::ServiceTier,
        usage::Usage,
    },
    request_log::LoggedRequest,
    service::{Gemini, find_model, on_blocking_thread},
    wire::{
        body::{read_body, read_json, read_whole},
        messages::{COUNT_TOKENS, GENERATE_CONTENT},
        reply::{ApiError, ServeError, json_response, typed_response},
        route::{Call, Route, parameter},
    },
};

/// The maximum size of a single request. The documentation mentions much smaller requests only.
const MAX_REQUEST_BYTES: usize = 200 * 1024 * 1024;

/// The header of an answer with the tier at which the request was served. Source:
/// ai.google.dev/gemini-api/docs/flex-inference, read 2026-11.
const TIER_HEADER: &str = "x-gemini-service-tier";

/// The answer to a single request.
pub(crate) struct Generated {
    /// The `GenerateContentResponse`.
    response: Value,
    /// The tier at which the request was served.
    tier: ServiceTier,
}

impl Generated {
    /// Returns the HTTP response with the answer alone in its body.
    pub(crate) fn response(&self) -> Response<Body> {
        self.with_tier_header(json_response(&self.response))
    }

    /// Adds the tier to the headers.
    fn with_tier_header(&self, mut response: Response<Body>) -> Response<Body> {
        response
            .headers_mut()
            .insert(TIER_HEADER, HeaderValue::from_static(self.tier.name()));
        response
    }
}

/// The format of a stream of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// As server-sent events.
    Events,
    /// As one JSON array, errors included.
    List,
}

impl Stream {
    fn from_query(uri: &Uri) -> Self {
        if parameter(uri, "alt") == Some("sse") {
            Self::Events
        } else {
            Self::List
        }
    }

    fn response(self, response: &Value) -> Response<Body> {
        match self {
            Self::Events => typed_response(
                "text/event-stream",
                full(format!("data: {response}\r\n\r\n")),
            ),
            Self::List => json_response(&json!([response])),
        }
    }
}

impl Gemini {
    /// Answers a single request with a stream of one response, because an image is not sent in
    /// pieces.
    pub(crate) async fn stream(
        &self,
        uri: &Uri,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Body,
    ) -> Result<Response<Body>, ServeError> {
        let stream = Stream::from_query(uri);
        match self.generate(route, caller, ordinal, body).await {
            Ok(generated) => Ok(generated.with_tier_header(stream.response(&generated.response))),
            Err(ServeError::Refused(refused)) if stream == Stream::List => {
                Ok(refused.listed_response())
            }
            Err(unserved) => Err(unserved),
        }
    }

    /// Answers a single request immediately, at the price of its tier, and logs it.
    pub(crate) async fn generate(
        &self,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Body,
    ) -> Result<Generated, ServeError> {
        let bytes = read_whole(body, MAX_REQUEST_BYTES).await?;
        let request = read_body(&bytes, &GENERATE_CONTENT);
        let tier = requested_tier(&request);
        let answer = self.answer(route, caller, ordinal, request).await;
        let status = answer
            .as_ref()
            .map_or_else(ApiError::status, |_| StatusCode::OK);
        self.log_single_request(route, tier, &bytes, status, caller.now)?;
        Ok(answer?)
    }

    /// Logs a single request that a fault refuses, and returns its `refusal`.
    pub(crate) async fn refuse_single_request(
        &self,
        route: &Route,
        body: Body,
        refusal: Response<Body>,
    ) -> Result<Response<Body>, ServeError> {
        let bytes = read_whole(body, MAX_REQUEST_BYTES).await?;
        let tier = requested_tier(&read_body(&bytes, &GENERATE_CONTENT));
        self.log_single_request(route, tier, &bytes, refusal.status(), self.clock.now())?;
        Ok(refusal)
    }

    fn log_single_request(
        &self,
        route: &Route,
        tier: ServiceTier,
        body: &[u8],
        status: StatusCode,
        at: Timestamp,
    ) -> io::Result<()> {
        let call = (route.call, route.id.as_str());
        self.log.append(&LoggedRequest::single(
            call,
            tier,
            body,
            status.as_u16(),
            at,
        ))
    }

    /// Answers a single request whose body was read.
    async fn answer(
        &self,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Result<Value, ApiError>,
    ) -> Result<Generated, ApiError> {
        // The request is validated as in a batch.
        let model = find_model(&route.id, route.version, route.call)?;
        let body = body?;
        let tier = ServiceTier::requested(&body);
        let request = GenerateRequest::read(body, model).map_err(ApiError::invalid)?;
        let references = self.files.references(request.uploaded(), caller.now);
        let percent = model
            .tier_percent(tier)
            .ok_or_else(|| ApiError::no_tier(tier, model.id))?;
        if let Some(absent) = request.absent_file(&references) {
            return Err(ApiError::no_file(absent));
        }
        request
            .check_signatures(self.scenario.seed, &references)
            .map_err(ApiError::invalid)?;

        // The ordinal of the call takes the place of the batch in random decisions.
        let kind = if route.call == Call::StreamGenerateContent {
            "streamed"
        } else {
            "interactive"
        };
        let (seed, batch) = (self.scenario.seed, format!("{kind} {ordinal}"));

        // Only valid requests count toward the quotas, and only if there is capacity for them.
        let admit = || {
            if self.scenario.has_capacity(tier, &batch) {
                Ok(())
            } else {
                Err(ApiError::unavailable())
            }
        };
        self.quotas
            .accept((model, tier), &self.scenario, caller.now, admit)?;
        let planned = self.scenario.line_plan(&batch, "").outcome;
        let outcome = self.scenario.policy_outcome(&request.prompt, planned);

        // Drawing an image takes a while, so it runs on a blocking thread.
        let (response, nanodollars) = on_blocking_thread(move || {
            let label = request.title();
            let context = AnswerContext {
                request: &request,
                model,
                uploaded: &references,
                label: &label,
                batch: &batch,
                seed,
                serving: Serving::First,
                tier,
            };
            match context
                .answer(outcome, ImageForm::default())
                .map_err(|_| ApiError::internal())?
            {
                Answer::Response(response) => {
                    let standard = context.usage(outcome).nanodollars(model);
                    Ok((response, standard * percent / 100))
                }
                Answer::Error(_) => Err(ApiError::internal()),
            }
        })
        .await?;

        // Only answered requests are billed.
        self.counters.bill(tier, nanodollars)?;
        Ok(Generated { response, tier })
    }

    /// Counts the tokens of a prompt, free of charge.
    pub(crate) async fn count_tokens(
        &self,
        route: &Route,
        caller: &Caller,
        body: Body,
    ) -> Result<Value, ServeError> {
        let model = find_model(&route.id, route.version, route.call)?;
        let body = read_json(body, &COUNT_TOKENS, MAX_REQUEST_BYTES).await?;
        let request = read_counted(body, model)?;
        let references = self.files.references(request.uploaded(), caller.now);
        if let Some(absent) = request.absent_file(&references) {
            return Err(ApiError::no_file(absent).into());
        }
        Ok(Usage::of_prompt(&request, model).prompt_count())
    }
}

/// Returns the tier that a request asks for. One that can't be read counts as standard.
fn requested_tier(request: &Result<Value, ApiError>) -> ServiceTier {
    request
        .as_ref()
        .map(ServiceTier::requested)
        .unwrap_or_default()
}

/// Reads the subject of a `CountTokensRequest`: contents alone, or a whole request that names its
/// model.
fn read_counted(mut body: Value, model: &Model) -> Result<GenerateRequest, ApiError> {
    let contents = body.get_mut("contents").map(Value::take);
    let request = match (
        body.get_mut("generateContentRequest").map(Value::take),
        contents,
    ) {
        (Some(request), None) if request["model"].is_string() => request,
        (Some(_), None) => {
            let message =
                "* CountTokensRequest.generate_content_request.model: model is not specified";
            return Err(ApiError::invalid(message));
        }
        (Some(_), Some(_)) => {
            let message =
                "* CountTokensRequest: contents and generate_content_request exclude each other";
            return Err(ApiError::invalid(message));
        }
        (None, contents) => json!({"contents": contents.unwrap_or_else(|| json!([]))}),
    };
    GenerateRequest::read(request, model).map_err(ApiError::invalid)
}
