//! TLS for every connection of this process except the AWS SDK's own: rustls with aws-lc-rs.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, crypto::aws_lc_rs::default_provider};

/// The configuration that trusts the machine's root certificates.
static NATIVE: OnceLock<ClientConfig> = OnceLock::new();

/// TLS 1.2 and 1.3 with the machine's root certificates, or those that `SSL_CERT_FILE` or
/// `SSL_CERT_DIR` names. Clones share the cache of TLS sessions.
///
/// The certificates are read on the first call. That takes longer than everything else at a
/// function's start, so call this when a connection is needed and no earlier.
///
/// # Errors
/// When the machine has no root certificates.
pub fn config() -> io::Result<ClientConfig> {
    if let Some(config) = NATIVE.get() {
        return Ok(config.clone());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_native_roots()?
        .with_no_client_auth();
    Ok(NATIVE.get_or_init(|| config).clone())
}
