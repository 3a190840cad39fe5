//! The AWS clients of a deployed function.

use std::{sync::OnceLock, time::Duration};

use aws_config::{
    SdkConfig,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    meta::region::ProvideRegion,
};
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::{
    config::{RequestChecksumCalculation, StalledStreamProtectionConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpClient, SharedHttpClient, http_client_fn};
use aws_types::service_config::ServiceConfigKey;

use crate::lazy::Lazy;

/// Clients for S3 and SQS with the function's role, region and, where one is set, endpoint. Making
/// one includes parsing a list of AWS's regions.
#[derive(Clone, Debug)]
pub struct Aws {
    /// S3.
    pub s3: Lazy<aws_sdk_s3::Client>,
    /// SQS.
    pub sqs: Lazy<aws_sdk_sqs::Client>,
}

impl Aws {
    /// Makes the clients from the environment that Lambda sets for a function.
    pub async fn from_env() -> Self {
        let config = config().await;
        let s3 = s3_settings(aws_sdk_s3::config::Builder::from(&config));
        // Emulators do not have a host name for each bucket.
        let s3 = s3.force_path_style(config.endpoint_url().is_some());
        Self {
            s3: Lazy::new(|| aws_sdk_s3::Client::from_conf(s3.build())),
            sqs: Lazy::new(move || aws_sdk_sqs::Client::new(&config)),
        }
    }
}

/// Reads the role, region, credentials and endpoint in the environment.
///
/// On Lambda the environment has the region and the credentials. The chains with all other sources
/// are made only where it lacks them, because that includes clients for STS and for the metadata of
/// a machine, with four fifths of the instructions that reading the configuration takes.
pub(crate) async fn config() -> SdkConfig {
    let mut loader = aws_config::from_env()
        .timeout_config(timeouts())
        .http_client(https());
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        loader = loader.region(region);
    }
    let credentials = EnvironmentVariableCredentialsProvider::new();
    if credentials.provide_credentials().await.is_ok() {
        loader = loader.credentials_provider(credentials);
    }
    loader.load().await
}

/// The SDK's own HTTPS client, without a proxy, which is the SDK's default. It is made for the
/// first connection. The SDK would make it when it is configured, and reading the root certificates
/// takes longer than everything else at a function's start.
fn https() -> SharedHttpClient {
    let made = OnceLock::new();
    http_client_fn(move |settings, components| {
        let make = || {
            Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_https()
        };
        made.get_or_init(make).http_connector(settings, components)
    })
}

/// The scheme and host of a service that is called without an SDK crate, by its ID and its host: the
/// endpoint in the environment (`AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL`), or that of the region.
pub(crate) fn endpoint(config: &SdkConfig, id: &'static str, host: &str) -> String {
    let key = ServiceConfigKey::builder()
        .service_id(id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = key
        .ok()
        .and_then(|key| config.service_config()?.load_config(key));
    if let Some(url) = own.as_deref().or(config.endpoint_url()) {
        return url.trim_end_matches('/').to_owned();
    }
    let region = config.region().map_or("us-east-1", AsRef::as_ref);
    let fips = if config.use_fips() == Some(true) {
        "-fips"
    } else {
        ""
    };
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://{host}{fips}.{region}.{domain}")
}

/// Describes an error in a few words: AWS's code and message, or what happened to the connection.
pub fn describe<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(service) => {
            let reply = service.err();
            format!(
                "{} {}",
                reply.code().unwrap_or("error"),
                reply.message().unwrap_or_default()
            )
        }
        SdkError::TimeoutError(_) => "time-out".to_owned(),
        SdkError::DispatchFailure(_) => "connection failed".to_owned(),
        SdkError::ResponseError(_) => "the response can't be read".to_owned(),
        SdkError::ConstructionFailure(_) => "the request can't be built".to_owned(),
        _ => "failed".to_owned(),
    }
}

/// The settings of every S3 client: a CRC32 of each object, and no stalled-stream protection, which
/// would count a wait for Gemini's next bytes as a stalled upload.
pub fn s3_settings(builder: aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder {
    builder
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// The time limits of each request. By default the SDK limits only the time to connect.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(4))
        .read_timeout(Duration::from_secs(30))
        .operation_attempt_timeout(Duration::from_secs(120))
        .build()
}
