//! What the configuration means to the parts of a host.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Faults, Tls, TlsFault};
use crate::embedded::EmbeddedConfig;
use crate::fleet::Peers;
use crate::http::{BindError, HttpConfig, Token};

/// A client that takes longer for the head of a request is not one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn store(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        retention_age: config.retention.age,
        retention_bytes_per_partition: Some(config.retention.bytes),
        ..EmbeddedConfig::default()
    }
}

/// Whom this host asks, and whom it trusts to be them.
pub(super) fn peers(config: &Config) -> Result<Peers, Faults> {
    Peers::new(config.http.peer_ca.as_deref()).map_err(|error| {
        let message =
            format!("{error}: name the certificate of who vouches for the hosts of the fleet");
        Faults(vec![config.fault("http.peer_ca", message)])
    })
}

/// `peer_secret`: what other hosts of the fleet send.
pub(super) fn http(config: &Config, peer_secret: Option<&str>) -> Result<HttpConfig, Faults> {
    let http = &config.http;
    let mut names = http.names.clone();
    // The others write into `Host` what they were told.
    names.extend(config.advertised_name().filter(|_| peer_secret.is_some()));
    Ok(HttpConfig {
        listen: http.listen,
        names,
        peer_secret: peer_secret.map(str::to_owned),
        environment: config.environment.clone(),
        domain: config.domain.clone(),
        tls: http
            .tls
            .as_ref()
            .map(|files| tls(config, files))
            .transpose()?,
        tokens: http
            .tokens
            .iter()
            .map(|token| Token {
                secret: token.secret.expose().to_owned(),
                tenant: token.tenant.as_str().into(),
                admin: token.admin,
            })
            .collect(),
        open_metrics: http.open_metrics,
        event_bytes_max: http.limits.event_bytes,
        body_bytes_max: http.limits.body_bytes,
        batch_events_max: http.limits.batch_events,
        connections_max: http.limits.connections,
        connections_per_address_max: http.limits.connections_per_address,
        head_timeout: HEAD_TIMEOUT,
        request_timeout: http.limits.request_timeout,
    })
}

fn tls(config: &Config, files: &Tls) -> Result<Arc<rustls::ServerConfig>, Faults> {
    let fault = |fault: TlsFault| config.fault(format!("http.tls.{}", fault.key), fault.message);
    files
        .server_config()
        .map_err(|faults| Faults(faults.into_iter().map(fault).collect()))
}

/// The address is one more thing of the configuration that can be wrong.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest have no remedy of their own"
)]
pub(super) fn refused_address(config: &Config, error: &BindError) -> Faults {
    let remedy = match error.source.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or write another port",
        ErrorKind::AddrNotAvailable => "this machine has no such address: write one that it has",
        ErrorKind::PermissionDenied => "ports below 1024 are the system's: write a higher one",
        _ => "write another address",
    };
    let message = format!("{}: {remedy} ({})", error.address, error.source);
    Faults(vec![config.fault("http.listen", message)])
}
