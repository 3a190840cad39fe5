//! Calls that are answered immediately: single requests, streamed or not, and token counts.

use http::{Response, Uri};
use seam::transport::{Body, full};
use serde_json::{Value, json};

use crate::{
    files::uploads::Caller,
    generation::{
        answer::{Answer, AnswerContext, Serving},
        generate_request::GenerateRequest,
        line_form::ImageForm,
        models::Model,
        usage::Usage,
    },
    service::{Gemini, find_model, on_blocking_thread},
    wire::{
        body::read_json,
        messages::{COUNT_TOKENS, GENERATE_CONTENT},
        reply::{ApiError, ServeError, json_response, typed_response},
        route::{Call, Route, parameter},
    },
};

/// The maximum size of a single request. The documentation mentions much smaller requests only.
const MAX_REQUEST_BYTES: usize = 200 * 1024 * 1024;

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
            Ok(response) => Ok(stream.response(&response)),
            Err(ServeError::Refused(refused)) if stream == Stream::List => {
                Ok(refused.listed_response())
            }
            Err(unserved) => Err(unserved),
        }
    }

    /// Answers a single request immediately, at full price.
    pub(crate) async fn generate(
        &self,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Body,
    ) -> Result<Value, ServeError> {
        // The request is validated as in a batch.
        let model = find_model(&route.id, route.version, route.call)?;
        let body = read_json(body, &GENERATE_CONTENT, MAX_REQUEST_BYTES).await?;
        let request = GenerateRequest::read(body, model).map_err(ApiError::invalid)?;
        let references = self.files.references(request.uploaded(), caller.now);

        // The ordinal of the call takes the place of the batch in random decisions.
        let kind = if route.call == Call::StreamGenerateContent {
            "streamed"
        } else {
            "interactive"
        };
        let (seed, batch) = (self.scenario.seed, format!("{kind} {ordinal}"));
        let outcome = self.scenario.line_plan(&batch, "").outcome;

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
            };
            if let Some(id) = context.absent_file() {
                return Err(ApiError::no_file(id));
            }
            match context
                .answer(outcome, ImageForm::default())
                .map_err(|_| ApiError::internal())?
            {
                Answer::Response(response) => {
                    Ok((response, context.usage(outcome).nanodollars(model)))
                }
                Answer::Error(_) => Err(ApiError::internal()),
            }
        })
        .await?;

        // Only answered requests are billed.
        self.counters
            .change(|counts| counts.interactive_nanodollars += nanodollars)
            .map_err(ApiError::from)?;
        Ok(response)
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
        if let Some(absent) = request.uploaded().find(|id| !references.contains_key(*id)) {
            return Err(ApiError::no_file(absent).into());
        }
        Ok(Usage::of_prompt(&request, model).prompt_count())
    }
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
