//! The PEM files of `[http.tls]`: read when the configuration is, so that a wrong one is told with all other faults.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::http::Tls;

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The key below `http.tls`; empty for the two together.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Tls {
    /// What the server needs to speak TLS.
    ///
    /// # Errors
    /// What is wrong with either file, else with the two together.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, Vec<TlsFault>> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain| {
                if chain.is_empty() {
                    Err(pem::Error::NoItemsFound)
                } else {
                    Ok(chain)
                }
            })
            .map_err(|error| unreadable("cert", &self.cert, "certificate", &error));
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable("key", &self.key, "private key", &error));
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, key)
            })
            .map(Arc::new)
            .map_err(|error| {
                let (cert, key) = (self.cert.display(), self.key.display());
                vec![TlsFault {
                    key: "",
                    message: format!(
                        "{cert} and {key} do not serve together ({error}): name a certificate chain and its own key"
                    ),
                }]
            })
    }
}

fn unreadable(key: &'static str, file: &Path, what: &str, error: &pem::Error) -> TlsFault {
    let file = file.display();
    TlsFault {
        key,
        message: format!("{file} holds no {what} in PEM ({error}): name a file that does"),
    }
}
