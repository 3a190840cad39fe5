//! The answers of the page, and the headers that all of them have.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use seam::transport::{Body, empty, full};
use serde::Serialize;

/// The policy of an answer that is not a page: it may not load, run or submit anything.
const NO_PAGE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors \
                       'none'; sandbox";

/// Adds the headers that every answer has. A page keeps its own policy.
pub(super) fn guarded(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(NO_PAGE));
    response
}

/// Returns an answer with this content.
pub(super) fn content(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Returns an HTML page with its content security policy.
///
/// # Errors
/// Returns an error if the policy is not a valid header.
pub(super) fn page(html: String, policy: &str) -> anyhow::Result<Response<Body>> {
    let mut response = content(StatusCode::OK, "text/html; charset=utf-8", full(html));
    let policy = HeaderValue::from_str(policy)?;
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// Returns a JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => content(status, "application/json", full(bytes)),
        Err(_) => content(
            StatusCode::INTERNAL_SERVER_ERROR,
            "application/json",
            empty(),
        ),
    }
}

/// Returns an error with a message for the user.
pub(super) fn failure(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": message }))
}

/// A request that is not carried out, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl From<Refusal> for Response<Body> {
    fn from(Refusal { status, reason }: Refusal) -> Self {
        let mut response = failure(status, reason);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, POST");
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}
