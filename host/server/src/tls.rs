//! TLS of those who ask hosts, commands and other hosts: who vouches for a host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Where systems keep the certificates that they trust, the first that is there counts: Debian and Arch, Fedora, SUSE,
/// Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// There is nobody to vouch for a host; who says it also says where to name somebody.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file does not say who.
    #[error(
        "{file} holds no certificate in PEM ({reason})",
        file = file.display()
    )]
    File {
        /// Which one.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine trusts nobody.
    #[error(
        "this machine has no list of certificates that it trusts (looked for {})",
        SYSTEM.join(", ")
    )]
    System,
}

/// Trusts what the certificates in `ca` vouch for, or those of this machine.
pub(crate) fn config(ca: Option<&Path>) -> Result<TlsConfig, TlsError> {
    let system = || SYSTEM.iter().map(Path::new).find(|file| file.is_file());
    let file = ca.or_else(system).ok_or(TlsError::System)?;
    let refused = |reason: String| TlsError::File {
        file: file.to_owned(),
        reason,
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| refused(error.to_string()))?;
    if certificates.is_empty() {
        return Err(refused("there is none in it".to_owned()));
    }
    let certificates = certificates
        .iter()
        .map(|one| Certificate::from_der(one).to_owned());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(certificates.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Speaks HTTP to hosts: answers of any status are answers. A proxy from the environment could not reach a host on this
/// machine.
pub(crate) fn agent(tls: TlsConfig, connect: Duration) -> Agent {
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_connect(Some(connect))
        .proxy(None)
        .max_redirects(0)
        .build()
        .new_agent()
}

/// What is wrong with a host's certificate, if it is that.
pub(crate) fn distrust(error: &ureq::Error) -> Option<String> {
    let source = if let ureq::Error::Io(error) = error {
        error.get_ref()?.downcast_ref::<rustls::Error>()?
    } else if let ureq::Error::Rustls(error) = error {
        error
    } else {
        return None;
    };
    matches!(source, rustls::Error::InvalidCertificate(_)).then(|| source.to_string())
}
