//! The identity of the services: a certificate for loopback, and its authority. Both are created at
//! each start.

use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio_rustls::TlsAcceptor;

/// The host name of the services.
pub(crate) const HOST: &str = "localhost";

/// Creates both, and writes the certificate of the authority to `authority` as PEM.
pub(crate) fn acceptor(authority: &Path) -> anyhow::Result<TlsAcceptor> {
    let mut issuer = CertificateParams::new([])?;
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    issuer
        .distinguished_name
        .push(DnType::CommonName, "Darkroom benchmark");
    let issuer_key = KeyPair::generate()?;
    fs::write(authority, issuer.self_signed(&issuer_key)?.pem())?;
    let issuer = Issuer::new(issuer, issuer_key);

    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
