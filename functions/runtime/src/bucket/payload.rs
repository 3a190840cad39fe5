//! Uploads without a payload hash.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut,
    },
    error::BoxError,
};

/// Leaves the payload of a request out of its signature if TLS protects it. S3 checks the payload's
/// CRC32 in either case.
///
/// Hashing all images with SHA-256 would take more CPU time than everything else that `collect` does
/// with them.
#[derive(Debug)]
pub(super) struct UnsignedOverTls;

impl Intercept for UnsignedOverTls {
    fn name(&self) -> &'static str {
        "UnsignedOverTls"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.request().uri().starts_with("https://") {
            config
                .interceptor_state()
                .store_put(PayloadSigningOverride::unsigned_payload());
        }
        Ok(())
    }
}
