//! The AWS clients of a deployed function.

use aws_config::SdkConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, StalledStreamProtectionConfig, timeout::TimeoutConfig};
use std::time::Duration;

/// Clients for S3 and SQS with the function's role, region and, where one is set, endpoint.
#[derive(Clone, Debug)]
pub struct Aws {
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
}

impl Aws {
    /// From the environment that Lambda gives a function.
    pub async fn from_env() -> Self {
        let config = config().await;
        let s3 = s3_settings(aws_sdk_s3::config::Builder::from(&config));
        // Emulators have no host name for every bucket.
        let s3 = s3.force_path_style(config.endpoint_url().is_some());
        Self { s3: aws_sdk_s3::Client::from_conf(s3.build()), sqs: aws_sdk_sqs::Client::new(&config) }
    }
}

/// A client for SSM, with the same role, region and endpoint.
pub(crate) async fn ssm_from_env() -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&config().await)
}

async fn config() -> SdkConfig {
    aws_config::from_env().timeout_config(timeouts()).load().await
}

/// What every S3 client here is set to: a CRC32 of every object, and no stalled-stream protection, which would count
/// the wait for Gemini's next bytes as a stall of the upload.
pub fn s3_settings(builder: aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder {
    builder
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// The SDK alone has only a connect time-out.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(4))
        .read_timeout(Duration::from_secs(30))
        .operation_attempt_timeout(Duration::from_secs(120))
        .build()
}
