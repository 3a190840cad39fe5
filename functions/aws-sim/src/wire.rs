//! Connects the real AWS SDK clients to an in-process service, without sockets, with bodies
//! streamed in both directions.

use std::{fmt, sync::Arc};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpClient, SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use http::{HeaderMap, HeaderValue, Request, Response, header::HOST};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError};

use crate::credentials::Credentials;

/// The region of all resources in the stand-ins.
pub const REGION: &str = "us-east-1";

/// The account that owns all resources in the stand-ins.
pub const ACCOUNT: &str = "000000000000";

/// The header with the caller's trace. The SDK adds it to every call of a deployed function, and
/// SQS forwards it with messages
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>, read 2026-11).
pub(crate) const TRACE_HEADER: &str = "x-amzn-trace-id";

/// The endpoint in the requests of the in-process clients. Nothing resolves it.
const ENDPOINT: &str = "https://aws.darkroom.internal";

tokio::task_local! {
    /// The trace of the invocation that a task belongs to. The SDK reads it from the process's
    /// environment, but here many invocations share one process.
    static TRACE: String;
}

/// Runs `work` and adds this trace header to all of its AWS calls. Tasks that it spawns call
/// without the header.
pub async fn traced<T>(trace: String, work: impl Future<Output = T>) -> T {
    TRACE.scope(trace, work).await
}

/// An HTTP client for the AWS SDK that passes every request to a [`Transport`].
#[derive(Clone)]
pub struct InProcess {
    service: Arc<dyn Transport>,
    credentials: Credentials,
}

impl InProcess {
    /// Creates a client of `service` whose requests are signed with `credentials`.
    pub fn new(service: Arc<dyn Transport>, credentials: Credentials) -> Self {
        Self {
            service,
            credentials,
        }
    }

    /// Returns the service.
    pub fn service(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.service)
    }

    /// Returns the credentials for signing requests.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns the settings of an S3 client of the service, which uses path style.
    pub fn s3_config(&self) -> aws_sdk_s3::config::Builder {
        use aws_sdk_s3::config::{
            BehaviorVersion, Region, StalledStreamProtectionConfig,
            retry::{RetryPartition, TokenBucket},
        };
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            // By default, all clients in the process share one retry budget, so the failures of one
            // folder would use up the retries of another.
            .retry_partition(
                RetryPartition::custom("darkroom local")
                    .token_bucket(TokenBucket::default())
                    .build(),
            )
            .region(Region::new(REGION))
            .credentials_provider(self.sdk_credentials())
            .endpoint_url(ENDPOINT)
            .force_path_style(true)
            // Stalls between two tasks are intended, and simulated time would show stalls that do
            // not exist.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone())
    }

    /// Returns the settings of an SQS client of the service.
    pub fn sqs_config(&self) -> aws_sdk_sqs::config::Builder {
        use aws_sdk_sqs::config::{
            BehaviorVersion, Region, StalledStreamProtectionConfig,
            retry::{RetryPartition, TokenBucket},
        };
        aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_partition(
                RetryPartition::custom("darkroom local")
                    .token_bucket(TokenBucket::default())
                    .build(),
            )
            .region(Region::new(REGION))
            .credentials_provider(self.sdk_credentials())
            .endpoint_url(ENDPOINT)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone())
    }

    fn sdk_credentials(&self) -> aws_sdk_s3::config::Credentials {
        let (id, secret) = (
            self.credentials.access_key_id(),
            self.credentials.secret_access_key(),
        );
        aws_sdk_s3::config::Credentials::new(id, secret, None, None, "darkroom local")
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

impl HttpConnector for InProcess {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let service = Arc::clone(&self.service);
        // The SDK calls this function within its caller's task, so the task-local is that of the
        // caller.
        if let Ok(trace) = TRACE.try_with(String::clone) {
            request.headers_mut().insert(TRACE_HEADER, trace);
        }
        HttpConnectorFuture::new(async move {
            let response = service
                .send(http_request(request)?)
                .await
                .map_err(connector_error)?;
            let response = response.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl From<InProcess> for SharedHttpClient {
    fn from(client: InProcess) -> Self {
        SharedHttpClient::new(client)
    }
}

/// One endpoint for both services, as on a loopback port. SQS calls name their operation in a
/// header; every other request is for S3.
pub struct Router {
    bucket: Arc<dyn Transport>,
    queue: Arc<dyn Transport>,
}

impl Router {
    /// Creates a router that sends S3 calls to `bucket` and SQS calls to `queue`.
    pub fn new(bucket: Arc<dyn Transport>, queue: Arc<dyn Transport>) -> Self {
        Self { bucket, queue }
    }
}

impl Transport for Router {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        if is_sqs_request(request.headers()) {
            self.queue.send(request)
        } else {
            self.bucket.send(request)
        }
    }
}

/// Whether a request is for SQS, judging by the operation that it names.
pub(crate) fn is_sqs_request(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-target")
        .is_some_and(|target| target.as_bytes().starts_with(b"AmazonSQS."))
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router")
    }
}

/// Converts the request to the form in which an HTTP/1.1 client sends it, with a `Host` header,
/// which the signature covers.
fn http_request(request: HttpRequest) -> Result<Request<Body>, ConnectorError> {
    let mut request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
    {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| ConnectorError::user(error.into()))?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request.map(BodyExt::boxed))
}

fn connector_error(error: TransportError) -> ConnectorError {
    match error {
        TransportError::NeverSent(_) => ConnectorError::io(error.into()).never_connected(),
        TransportError::Interrupted(_) => ConnectorError::io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_sdk_s3::{
        config::retry::RetryConfig,
        error::SdkError,
        primitives::{ByteStream, SdkBody},
    };
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use seam::transport::BoxError;
    use tokio::sync::mpsc;

    use super::*;

    /// Returns the request's body as the answer, chunk by chunk.
    struct Echo;

    impl Transport for Echo {
        fn send(
            &self,
            request: Request<Body>,
        ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            Box::pin(async { Ok(Response::new(request.into_body())) })
        }
    }

    struct Broken(fn(BoxError) -> TransportError);

    impl Transport for Broken {
        fn send(&self, _: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            Box::pin(async {
                Err(self.0(
                    io::Error::from(io::ErrorKind::ConnectionReset).into(),
                ))
            })
        }
    }

    fn client(service: impl Transport) -> aws_sdk_s3::Client {
        let config = InProcess::new(Arc::new(service), Credentials::random().unwrap()).s3_config();
        aws_sdk_s3::Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
    }

    #[tokio::test]
    async fn bodies_are_streamed_in_both_directions() {
        let (sender, receiver) = mpsc::channel::<&'static str>(1);
        let pieces = stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(piece))), receiver))
        });
        let request = HttpRequest::new(SdkBody::from_body_1_x(StreamBody::new(pieces.fuse())));
        let response = InProcess::new(Arc::new(Echo), Credentials::random().unwrap())
            .call(request)
            .await
            .unwrap();
        let mut echoed = response.into_body();
        for piece in ["one", "two"] {
            // If bodies were buffered, this would wait forever.
            sender.send(piece).await.unwrap();
            assert_eq!(
                echoed.frame().await.unwrap().unwrap().into_data().unwrap(),
                piece
            );
        }
        drop(sender);
        assert!(echoed.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_broken_connection_is_a_dispatch_failure() {
        for broken in [
            TransportError::NeverSent as fn(BoxError) -> _,
            TransportError::Interrupted,
        ] {
            let put = client(Broken(broken))
                .put_object()
                .bucket("bucket")
                .key("a")
                .body(ByteStream::from_static(b"x"));
            assert!(
                matches!(put.send().await, Err(SdkError::DispatchFailure(failure)) if failure.is_io())
            );
        }
    }

    #[tokio::test]
    async fn the_router_selects_the_service_by_the_target_header() {
        let (s3, sqs) = (Broken(TransportError::NeverSent), Echo);
        let router = Router::new(Arc::new(s3), Arc::new(sqs));
        let mut request = Request::new(seam::transport::empty());
        assert!(router.send(request).await.is_err());
        request = Request::new(seam::transport::empty());
        request.headers_mut().insert(
            "x-amz-target",
            HeaderValue::from_static("AmazonSQS.SendMessage"),
        );
        assert!(router.send(request).await.is_ok());
    }
}
