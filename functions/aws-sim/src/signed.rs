//! S3 and SQS for other programs, over a socket: every request must be signed with the folder's
//! access key.
//!
//! `s3s` verifies S3 requests, whose signatures have many forms. SQS has one form, which this
//! module verifies.

mod sigv4;

use std::{fmt, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, ReadBodyError, Transport, TransportError, full, read_body},
};
use serde_json::json;

use self::sigv4::{SignatureError, verify};
use crate::{credentials::Credentials, listen::forbidden, wire::is_sqs_request};

/// The maximum body of an SQS request, in bytes: a batch of 1 MiB in which every character is
/// escaped.
const MAX_SQS_BODY: u64 = 8 << 20;

/// The content types with which a web page can post without a preflight request.
const FORM_TYPES: [&str; 3] = [
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "text/plain",
];

/// A service that requires signatures. Implements [`Transport`].
pub struct Signed {
    service: Arc<dyn Transport>,
    credentials: Credentials,
    clock: Clock,
}

impl Signed {
    /// Protects `service` with `credentials`. `clock` must be the real time, since it dates the
    /// signatures.
    pub fn new(service: Arc<dyn Transport>, credentials: Credentials, clock: Clock) -> Self {
        Self {
            service,
            credentials,
            clock,
        }
    }

    async fn send_to_sqs(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (head, body) = request.into_parts();
        let body = match read_body(body, MAX_SQS_BODY).await {
            Ok(body) => body,
            Err(ReadBodyError::TooLarge) => {
                return Ok(forbidden("the request exceeds the size limit of SQS"));
            }
            Err(ReadBodyError::Interrupted(error)) => {
                return Err(TransportError::Interrupted(error));
            }
        };
        match verify(&head, &body, &self.credentials, self.clock.now()) {
            Ok(()) => {
                self.service
                    .send(Request::from_parts(head, full(body)))
                    .await
            }
            Err(error) => Ok(refusal(&error)),
        }
    }
}

impl Transport for Signed {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            if is_form(&request) {
                return Ok(forbidden(
                    "forms are not accepted: upload with an S3 client",
                ));
            }
            if is_sqs_request(request.headers()) {
                self.send_to_sqs(request).await
            } else {
                self.service.send(request).await
            }
        })
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Whether a web page could have posted the request. A client that starts the upload of a large
/// text file sends a similar request, but no form has an `Authorization` header.
fn is_form(request: &Request<Body>) -> bool {
    let begins_upload = || {
        let query = request.uri().query().unwrap_or_default();
        let is_uploads = query
            .split('&')
            .any(|name| matches!(name, "uploads" | "uploads="));
        is_uploads && request.headers().contains_key(AUTHORIZATION)
    };
    *request.method() == Method::POST
        && match form_type(request.headers()) {
            Some("text/plain") => !begins_upload(),
            Some(_) => true,
            None => false,
        }
}

/// Returns the first content type that a form can have. A request may have several such headers,
/// and a server could read any of them.
fn form_type(headers: &HeaderMap) -> Option<&'static str> {
    let types = headers
        .get_all(CONTENT_TYPE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut names = types
        .flat_map(|types| types.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim());
    names.find_map(|name| {
        FORM_TYPES
            .into_iter()
            .find(|form| form.eq_ignore_ascii_case(name))
    })
}

/// Returns the refusal in the form of SQS.
fn refusal(error: &SignatureError) -> Response<Body> {
    let body = json!({ "__type": format!("com.amazon.coral.service#{}", error.code()), "message": error.to_string() });
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    if let Ok(code) = HeaderValue::try_from(format!("{};Sender", error.code())) {
        response.headers_mut().insert("x-amzn-query-error", code);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(full("")).unwrap()
    }

    #[test]
    fn forms_are_distinguished_from_client_requests() {
        let upload = "http://127.0.0.1/darkroom/notes.txt?uploads";
        for (is_a_form, method, uri, headers) in [
            (
                true,
                Method::POST,
                "/darkroom",
                &[("content-type", "multipart/form-data; boundary=x")][..],
            ),
            (
                true,
                Method::POST,
                "/",
                &[("content-type", "APPLICATION/x-www-form-urlencoded")],
            ),
            (
                true,
                Method::POST,
                "/",
                &[("content-type", "text/plain;charset=UTF-8")],
            ),
            (
                true,
                Method::POST,
                "/",
                &[
                    ("content-type", "application/json"),
                    ("content-type", "text/plain"),
                ],
            ),
            (
                true,
                Method::POST,
                upload,
                &[("content-type", "text/plain")],
            ),
            (
                true,
                Method::POST,
                upload,
                &[
                    ("content-type", "multipart/form-data"),
                    ("authorization", "AWS4"),
                ],
            ),
            (
                true,
                Method::POST,
                "/?uploadsx",
                &[("content-type", "text/plain"), ("authorization", "AWS4")],
            ),
            (
                false,
                Method::POST,
                upload,
                &[("content-type", "text/plain"), ("authorization", "AWS4")],
            ),
            (
                false,
                Method::POST,
                "/",
                &[("content-type", "application/x-amz-json-1.0")],
            ),
            (false, Method::POST, "/darkroom/a?uploadId=1", &[]),
            (
                false,
                Method::PUT,
                "/darkroom/notes.txt",
                &[("content-type", "text/plain")],
            ),
        ] {
            assert_eq!(
                is_form(&request(method.clone(), uri, headers)),
                is_a_form,
                "{method} {uri} {headers:?}"
            );
        }
    }
}
