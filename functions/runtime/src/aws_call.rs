//! Calls to AWS services of which the functions need one or two operations.
//!
//! The SDK crate of a service takes longer to compile than all of the project's own code, so this
//! module signs a request with `aws-sigv4`, which the other SDK crates use too, and sends it over
//! the project's own HTTPS client.
//!
//! ```ignore
//! let aws = AwsCaller::from_env();
//! let answer = aws
//!     .call(AwsRequest::json(AwsService::SSM, "AmazonSSM.GetParameter", &body))
//!     .await?;
//! ```

use std::{fmt, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use seam::{
    clock::Clock,
    https::HttpsTransport,
    transport::{Body, BoxError, Transport, full, read_body},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::OnceCell, time::timeout};

use crate::aws;
pub use crate::aws::AwsService;

/// How long one call may take, from the connection to the last byte of the response.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a response. An advanced parameter of SSM has up to 8 KiB.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// The content type of version 1.1 of AWS's JSON protocol.
const JSON: &str = "application/x-amz-json-1.1";
/// The content type of AWS's query protocol.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The characters of a form's value that are not encoded: the unreserved ones of RFC 3986.
const FORM_ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One request to a service.
pub struct AwsRequest {
    service: AwsService,
    content_type: &'static str,
    /// The value of `x-amz-target`.
    target: Option<&'static str>,
    body: String,
}

impl AwsRequest {
    /// A request in AWS's JSON protocol. `target` is the value of `x-amz-target`, such as
    /// `AmazonSSM.GetParameter`.
    pub fn json(service: AwsService, target: &'static str, body: &Value) -> Self {
        Self {
            service,
            content_type: JSON,
            target: Some(target),
            body: body.to_string(),
        }
    }

    /// A request in AWS's query protocol: `fields` include `Action` and `Version`.
    pub fn form(service: AwsService, fields: &[(&str, &str)]) -> Self {
        let encode = |text| utf8_percent_encode(text, FORM_ENCODED);
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        Self {
            service,
            content_type: FORM,
            target: None,
            body: body.join("&"),
        }
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let target = self.target.map(|target| ("x-amz-target", target));
        std::iter::once(("content-type", self.content_type)).chain(target)
    }
}

/// Why a call has no answer. The message contains no part of the request's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsCallError {
    /// The service refused the request.
    #[error("{code} (status {status})")]
    Refused {
        /// The status of the response.
        status: u16,
        /// AWS's error code, such as `AccessDeniedException`. It is empty if the response has none.
        code: String,
    },
    /// There is no response: no credentials, no connection, or no complete response in time.
    #[error("{0}")]
    Unavailable(String),
}

/// Calls AWS services with the role, region and endpoints of the environment.
pub struct AwsCaller {
    transport: Arc<dyn Transport>,
    /// The region, the credentials and the endpoints. They are read for the first call, because most
    /// starts of a function make none.
    config: OnceCell<SdkConfig>,
    clock: Clock,
}

impl fmt::Debug for AwsCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCaller").finish_non_exhaustive()
    }
}

impl AwsCaller {
    /// Makes a caller with the role, region and endpoints in the environment. It uses no proxy, as
    /// the AWS SDK does not either.
    pub fn from_env() -> Self {
        Self {
            transport: Arc::new(HttpsTransport::default()),
            config: OnceCell::new(),
            clock: Clock::system(),
        }
    }

    /// Makes a caller that sends its requests through `transport`, with the region, the credentials
    /// and the optional endpoints of `config`.
    pub fn new(transport: Arc<dyn Transport>, config: SdkConfig, clock: Clock) -> Self {
        Self {
            transport,
            config: OnceCell::new_with(Some(config)),
            clock,
        }
    }

    /// Sends the request once and returns the body of a response with status 200.
    ///
    /// # Errors
    /// [`AwsCallError`]. After [`AwsCallError::Unavailable`] the request may have taken effect.
    pub async fn call(&self, request: AwsRequest) -> Result<Bytes, AwsCallError> {
        let config = self
            .config
            .get_or_init(|| Box::pin(async { aws::config().await }))
            .await;
        let request = self
            .signed_with_credentials(config, request)
            .await
            .map_err(AwsCallError::Unavailable)?;

        // The whole exchange has one time limit, the body included.
        let exchange = async {
            let response = self.transport.send(request).await;
            let response = response.map_err(|_| "connection failed".to_owned())?;
            let (head, body) = response.into_parts();
            let body = read_body(body, MAX_ANSWER_BYTES).await;
            let body = body.map_err(|_| "the response can't be read".to_owned())?;
            Ok((head.status, body))
        };
        let exchange = timeout(CALL_TIMEOUT, exchange).await;
        let (status, body) = exchange
            .unwrap_or_else(|_| Err("time-out".to_owned()))
            .map_err(AwsCallError::Unavailable)?;
        match status {
            StatusCode::OK => Ok(body),
            refused => Err(AwsCallError::Refused {
                status: refused.as_u16(),
                code: error_code(&body),
            }),
        }
    }

    /// Makes the signed request, or returns the reason why it can't.
    async fn signed_with_credentials(
        &self,
        config: &SdkConfig,
        request: AwsRequest,
    ) -> Result<Request<Body>, String> {
        let provider = config
            .credentials_provider()
            .ok_or("there are no AWS credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| error.to_string())?;
        self.signed(config, request, credentials)
            .map_err(|error| error.to_string())
    }

    fn signed(
        &self,
        config: &SdkConfig,
        request: AwsRequest,
        credentials: Credentials,
    ) -> Result<Request<Body>, BoxError> {
        let region = config.region().ok_or("AWS_REGION is not set")?;
        let service = request.service;
        let url = format!("{}/", aws::endpoint(config, service));

        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name(service.signing_name)
            .time(self.clock.now().into())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let body = SignableBody::Bytes(request.body.as_bytes());
        let signable = SignableRequest::new("POST", &url, request.headers(), body)?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();

        let signed = request
            .headers()
            .fold(Request::post(&url), |signed, (name, value)| {
                signed.header(name, value)
            });
        let mut signed = signed.body(full(request.body))?;
        signature.apply_to_request_http1x(&mut signed);
        Ok(signed)
    }
}

/// An error response in AWS's JSON protocol: the code, with or without a prefix and `#`.
#[derive(Default, Deserialize)]
struct JsonError {
    #[serde(default, rename = "__type")]
    code: String,
}

/// Returns the code of an error response in the JSON or the query protocol, or nothing.
fn error_code(body: &[u8]) -> String {
    if let Ok(JsonError { code }) = serde_json::from_slice(body) {
        return code.rsplit('#').next().unwrap_or_default().to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_code_is_found_in_both_protocols() {
        for (body, code) in [
            (r#"{"__type":"ParameterNotFound"}"#, "ParameterNotFound"),
            (
                r#"{"__type":"com.amazonaws.ssm#ThrottlingException","message":"slow"}"#,
                "ThrottlingException",
            ),
            (
                "<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code></Error></ErrorResponse>",
                "NotFound",
            ),
            ("<html>Bad gateway</html>", ""),
            ("", ""),
        ] {
            assert_eq!(error_code(body.as_bytes()), code, "{body}");
        }
    }

    #[test]
    fn the_values_of_a_form_are_encoded() {
        let request = AwsRequest::form(
            AwsService::SNS,
            &[("Action", "Publish"), ("Message", "a b&c=d\né")],
        );
        assert_eq!(
            request.body,
            "Action=Publish&Message=a%20b%26c%3Dd%0A%C3%A9"
        );
    }
}
