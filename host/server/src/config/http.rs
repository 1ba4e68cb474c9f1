//! The `[http]` section: where the ingress listens, for whom, and its limits.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::document::Section;
use crate::names::{self, LABEL_RULE};
use crate::tls;

/// Loopback: nothing outside this machine reaches a host that nobody has configured.
pub(super) const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Names of this machine; a web page under another name that resolves to it is refused.
pub(super) const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The sandbox takes no larger event; Kafka's own default is about the same.
pub(super) const EVENT_BYTES: u64 = 1 << 20;
/// A batch of events in one request; also what a connection may hold in memory.
pub(super) const BODY_BYTES: u64 = 16 << 20;
/// Events in one request: one commit, kept below what delays others visibly.
pub(super) const BATCH_EVENTS: u64 = 10_000;
/// Open connections: half of the usual limit of 4,096 open files leaves the rest to the store.
pub(super) const CONNECTIONS: u64 = 2_048;
/// Of them, those from one address: half, so that one machine that opens all it can leaves as many to the others.
pub(super) const CONNECTIONS_PER_ADDRESS: u64 = 1_024;
/// For a body, for its commit, and for a client that lets its answer wait: longer than a busy host or a slow line takes,
/// short enough that who does not read or send holds a connection for a moment.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The ingress and admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// What a request's `Host` may say, without port, lower case.
    pub names: Vec<String>,
    /// An address that is not loopback is allowed without TLS and token.
    pub insecure: bool,
    /// Certificate and key.
    pub tls: Option<Tls>,
    /// Who may call; empty: anybody who reaches the address.
    pub tokens: Vec<Token>,
    /// `/metrics` needs no token.
    pub open_metrics: bool,
    /// Where the other hosts of a fleet reach this one; none: where it listens, or by the name of this machine.
    pub advertise: Option<String>,
    /// Who vouches for other hosts that speak TLS, in PEM; none: whom this machine trusts.
    pub peer_ca: Option<PathBuf>,
    /// Bounds of requests.
    pub limits: HttpLimits,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the caller sends.
    pub secret: Secret,
    /// Whose events these are.
    pub tenant: String,
    /// Whether it shows the whole host: all handlers, and what takes how much disk.
    pub admin: bool,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bounds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// One event: its data and attributes.
    pub event_bytes: usize,
    /// One request body.
    pub body_bytes: usize,
    /// Events in one request.
    pub batch_events: usize,
    /// Open connections.
    pub connections: usize,
    /// Of them, those from one address.
    pub connections_per_address: usize,
    /// For a body, again for its commit, and again each time that the client does not read its answer.
    pub request_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            event_bytes: bytes(EVENT_BYTES),
            body_bytes: bytes(BODY_BYTES),
            batch_events: bytes(BATCH_EVENTS),
            connections: bytes(CONNECTIONS),
            connections_per_address: bytes(CONNECTIONS_PER_ADDRESS),
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            names: NAMES.map(str::to_owned).to_vec(),
            insecure: false,
            tls: None,
            tokens: Vec::new(),
            open_metrics: false,
            advertise: None,
            peer_ca: None,
            limits: HttpLimits::default(),
        }
    }
}

impl Http {
    /// What is missing for an address that is not loopback; none when nothing is.
    pub(super) fn exposed_without(&self) -> Option<&'static str> {
        match (
            self.listen.ip().is_loopback(),
            self.tls.is_some(),
            self.tokens.is_empty(),
        ) {
            (true, _, _) | (false, true, false) => None,
            (false, false, true) => Some("TLS and tokens"),
            (false, false, false) => Some("TLS"),
            (false, true, true) => Some("tokens"),
        }
    }
}

impl Http {
    /// Where the other hosts of a fleet reach this one that listens on `port`; none where this machine has no name.
    pub(super) fn advertised(&self, port: u16) -> Option<String> {
        if let Some(url) = &self.advertise {
            return Some(url.clone());
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address = SocketAddr::new(self.listen.ip(), port);
        if !address.ip().is_unspecified() {
            return Some(format!("{scheme}://{address}"));
        }
        // Where Linux keeps it; elsewhere it has to be written.
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| format!("{scheme}://{name}:{port}"))
    }
}

impl Tls {
    fn are_files(&self) -> bool {
        self.cert.is_file() && self.key.is_file()
    }
}

pub(super) fn read(mut section: Section<'_>) -> Http {
    let mut http = Http::default();
    if let Some(listen) = section.text("listen") {
        match listen.parse() {
            Ok(address) => http.listen = address,
            Err(_) => {
                section.fault(
                    "listen",
                    format!(
                        "is {listen:?}: must be an address and a port, as in \"127.0.0.1:8080\""
                    ),
                );
            }
        }
    }
    if let Some(names) = section.texts("names") {
        http.names = names.into_iter().map(str::to_ascii_lowercase).collect();
        if http.names.is_empty() || http.names.iter().any(String::is_empty) {
            section.fault(
                "names",
                "must list the host names under which clients reach this host, without port",
            );
        }
    }
    http.insecure = section.boolean("insecure").unwrap_or(false);
    http.open_metrics = section.boolean("open_metrics").unwrap_or(false);
    http.advertise = read_advertise(&mut section);
    http.peer_ca = read_peer_ca(&mut section);
    http.tls = read_tls(section.section("tls"));
    http.tokens = section
        .sections("tokens")
        .into_iter()
        .filter_map(read_token)
        .collect();
    http.limits = read_limits(section.section("limits"));
    if let (Some(missing), false) = (http.exposed_without(), http.insecure) {
        let message = format!(
            "{} can be reached from outside this machine, without {missing}: set http.tls and http.tokens, listen on \
             127.0.0.1, or write http.insecure = true to accept the risk",
            http.listen
        );
        section.fault("listen", message);
    }
    section.close();
    http
}

fn read_advertise(section: &mut Section<'_>) -> Option<String> {
    let url = section.text("advertise")?;
    let authority = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .map(|rest| rest.trim_end_matches('/'));
    let is_authority = |text: &str| !text.is_empty() && !text.contains(['/', '?', '#', '@', ' ']);
    if !authority.is_some_and(is_authority) {
        let message = format!(
            "is {url:?}: must be where other hosts reach this one, as in \"https://weir-1.example.com:8443\""
        );
        section.fault("advertise", message);
        return None;
    }
    Some(url.to_owned())
}

fn read_peer_ca(section: &mut Section<'_>) -> Option<PathBuf> {
    let path = section.text("peer_ca").map(|path| section.resolve(path))?;
    if !path.is_file() {
        section.fault(
            "peer_ca",
            format!("there is no file {}: name a PEM file", path.display()),
        );
    } else if let Err(error) = tls::config(Some(&path)) {
        let remedy = "name the certificate of who vouches for the hosts of the fleet";
        section.fault("peer_ca", format!("{error}: {remedy}"));
    }
    Some(path)
}

fn read_tls(mut section: Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let mut file = |key, example| {
        let path = section
            .required(key, example)
            .map(|path| section.resolve(path))?;
        if !path.is_file() {
            section.fault(
                key,
                format!("there is no file {}: name a PEM file", path.display()),
            );
        }
        Some(path)
    };
    let cert = file("cert", "\"cert.pem\"");
    let key = file("key", "\"key.pem\"");
    let tls = cert.zip(key).map(|(cert, key)| Tls { cert, key });
    if let Some(tls) = tls.as_ref().filter(|tls| tls.are_files())
        && let Err(faults) = tls.server_config()
    {
        for fault in faults {
            section.fault(fault.key, fault.message);
        }
    }
    section.close();
    tls
}

fn read_token(mut section: Section<'_>) -> Option<Token> {
    /// Shorter ones can be guessed.
    const TOKEN_BYTES_MIN: usize = 16;
    let tenant = section.required("tenant", "\"default\"");
    if tenant.is_some_and(|tenant| !names::is_label(tenant)) {
        section.fault("tenant", format!("must be {LABEL_RULE}"));
    }
    let admin = section.boolean("admin").unwrap_or(false);
    let (inline, file) = (section.text("token"), section.text("token_file"));
    let secret = match (inline, file) {
        (Some(token), None) => Some(token.to_owned()),
        (None, Some(file)) => {
            let text = section.read_file("token_file", file);
            text.map(|text| text.trim_end().to_owned())
        }
        (None, None) | (Some(_), Some(_)) => {
            section.fault(
                "",
                "must have either token_file = \"path\" or token = \"text\"",
            );
            None
        }
    };
    if secret
        .as_ref()
        .is_some_and(|s| s.len() < TOKEN_BYTES_MIN || !s.bytes().all(|b| b.is_ascii_graphic()))
    {
        let remedy = "make one with `head -c 24 /dev/urandom | base64`";
        section.fault(
            "",
            format!(
                "the token must have at least {TOKEN_BYTES_MIN} visible ASCII characters: {remedy}"
            ),
        );
    }
    section.close();
    Some(Token {
        secret: Secret(secret?),
        tenant: tenant?.to_owned(),
        admin,
    })
}

fn read_limits(mut section: Section<'_>) -> HttpLimits {
    let mut limits = HttpLimits::default();
    let mut read = |key, range, into: &mut usize| {
        if let Some(n) = section.number(key, range) {
            *into = bytes(n);
        }
    };
    // The sandbox takes no event above 1 MiB, so a higher limit would only make dead letters.
    read(
        "event_bytes",
        1 << 10..=EVENT_BYTES,
        &mut limits.event_bytes,
    );
    read("body_bytes", 1 << 10..=256 << 20, &mut limits.body_bytes);
    read("batch_events", 1..=100_000, &mut limits.batch_events);
    read("connections", 1..=65_536, &mut limits.connections);
    read(
        "connections_per_address",
        1..=65_536,
        &mut limits.connections_per_address,
    );
    if let Some(seconds) = section.number("request_timeout_s", 1..=3_600) {
        limits.request_timeout = Duration::from_secs(seconds);
    }
    if limits.body_bytes < limits.event_bytes {
        let message = format!(
            "is {}: must be at least event_bytes, {}",
            limits.body_bytes, limits.event_bytes
        );
        section.fault("body_bytes", message);
    }
    section.close();
    limits
}

/// All bounds here are far below the address space.
fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
