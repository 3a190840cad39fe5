//! The service's answers: JSON, or an error envelope.

mod front_end;

use std::time::Duration;

use disk::documents::DocumentError;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use seam::transport::{Body, BoxError, full};
use serde_json::{Value, json};

use crate::{
    generation::service_tier::ServiceTier,
    quotas::{Period, QuotaExceeded},
    wire::proto::FieldError,
};

/// An error answer: `{"error":{"code":…,"message":…,"status":…}}`.
#[derive(Debug, thiserror::Error)]
#[error("{status:?}: {message}")]
pub(crate) struct ApiError {
    status: Status,
    message: String,
    details: Vec<Value>,
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// It is answered with an error.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// Its body broke off, so no caller is left to answer.
    #[error("the body of the request broke off")]
    Interrupted(#[source] BoxError),
}

/// The kinds of errors, as `google.rpc.Code` names them.
#[derive(Clone, Copy, Debug)]
enum Status {
    InvalidArgument,
    FailedPrecondition,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    ResourceExhausted,
    Internal,
    Unavailable,
    DeadlineExceeded,
}

impl ApiError {
    /// 400: the request is invalid.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// 400: the body has unknown fields or invalid values.
    pub(crate) fn invalid_fields(errors: &[FieldError]) -> Self {
        let message: Vec<String> = errors
            .iter()
            .map(|error| format!("Invalid JSON payload received. {error}"))
            .collect();
        let violations: Vec<Value> = message
            .iter()
            .map(|description| json!({"description": description}))
            .collect();
        Self {
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            })],
            ..Self::invalid(message.join("\n"))
        }
    }

    /// 403: no API key.
    pub(crate) fn no_key() -> Self {
        Self::new(
            Status::PermissionDenied,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or \
             other form of API consumer identity to call this API.",
        )
    }

    /// 400: an unknown API key.
    pub(crate) fn wrong_key() -> Self {
        let message = "API key not valid. Please pass a valid API key.";
        let reason = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        });
        Self {
            details: vec![reason],
            ..Self::invalid(message)
        }
    }

    /// 403: a file that does not exist, has expired, or belongs to another project.
    pub(crate) fn no_file(id: &str) -> Self {
        Self::new(Status::PermissionDenied, no_file_message(id))
    }

    /// 404: a batch, upload or path that does not exist.
    pub(crate) fn not_found() -> Self {
        Self::new(Status::NotFound, "Requested entity was not found.")
    }

    /// 404: a model that does not exist, with the reason.
    pub(crate) fn no_model(message: impl Into<String>) -> Self {
        Self::new(Status::NotFound, message)
    }

    /// 400: the model doesn't offer the service tier.
    pub(crate) fn no_tier(tier: ServiceTier, model: &str) -> Self {
        Self::invalid(format!(
            "Service tier {tier} is not supported for models/{model}."
        ))
    }

    /// 409: a file of that name exists.
    pub(crate) fn already_exists() -> Self {
        Self::new(Status::AlreadyExists, "Requested entity already exists.")
    }

    /// 429: the project's quota is exhausted. As captured on batch creation, the answer names
    /// neither the quota nor a time to wait.
    pub(crate) fn exhausted() -> Self {
        Self {
            details: vec![help()],
            ..Self::new(Status::ResourceExhausted, QUOTA_MESSAGE)
        }
    }

    /// 429: too many requests per minute, with the quota and the time to wait, as for single
    /// requests.
    pub(crate) fn rate_limited() -> Self {
        Self::rate_limited_for("34.28s", "34s")
    }

    /// 429: the same, with a time to wait that exceeds the range of most duration types.
    pub(crate) fn rate_limited_forever() -> Self {
        Self::rate_limited_for("1000000000000s", "1000000000000s")
    }

    /// 429: too many requests per day. The quota resets at midnight Pacific time.
    pub(crate) fn day_exhausted() -> Self {
        Self {
            details: vec![help(), quota(Period::Day)],
            ..Self::new(Status::ResourceExhausted, QUOTA_MESSAGE)
        }
    }

    /// 429: a quota of single requests to this model has no room for another one.
    pub(crate) fn quota_exceeded(exceeded: QuotaExceeded, model: &str) -> Self {
        let mut quota = quota(exceeded.period);
        let violation = &mut quota["violations"][0];
        violation["quotaDimensions"]["model"] = Value::from(model);
        violation["quotaValue"] = Value::from(exceeded.limit.to_string());
        let delay = seconds(exceeded.wait);
        Self::retry_in(quota, &delay, &delay)
    }

    /// 429: the prepaid credit is exhausted.
    pub(crate) fn prepayment_depleted() -> Self {
        let message = "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to \
                    manage your project and billing.";
        Self::new(Status::ResourceExhausted, message)
    }

    /// 503: overloaded.
    pub(crate) fn unavailable() -> Self {
        Self::new(
            Status::Unavailable,
            "The model is overloaded. Please try again later.",
        )
    }

    /// 500: a simulated failure, or a real one of the state folder.
    pub(crate) fn internal() -> Self {
        Self::new(Status::Internal, INTERNAL_MESSAGE)
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        let (status, _) = self.status.code_and_name();
        status
    }

    /// Returns the HTTP response.
    pub(crate) fn response(&self) -> Response<Body> {
        self.response_of(&self.envelope())
    }

    /// Returns the HTTP response with the error in a list, as in a stream of JSON values.
    pub(crate) fn listed_response(&self) -> Response<Body> {
        self.response_of(&json!([self.envelope()]))
    }

    fn envelope(&self) -> Value {
        let (code, name) = self.status.code_and_name();
        let mut error = json!({"code": code.as_u16(), "message": self.message, "status": name});
        if !self.details.is_empty() {
            error["details"] = Value::from(self.details.clone());
        }
        json!({"error": error})
    }

    fn response_of(&self, body: &Value) -> Response<Body> {
        let mut response = json_response(body);
        (*response.status_mut(), _) = self.status.code_and_name();
        response
    }

    fn rate_limited_for(message: &str, delay: &str) -> Self {
        Self::retry_in(quota(Period::Minute), message, delay)
    }

    /// 429: this quota is exhausted for a while, as the message and the details state it.
    fn retry_in(quota: Value, message: &str, delay: &str) -> Self {
        let wait =
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
        Self {
            details: vec![help(), quota, wait],
            ..Self::new(
                Status::ResourceExhausted,
                format!("{QUOTA_MESSAGE}Please retry in {message}."),
            )
        }
    }

    fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            details: Vec::new(),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(_: std::io::Error) -> Self {
        Self::internal()
    }
}

impl From<DocumentError> for ApiError {
    fn from(_: DocumentError) -> Self {
        Self::internal()
    }
}

impl From<std::io::Error> for ServeError {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl Status {
    fn code_and_name(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
            Self::FailedPrecondition => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Self::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
            Self::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        }
    }
}

/// The message of an internal error, in an envelope and in an output line.
pub(crate) const INTERNAL_MESSAGE: &str = "An internal error has occurred. Please retry or report in \
                                           https://developers.generativeai.google/guide/troubleshooting";

/// Returns the message about a missing file, in an envelope and in an output line.
pub(crate) fn no_file_message(id: &str) -> String {
    format!("You do not have permission to access the File {id} or it may not exist.")
}

const RATE_LIMITS: &str = "https://ai.google.dev/gemini-api/docs/rate-limits";

/// The common part of all quota messages. The final space is part of the captured message.
const QUOTA_MESSAGE: &str = "You exceeded your current quota, please check your plan and billing details. For more \
                             information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To \
                             monitor your current usage, head to: https://ai.dev/rate-limit. ";

fn help() -> Value {
    let link = json!({"description": "Learn more about Gemini API quotas", "url": RATE_LIMITS});
    json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [link]})
}

fn quota(period: Period) -> Value {
    let id = match period {
        Period::Minute => "GenerateRequestsPerMinutePerProjectPerModel",
        Period::Day => "GenerateRequestsPerDayPerProjectPerModel",
    };
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": id,
        "quotaDimensions": {"location": "global"},
    });
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
}

/// Writes whole milliseconds as a `google.protobuf.Duration`, which has no or three fractional
/// digits.
fn seconds(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, milliseconds) => format!("{seconds}.{milliseconds:03}s"),
    }
}

/// Returns a 200 with a JSON body.
pub(crate) fn json_response(body: &Value) -> Response<Body> {
    typed_response("application/json; charset=UTF-8", full(body.to_string()))
}

/// Returns a 200 with a body of this type.
pub(crate) fn typed_response(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns an HTML page, as from a proxy or a front end when the service itself does not answer.
pub(crate) fn html_response(status: StatusCode, page: &'static str) -> Response<Body> {
    let mut response = typed_response("text/html; charset=UTF-8", full(page));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_no_or_three_fractional_digits() {
        for (milliseconds, text) in [
            (0, "0s"),
            (34_000, "34s"),
            (34_280, "34.280s"),
            (1, "0.001s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), text);
        }
    }
}
