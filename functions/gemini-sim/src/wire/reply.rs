//! What the service answers: JSON, or its error envelope.

mod front_end;

use disk::documents::DocumentError;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use seam::transport::{Body, BoxError, full};
use serde_json::{Value, json};

use crate::wire::proto::Fault;

/// An answer that says no: `{"error":{"code":…,"message":…,"status":…}}`.
#[derive(Debug, thiserror::Error)]
#[error("{status:?}: {message}")]
pub(crate) struct Refused {
    status: Status,
    message: String,
    details: Vec<Value>,
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// It was answered with an error.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its body broke off: there is nobody to answer.
    #[error("the request broke off: {0}")]
    BrokeOff(#[source] BoxError),
}

/// The kinds of error, as `google.rpc.Code` names them.
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

impl Refused {
    /// 400: the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// 400: the body has members that no message has, or wrong values.
    pub(crate) fn faults(faults: &[Fault]) -> Self {
        let told: Vec<String> = faults
            .iter()
            .map(|fault| format!("Invalid JSON payload received. {fault}"))
            .collect();
        let violations: Vec<Value> = told
            .iter()
            .map(|description| json!({"description": description}))
            .collect();
        Self {
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            })],
            ..Self::invalid(told.join("\n"))
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

    /// 400: an API key that nobody has.
    pub(crate) fn wrong_key() -> Self {
        let told = "API key not valid. Please pass a valid API key.";
        let reason = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        });
        Self {
            details: vec![reason],
            ..Self::invalid(told)
        }
    }

    /// 403: a file that is not there, has expired, or is somebody else's.
    pub(crate) fn no_file(id: &str) -> Self {
        Self::new(Status::PermissionDenied, no_file_message(id))
    }

    /// 404: a batch, upload or path that is not there.
    pub(crate) fn not_found() -> Self {
        Self::new(Status::NotFound, "Requested entity was not found.")
    }

    /// 404: a model that is not there, with the reason.
    pub(crate) fn no_model(message: impl Into<String>) -> Self {
        Self::new(Status::NotFound, message)
    }

    /// 409: a file of that name is there.
    pub(crate) fn already_exists() -> Self {
        Self::new(Status::AlreadyExists, "Requested entity already exists.")
    }

    /// 429: the project's quota is used up. Like the real one on batch creation, it says neither
    /// which nor until when.
    pub(crate) fn exhausted() -> Self {
        Self {
            details: vec![help()],
            ..Self::new(Status::ResourceExhausted, QUOTA_MESSAGE)
        }
    }

    /// 429: too many requests in a minute, with the quota and the time to wait, as single requests
    /// answer.
    pub(crate) fn rate_limited() -> Self {
        Self::rate_limited_for("34.28s", "34s")
    }

    /// 429: the same with a time to wait that is longer than most types of a duration can hold.
    pub(crate) fn rate_limited_forever() -> Self {
        Self::rate_limited_for("1000000000000s", "1000000000000s")
    }

    /// 429: too many requests in a day, which ends at midnight Pacific time.
    pub(crate) fn day_exhausted() -> Self {
        let quota = quota("GenerateRequestsPerDayPerProjectPerModel");
        Self {
            details: vec![help(), quota],
            ..Self::new(Status::ResourceExhausted, QUOTA_MESSAGE)
        }
    }

    /// 429: the prepaid credit is spent.
    pub(crate) fn prepayment_depleted() -> Self {
        let told = "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to \
                    manage your project and billing.";
        Self::new(Status::ResourceExhausted, told)
    }

    /// 503: too busy.
    pub(crate) fn unavailable() -> Self {
        Self::new(
            Status::Unavailable,
            "The model is overloaded. Please try again later.",
        )
    }

    /// 500: a simulated failure, or one of the folder the state is in.
    pub(crate) fn internal() -> Self {
        Self::new(Status::Internal, INTERNAL_MESSAGE)
    }

    /// The answer itself.
    pub(crate) fn response(&self) -> Response<Body> {
        self.response_of(&self.envelope())
    }

    /// The answer in a list, as a stream of JSON values has it.
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

    fn rate_limited_for(told: &str, delay: &str) -> Self {
        let wait =
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
        Self {
            details: vec![
                help(),
                quota("GenerateRequestsPerMinutePerProjectPerModel"),
                wait,
            ],
            ..Self::new(
                Status::ResourceExhausted,
                format!("{QUOTA_MESSAGE}Please retry in {told}."),
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

impl From<std::io::Error> for Refused {
    fn from(_: std::io::Error) -> Self {
        Self::internal()
    }
}

impl From<DocumentError> for Refused {
    fn from(_: DocumentError) -> Self {
        Self::internal()
    }
}

impl From<std::io::Error> for Unserved {
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

/// What an internal error says, in an envelope and in an output line.
pub(crate) const INTERNAL_MESSAGE: &str = "An internal error has occurred. Please retry or report in \
                                           https://developers.generativeai.google/guide/troubleshooting";

/// What is said of a file that is not there, in an envelope and in an output line.
pub(crate) fn no_file_message(id: &str) -> String {
    format!("You do not have permission to access the File {id} or it may not exist.")
}

const RATE_LIMITS: &str = "https://ai.google.dev/gemini-api/docs/rate-limits";

/// What every quota's answer says; it does end in a space.
const QUOTA_MESSAGE: &str = "You exceeded your current quota, please check your plan and billing details. For more \
                             information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To \
                             monitor your current usage, head to: https://ai.dev/rate-limit. ";

fn help() -> Value {
    let link = json!({"description": "Learn more about Gemini API quotas", "url": RATE_LIMITS});
    json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [link]})
}

fn quota(id: &str) -> Value {
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": id,
        "quotaDimensions": {"location": "global"},
    });
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
}

/// A 200 with a JSON body.
pub(crate) fn json_response(body: &Value) -> Response<Body> {
    typed_response("application/json; charset=UTF-8", full(body.to_string()))
}

/// A 200 with a body of this type.
pub(crate) fn typed_response(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A page in HTML, as a proxy or a front end answers when the service itself does not.
pub(crate) fn html_response(status: StatusCode, page: &'static str) -> Response<Body> {
    let mut response = typed_response("text/html; charset=UTF-8", full(page));
    *response.status_mut() = status;
    response
}
