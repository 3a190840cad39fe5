//! Calls that are answered at once: single requests, whole or as a stream, and the count of their
//! tokens.

use http::{Response, Uri};
use seam::transport::{Body, full};
use serde_json::{Value, json};

use crate::{
    files::uploads::Caller,
    generation::{
        answer::{Answer, Question, Serving},
        generate_request::Ask,
        line_form::ImageForm,
        models::Model,
        usage::Usage,
    },
    service::{Gemini, find_model, on_blocking_thread},
    wire::{
        body::read_json,
        messages::{COUNT_TOKENS, GENERATE_CONTENT},
        reply::{Refused, Unserved, json_response, typed_response},
        route::{Call, Route, parameter},
    },
};

/// The most bytes of a single request: much more than its documentation says was seen to work.
const LARGEST_REQUEST_BYTES: usize = 200 * 1024 * 1024;

/// How a stream of responses is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// As server-sent events.
    Events,
    /// As one list in JSON, errors too.
    List,
}

impl Stream {
    fn asked(uri: &Uri) -> Self {
        if parameter(uri, "alt") == Some("sse") {
            Self::Events
        } else {
            Self::List
        }
    }

    fn holding(self, response: &Value) -> Response<Body> {
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
    /// Answers a single request with a stream of one response: an image does not come in pieces.
    pub(crate) async fn stream(
        &self,
        uri: &Uri,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Body,
    ) -> Result<Response<Body>, Unserved> {
        let stream = Stream::asked(uri);
        match self.generate(route, caller, ordinal, body).await {
            Ok(response) => Ok(stream.holding(&response)),
            Err(Unserved::Refused(refused)) if stream == Stream::List => {
                Ok(refused.listed_response())
            }
            Err(unserved) => Err(unserved),
        }
    }

    /// Answers a single request at once, at full price.
    pub(crate) async fn generate(
        &self,
        route: &Route,
        caller: &Caller,
        ordinal: u64,
        body: Body,
    ) -> Result<Value, Unserved> {
        let model = find_model(&route.id, route.version, route.call)?;
        let body = read_json(body, &GENERATE_CONTENT, LARGEST_REQUEST_BYTES).await?;
        let ask = Ask::read(body, model).map_err(Refused::invalid)?;
        let references = self.files.references(ask.uploaded(), caller.now);
        let kind = if route.call == Call::StreamGenerateContent {
            "streamed"
        } else {
            "interactive"
        };
        let (seed, batch) = (self.scenario.seed, format!("{kind} {ordinal}"));
        let outcome = self.scenario.line_fate(&batch, "").outcome;
        let (response, nanodollars) = on_blocking_thread(move || {
            let label = ask.title();
            let question = Question {
                ask: &ask,
                model,
                uploaded: &references,
                label: &label,
                batch: &batch,
                seed,
                serving: Serving::First,
            };
            if let Some(id) = question.absent_file() {
                return Err(Refused::no_file(id));
            }
            match question
                .answer(outcome, ImageForm::default())
                .map_err(|_| Refused::internal())?
            {
                Answer::Response(response) => {
                    Ok((response, question.usage(outcome).nanodollars(model)))
                }
                Answer::Error(_) => Err(Refused::internal()),
            }
        })
        .await?;
        self.counters
            .change(|counts| counts.interactive_nanodollars += nanodollars)
            .map_err(Refused::from)?;
        Ok(response)
    }

    /// Counts the tokens of a prompt. It costs nothing.
    pub(crate) async fn count_tokens(
        &self,
        route: &Route,
        caller: &Caller,
        body: Body,
    ) -> Result<Value, Unserved> {
        let model = find_model(&route.id, route.version, route.call)?;
        let body = read_json(body, &COUNT_TOKENS, LARGEST_REQUEST_BYTES).await?;
        let ask = read_counted(body, model)?;
        let references = self.files.references(ask.uploaded(), caller.now);
        if let Some(absent) = ask.uploaded().find(|id| !references.contains_key(*id)) {
            return Err(Refused::no_file(absent).into());
        }
        Ok(Usage::of_prompt(&ask, model).prompt_count())
    }
}

/// Reads what a `CountTokensRequest` wants to have counted: contents alone, or a whole request,
/// which names its model.
fn read_counted(mut body: Value, model: &Model) -> Result<Ask, Refused> {
    let contents = body.get_mut("contents").map(Value::take);
    let request = match (
        body.get_mut("generateContentRequest").map(Value::take),
        contents,
    ) {
        (Some(request), None) if request["model"].is_string() => request,
        (Some(_), None) => {
            let told =
                "* CountTokensRequest.generate_content_request.model: model is not specified";
            return Err(Refused::invalid(told));
        }
        (Some(_), Some(_)) => {
            let told =
                "* CountTokensRequest: contents and generate_content_request exclude each other";
            return Err(Refused::invalid(told));
        }
        (None, contents) => json!({"contents": contents.unwrap_or_else(|| json!([]))}),
    };
    Ask::read(request, model).map_err(Refused::invalid)
}
