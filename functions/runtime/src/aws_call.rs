//! Calls of AWS services for which there is no SDK crate in the workspace.
//!
//! An SDK crate for a service takes longer to compile than all of the project's own code, and only a
//! few operations are needed. This module signs a request with `aws-sigv4`, which the SDK crates use
//! too, and sends it once.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use seam::{
    clock::Clock,
    https::HttpsTransport,
    transport::{Body, BoxError, Transport, full, read_body},
};
use serde_json::Value;
use tokio::{sync::OnceCell, time::timeout};

use crate::aws;

/// How long a call may take, with its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of an answer. A page of a hundred alarms has less than 200 KB.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The name of the header with the type of a body.
const CONTENT_TYPE: &str = "content-type";
/// The content type of version 1.1 of AWS's JSON protocol. Services that use version 1.0 accept it
/// as well, because the target alone names the operation.
const JSON: &str = "application/x-amz-json-1.1";
/// The content type of AWS's query protocol.
const FORM: &str = "application/x-www-form-urlencoded";

/// What a query or a form leaves unescaped, by RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name in `AWS_ENDPOINT_URL_<ID>`, in any case.
    pub id: &'static str,
    /// The first label of its host, which is also the name that requests are signed for.
    pub host: &'static str,
}

impl Service {
    /// CloudWatch.
    pub const CLOUDWATCH: Self = Self::new("cloudwatch", "monitoring");
    /// EventBridge.
    pub const EVENT_BRIDGE: Self = Self::new("eventbridge", "events");
    /// Lambda.
    pub const LAMBDA: Self = Self::new("lambda", "lambda");
    /// SNS.
    pub const SNS: Self = Self::new("sns", "sns");
    /// SSM, with Parameter Store.
    pub const SSM: Self = Self::new("ssm", "ssm");
    /// STS.
    pub const STS: Self = Self::new("sts", "sts");

    /// A service by its ID and the first label of its host.
    pub const fn new(id: &'static str, host: &'static str) -> Self {
        Self { id, host }
    }
}

/// An operation, before it is signed.
#[derive(Clone, Debug)]
pub struct AwsCall {
    service: Service,
    method: Method,
    /// The path with its query, escaped.
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl AwsCall {
    /// An operation of a service that speaks AWS's JSON protocol, by its target:
    /// `AmazonSSM.GetParameter`.
    pub fn json(service: Service, target: &str, input: &Value) -> Self {
        Self {
            service,
            method: Method::POST,
            path: "/".to_owned(),
            headers: vec![
                (CONTENT_TYPE, JSON.to_owned()),
                ("x-amz-target", target.to_owned()),
            ],
            body: input.to_string().into_bytes(),
        }
    }

    /// An operation of a service that speaks AWS's query protocol, by its parameters, among which
    /// are `Action` and `Version`. The answer is XML; see [`xml_texts`].
    pub fn form(service: Service, parameters: &[(&str, &str)]) -> Self {
        Self {
            service,
            method: Method::POST,
            path: "/".to_owned(),
            headers: vec![(CONTENT_TYPE, FORM.to_owned())],
            body: escaped(parameters).into_bytes(),
        }
    }

    /// A `GET` of a service that speaks REST, by the segments of its path and its query.
    pub fn get(service: Service, segments: &[&str], query: &[(&str, &str)]) -> Self {
        let segments = segments
            .iter()
            .map(|segment| format!("/{}", utf8_percent_encode(segment, UNRESERVED)));
        let mut path: String = segments.collect();
        if !query.is_empty() {
            path = format!("{path}?{}", escaped(query));
        }
        Self {
            service,
            method: Method::GET,
            path,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

fn escaped(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, UNRESERVED);
        format!("{}={value}", utf8_percent_encode(name, UNRESERVED))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsCallError {
    /// The service has refused the call.
    #[error("{}", if code.is_empty() { format!("status {status}") } else { code.clone() })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code, such as `AccessDeniedException`. Empty if the answer has none.
        code: String,
        /// The message of the service. It can name resources, and is empty if the answer has none.
        message: String,
    },
    /// There was no answer, or the call could not be made.
    #[error("{0}")]
    Unanswered(String),
}

impl AwsCallError {
    /// Whether the caller lacks a permission.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Refused { code, status, .. } => {
                *status == 403 || code.starts_with("AccessDenied")
            }
            Self::Unanswered(_) => false,
        }
    }

    /// Whether the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { code, status, .. } => *status == 404 || code.ends_with("NotFound"),
            Self::Unanswered(_) => false,
        }
    }
}

/// Makes calls with the credentials, the region and the endpoint of a configuration. It never
/// repeats a call.
pub struct AwsCaller {
    transport: Arc<dyn Transport>,
    /// The configuration in the environment is read for the first call, because most starts of a
    /// function make none.
    config: OnceCell<SdkConfig>,
    clock: Clock,
}

impl fmt::Debug for AwsCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCaller").finish_non_exhaustive()
    }
}

impl AwsCaller {
    /// Makes a caller with the credentials, the region and the endpoints in the environment
    /// (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SSM`). It uses no proxy, as the AWS SDK does not
    /// either.
    pub fn from_env() -> Self {
        Self {
            transport: Arc::new(HttpsTransport::default()),
            config: OnceCell::new(),
            clock: Clock::system(),
        }
    }

    /// Makes a caller that sends its requests through `transport`.
    pub fn new(transport: Arc<dyn Transport>, config: SdkConfig, clock: Clock) -> Self {
        Self {
            transport,
            config: OnceCell::new_with(Some(config)),
            clock,
        }
    }

    /// Returns the region of the configuration.
    pub async fn region(&self) -> Option<&str> {
        self.config().await.region().map(AsRef::as_ref)
    }

    /// Makes a call once, and returns the body of the answer.
    ///
    /// # Errors
    /// [`AwsCallError::Refused`] for an answer with another status than 2xx, and
    /// [`AwsCallError::Unanswered`] if there is none within ten seconds.
    pub async fn call(&self, call: &AwsCall) -> Result<Bytes, AwsCallError> {
        let request = self.request(call).await.map_err(AwsCallError::Unanswered)?;
        // The whole exchange has one time limit, the body included.
        let exchange = async {
            let response = self
                .transport
                .send(request)
                .await
                .map_err(|_| "connection failed")?;
            let (head, body) = response.into_parts();
            let body = read_body(body, MAX_ANSWER_BYTES).await;
            let body = body.map_err(|_| "the response can't be read")?;
            Ok(Response::from_parts(head, body))
        };
        let exchange = timeout(CALL_TIMEOUT, exchange).await;
        let response = exchange
            .unwrap_or(Err("time-out"))
            .map_err(|problem: &str| AwsCallError::Unanswered(problem.to_owned()))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (code, message) = refusal(response.headers(), response.body());
        Err(AwsCallError::Refused {
            status: response.status().as_u16(),
            code,
            message,
        })
    }

    /// Makes a call once, and parses the JSON of the answer.
    ///
    /// # Errors
    /// As [`AwsCaller::call`], and [`AwsCallError::Unanswered`] for an answer that is not JSON.
    pub async fn call_json(&self, call: &AwsCall) -> Result<Value, AwsCallError> {
        let body = self.call(call).await?;
        serde_json::from_slice(&body)
            .map_err(|_| AwsCallError::Unanswered("the response can't be read".to_owned()))
    }

    async fn config(&self) -> &SdkConfig {
        let from_env = || Box::pin(aws::config());
        self.config.get_or_init(from_env).await
    }

    /// Makes the signed request, or returns the reason why it can't.
    async fn request(&self, call: &AwsCall) -> Result<Request<Body>, String> {
        let config = self.config().await;
        let provider = config
            .credentials_provider()
            .ok_or("there are no AWS credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| error.to_string())?;
        self.signed(config, call, credentials)
            .map_err(|error| error.to_string())
    }

    fn signed(
        &self,
        config: &SdkConfig,
        call: &AwsCall,
        credentials: Credentials,
    ) -> Result<Request<Body>, BoxError> {
        let region = config.region().ok_or("AWS_REGION is not set")?;
        let endpoint = aws::endpoint(config, call.service.id, call.service.host);
        let url = format!("{endpoint}{}", call.path);
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name(call.service.host)
            .time(self.clock.now().into())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = || {
            call.headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
        };
        let signable = SignableBody::Bytes(&call.body);
        let signable = SignableRequest::new(call.method.as_str(), &url, headers(), signable)?;
        let (signature, _) = sign(signable, &parameters)?.into_parts();

        let request = Request::builder().method(call.method.clone()).uri(&url);
        let request = headers().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let mut request = request.body(full(call.body.clone()))?;
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Returns the code and the message of a refusal in any of AWS's protocols: in the body, as JSON or
/// XML, or in the header `x-amzn-errortype`. A code can have a prefix that ends with `#`, and a URL
/// after a colon.
fn refusal(headers: &HeaderMap, body: &Bytes) -> (String, String) {
    let json: HashMap<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let member = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| json.get(*name)?.as_str());
        found.next().map(str::to_owned)
    };
    let xml = String::from_utf8_lossy(body);
    let in_xml = |name: &str| xml_texts(&xml, name).next().map(str::to_owned);
    let in_header = headers
        .get("x-amzn-errortype")
        .and_then(|code| code.to_str().ok())
        .map(str::to_owned);
    let code = member(&["__type", "code", "Code"])
        .or(in_header)
        .or_else(|| in_xml("Code"))
        .unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().to_owned();
    let message = member(&["message", "Message"]).or_else(|| in_xml("Message"));
    (code, message.unwrap_or_default())
}

/// Returns the texts of all elements of an XML document with a name, in its order. An element must
/// have no attributes and contain text only, as in the answers of AWS's query protocol, whose names
/// and ARNs need no escapes.
pub fn xml_texts<'a>(document: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = document.split('<');
    parts.filter_map(move |part| part.strip_prefix(name)?.strip_prefix('>'))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::provider::SharedCredentialsProvider;
    use jiff::Timestamp;
    use seam::transport::{BoxFuture, TransportError};
    use serde_json::json;

    use super::*;

    /// Answers every request in the same way, and keeps the requests.
    struct OneAnswer {
        response: (u16, Option<&'static str>, &'static str),
        requests: Mutex<Vec<Request<Body>>>,
    }

    impl Transport for OneAnswer {
        fn send(
            &self,
            request: Request<Body>,
        ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            Box::pin(async move {
                self.requests.lock().unwrap().push(request);
                let (status, code, body) = self.response;
                let mut response = Response::builder().status(status);
                if let Some(code) = code {
                    response = response.header("x-amzn-errortype", code);
                }
                Ok(response.body(full(body)).unwrap())
            })
        }
    }

    fn caller(
        status: u16,
        code: Option<&'static str>,
        body: &'static str,
    ) -> (AwsCaller, Arc<OneAnswer>) {
        let transport = Arc::new(OneAnswer {
            response: (status, code, body),
            requests: Mutex::default(),
        });
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let clock = Clock::from_fn(|| Timestamp::UNIX_EPOCH);
        (
            AwsCaller::new(Arc::clone(&transport) as _, config, clock),
            transport,
        )
    }

    #[tokio::test]
    async fn each_protocol_has_its_address_and_its_signature() {
        let (caller, transport) = caller(200, None, "{}");
        let calls = [
            AwsCall::json(
                Service::SSM,
                "AmazonSSM.GetParameter",
                &json!({"Name": "k"}),
            ),
            AwsCall::form(Service::SNS, &[("Action", "A b"), ("Arn", "arn:aws:sns")]),
            AwsCall::get(
                Service::LAMBDA,
                &["2015-03-31", "functions", "a b"],
                &[("Marker", "x/y")],
            ),
            AwsCall::json(Service::CLOUDWATCH, "Granite.DescribeAlarms", &json!({})),
        ];
        for call in &calls {
            caller.call(call).await.unwrap();
        }
        let mut requests = std::mem::take(&mut *transport.requests.lock().unwrap());
        let uris: Vec<String> = requests
            .iter()
            .map(|request| format!("{} {}", request.method(), request.uri()))
            .collect();
        assert_eq!(
            uris,
            [
                "POST https://ssm.eu-west-1.amazonaws.com/",
                "POST https://sns.eu-west-1.amazonaws.com/",
                "GET https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/a%20b?Marker=x%2Fy",
                "POST https://monitoring.eu-west-1.amazonaws.com/",
            ]
        );
        assert_eq!(
            requests[0].headers()["x-amz-target"],
            "AmazonSSM.GetParameter"
        );
        for (request, service) in requests.iter().zip(["ssm", "sns", "lambda", "monitoring"]) {
            let signature = request.headers()["authorization"].to_str().unwrap();
            let scope = format!("/eu-west-1/{service}/aws4_request");
            assert!(signature.contains(&scope), "{signature}");
        }
        let form = read_body(requests.remove(1).into_body(), 1000)
            .await
            .unwrap();
        assert_eq!(form, "Action=A%20b&Arn=arn%3Aaws%3Asns");
    }

    #[tokio::test]
    async fn a_refusal_has_its_code_in_every_protocol() {
        for (header, body, code, message) in [
            (
                None,
                r#"{"__type":"com.amazon#ParameterNotFound","message":"no"}"#,
                "ParameterNotFound",
                "no",
            ),
            (
                Some("ResourceNotFoundException:http://internal/x"),
                r#"{"Type":"User","Message":"no such function"}"#,
                "ResourceNotFoundException",
                "no such function",
            ),
            (
                None,
                "<ErrorResponse><Error><Code>NotFound</Code><Message>gone</Message></Error></ErrorResponse>",
                "NotFound",
                "gone",
            ),
            (None, "<html>", "", ""),
        ] {
            let (caller, _) = caller(404, header, body);
            let call = AwsCall::get(Service::LAMBDA, &["x"], &[]);
            let refused = AwsCallError::Refused {
                status: 404,
                code: code.to_owned(),
                message: message.to_owned(),
            };
            let error = caller.call(&call).await.unwrap_err();
            assert!(error.is_not_found() && !error.is_denied());
            assert_eq!(error, refused);
        }
    }

    #[test]
    fn texts_are_those_of_elements_with_the_whole_name() {
        let document = "<a><Arn>x</Arn><ArnName>y</ArnName><Arn></Arn><Arn>z</Arn></a>";
        let texts: Vec<&str> = xml_texts(document, "Arn").collect();
        assert_eq!(texts, ["x", "", "z"]);
    }
}
