//! The Gemini API key in SSM's Parameter Store, read by one signed request.
//!
//! The functions need one operation of SSM. The SDK crate for SSM takes longer to compile than all
//! of the project's own code, so this module signs the request with `aws-sigv4`, which the other
//! SDK crates use too.

use std::{sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use gemini::key::{ApiKey, KeyError, KeyStore};
use http::{Request, Response, StatusCode};
use seam::{
    clock::Clock,
    environment::{VariableError, Variables},
    https::HttpsTransport,
    transport::{Body, BoxError, BoxFuture, Transport, full, read_body},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::OnceCell, time::timeout};

use crate::aws;

/// How many times a read is attempted before SSM counts as unavailable.
const MAX_ATTEMPTS: u32 = 3;
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before the second attempt; it doubles for the third.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The maximum size of a response. An advanced parameter has up to 8 KiB.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// The content type of version 1.1 of AWS's JSON protocol, which SSM uses.
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// The value of `x-amz-target`.
const OPERATION: &str = "AmazonSSM.GetParameter";

/// An SSM parameter that holds the key.
///
/// Source: docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter, read 2026-11:
/// the name may be an ARN, and `/aws/reference/secretsmanager/<secret>` is a secret of Secrets
/// Manager.
#[derive(Debug)]
pub struct Parameter {
    name: String,
    /// Made for the first read, because most starts of a function make no call to Gemini.
    ssm: OnceCell<Ssm>,
}

/// Reads the settings of the Gemini client; see [`gemini::Settings::from_variables`].
///
/// # Errors
/// [`VariableError`] when the key is missing, or when the key or a proxy is invalid.
pub fn gemini_settings(variables: &Variables) -> Result<gemini::Settings, VariableError> {
    gemini::Settings::from_variables(variables, |name| Arc::new(Parameter::new(name)))
}

/// A client of SSM.
pub struct Ssm {
    transport: Arc<dyn Transport>,
    /// The region and the credentials to sign with.
    config: SdkConfig,
    /// Scheme and host.
    endpoint: String,
    clock: Clock,
}

impl std::fmt::Debug for Ssm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ssm")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The members of a `GetParameter` response that are used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    parameter: Value,
}

/// The parameter in a response.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    value: String,
}

/// An error response of SSM: the code, with or without a prefix and `#`.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    code: String,
}

impl Parameter {
    /// The parameter of this name or ARN, read with the role, region and endpoint in the function's
    /// environment.
    pub fn new(name: String) -> Self {
        Self {
            name,
            ssm: OnceCell::new(),
        }
    }

    /// The parameter of this name or ARN, read through `ssm`.
    pub fn through(ssm: Ssm, name: String) -> Self {
        Self {
            name,
            ssm: OnceCell::new_with(Some(ssm)),
        }
    }

    async fn read_with_retries(&self) -> Result<ApiKey, KeyError> {
        let ssm = self.ssm.get_or_init(|| Box::pin(Ssm::from_env())).await;
        let mut delay = RETRY_DELAY;
        for _ in 1..MAX_ATTEMPTS {
            match ssm.get_parameter(&self.name).await {
                Err(KeyError::Unavailable { .. }) => tokio::time::sleep(delay).await,
                other => return other,
            }
            delay *= 2;
        }
        ssm.get_parameter(&self.name).await
    }
}

impl KeyStore for Parameter {
    fn read(&self) -> BoxFuture<'_, Result<ApiKey, KeyError>> {
        Box::pin(self.read_with_retries())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Ssm {
    /// Makes a client with the role, region and endpoint in the environment. It uses no proxy, as
    /// the AWS SDK does not either.
    async fn from_env() -> Self {
        Self::new(
            Arc::new(HttpsTransport::default()),
            aws::config().await,
            Clock::system(),
        )
    }

    /// Makes a client that sends its requests through `transport`, with the region, the credentials
    /// and the optional endpoint of `config`.
    pub fn new(transport: Arc<dyn Transport>, config: SdkConfig, clock: Clock) -> Self {
        let endpoint = aws::endpoint(&config, "ssm");
        Self {
            transport,
            config,
            endpoint,
            clock,
        }
    }

    /// Calls `GetParameter` once, with decryption.
    async fn get_parameter(&self, name: &str) -> Result<ApiKey, KeyError> {
        let unavailable = |problem: String| KeyError::Unavailable {
            name: name.to_owned(),
            problem,
        };
        let request = self.request(name).await.map_err(unavailable)?;

        // The whole exchange has one time limit, the body included.
        let exchange = async {
            let response = self
                .transport
                .send(request)
                .await
                .map_err(|_| "connection failed".to_owned())?;
            let (head, body) = response.into_parts();
            let body = read_body(body, MAX_ANSWER_BYTES).await;
            let body = body.map_err(|_| "the response can't be read")?;
            Ok(Response::from_parts(head, body))
        };
        let exchange = timeout(ATTEMPT_TIMEOUT, exchange).await;
        let response = exchange
            .unwrap_or_else(|_| Err("time-out".to_owned()))
            .map_err(unavailable)?;

        if response.status() == StatusCode::OK {
            let answer: Answer = serde_json::from_slice(response.body())
                .map_err(|_| unavailable("the response can't be read".to_owned()))?;
            return ApiKey::new(&answer.parameter.value).map_err(|problem| KeyError::Malformed {
                name: name.to_owned(),
                problem,
            });
        }
        let refusal: Refusal = serde_json::from_slice(response.body()).unwrap_or_default();
        Err(match refusal.code.rsplit('#').next().unwrap_or_default() {
            "ParameterNotFound" => KeyError::NotFound(name.to_owned()),
            "AccessDeniedException" | "AccessDenied" => KeyError::Denied(name.to_owned()),
            "" => unavailable(format!("status {}", response.status().as_u16())),
            code => unavailable(code.to_owned()),
        })
    }

    /// Makes the signed request, or returns the reason why it can't.
    async fn request(&self, name: &str) -> Result<Request<Body>, String> {
        let provider = self
            .config
            .credentials_provider()
            .ok_or("there are no AWS credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| error.to_string())?;
        self.signed(name, credentials)
            .map_err(|error| error.to_string())
    }

    fn signed(&self, name: &str, credentials: Credentials) -> Result<Request<Body>, BoxError> {
        let region = self.config.region().ok_or("AWS_REGION is not set")?;
        let body = json!({"Name": name, "WithDecryption": true}).to_string();
        let url = format!("{}/", self.endpoint);
        let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", OPERATION)];

        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name("ssm")
            .time(self.clock.now().into())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), signable)?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();

        let request = headers
            .into_iter()
            .fold(Request::post(&url), |request, (name, value)| {
                request.header(name, value)
            });
        let mut request = request.body(full(body))?;
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}
