//! The host's HTTP interface: events in (`POST /v1/topics/{topic}/events`), events out (`GET` of the same), topics,
//! status, health and metrics.
//!
//! This module owns the socket: it accepts, bounds and drains connections. What a request means is in [`ingress`],
//! [`tail`] and [`signals`]; every refusal is a [`problem::Problem`]. Nothing a client sends ends in a 5xx or waits without a bound.
//!
//! A web page in a browser on this machine must not reach the host. Three rules see to it: a `Host` that is not
//! configured is refused (DNS rebinding), no answer carries a CORS header and `OPTIONS` is refused (no preflight
//! succeeds), and events are taken only with content types or headers that need a preflight.

mod access;
mod admin;
mod body;
mod ingress;
mod peer;
mod peers;
mod problem;
mod signals;
mod stall;
mod tail;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use self::access::Access;
pub use self::access::Token;
pub use self::admin::{Admin, AdminError, AdminResult, Letters, Steer, Subject};
use self::peers::{Peers, Place};
use self::problem::{Problem, json_response};
use self::signals::Traffic;
pub use self::signals::{Readiness, StatusSource, SubscriptionReadiness, View};
use self::stall::Impatient;
use crate::bus::Bus;
use crate::fleet::PATH as PEER_PATH;

/// A request's head: room for the attributes of a large event in binary mode.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of a request: 64 extensions, the core attributes, and what proxies add.
const HEADERS_MAX: usize = 128;
/// Bodies of all requests that are being read or committed, beyond the first 64 KiB of each. Sixteen of the largest that
/// the default allows, and always room for one.
const BODIES_BYTES_MAX: usize = 256 << 20;
/// A wait after a failed accept, so that a process without file descriptors does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// For requests that have begun when the host stops. The partitions drain after them, within the host's own deadline
/// of 25 s: a client that stops in the middle of a body must not use it up.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Where the server listens, for whom, and its bounds.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What a request's `Host` may say, without port.
    pub names: Vec<String>,
    /// First part of the full form of short topic names.
    pub environment: String,
    /// Second part of the full form of short topic names.
    pub domain: String,
    /// Plain HTTP when none.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may call; empty: anybody who reaches the address.
    pub tokens: Vec<Token>,
    /// What other hosts of the fleet send to be answered as such; none: there are none.
    pub peer_secret: Option<String>,
    /// `/metrics` needs no token.
    pub open_metrics: bool,
    /// One event: its data and attributes.
    pub event_bytes_max: usize,
    /// One request body.
    pub body_bytes_max: usize,
    /// Events in one request.
    pub batch_events_max: usize,
    /// Open connections; further ones wait in the kernel's queue until one ends.
    pub connections_max: usize,
    /// Of them, those from one address; further ones are closed.
    pub connections_per_address_max: usize,
    /// From the first byte of a request's head to its last, also while a kept connection is idle.
    pub head_timeout: Duration,
    /// For a request's body, again for the answer of the bus, and again for each time that a client lets an answer wait.
    pub request_timeout: Duration,
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Cause.
    pub source: io::Error,
}

/// A server that listens and does not answer yet.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    config: Arc<HttpConfig>,
    bus: Arc<dyn Bus>,
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn Admin>,
}

impl HttpServer {
    /// Listens; connections wait until [`HttpServer::run`].
    pub async fn bind(
        config: HttpConfig,
        bus: Arc<dyn Bus>,
        status: Arc<dyn StatusSource>,
        admin: Arc<dyn Admin>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            config: Arc::new(config),
            bus,
            status,
            admin,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown`, then finishes those that have begun: what takes longer than the request
    /// timeout, or than 5 s, is closed unanswered.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            listener,
            address,
            config,
            bus,
            status,
            admin,
        } = self;
        let access = Arc::new(Access::new(
            &config.names,
            &config.tokens,
            config.peer_secret.as_deref(),
        ));
        // A body that grows is there twice while it moves.
        let body_bytes = BODIES_BYTES_MAX.max(2 * config.body_bytes_max);
        let state = AppState {
            config: config.clone(),
            bus,
            status,
            admin,
            access,
            traffic: Arc::default(),
            body_bytes: Arc::new(Semaphore::new(body_bytes)),
            tails: Arc::new(Semaphore::new(tail::PARTITIONS_MAX)),
            shutdown: shutdown.clone(),
        };
        let connections = Connections {
            router: router(state),
            http: http(&config),
            tls: config.tls.clone().map(TlsAcceptor::from),
            peers: Peers::new(config.connections_per_address_max),
            head_timeout: config.head_timeout,
            write_timeout: config.request_timeout,
            shutdown: shutdown.clone(),
            abort: CancellationToken::new(),
        };
        let tracker = TaskTracker::new();
        accept(&listener, &connections, config.connections_max, &tracker).await;
        drop(listener);
        tracker.close();
        let drain = config.request_timeout.min(DRAIN_MAX);
        if timeout(drain, tracker.wait()).await.is_err() {
            warn!(
                connections = tracker.len(),
                "http drain took too long, closing what is open"
            );
            connections.abort.cancel();
            tracker.wait().await;
        }
        info!(%address, "http is closed");
    }
}

/// What handlers of requests share.
#[derive(Clone)]
struct AppState {
    config: Arc<HttpConfig>,
    bus: Arc<dyn Bus>,
    status: Arc<dyn StatusSource>,
    admin: Arc<dyn Admin>,
    access: Arc<Access>,
    traffic: Arc<Traffic>,
    /// What is left for bodies of requests.
    body_bytes: Arc<Semaphore>,
    /// Partitions that tails may read beside those that they do.
    tails: Arc<Semaphore>,
    /// Ends answers that have no end of their own.
    shutdown: CancellationToken,
}

impl FromRef<AppState> for Arc<dyn Bus> {
    fn from_ref(state: &AppState) -> Self {
        state.bus.clone()
    }
}

fn router(state: AppState) -> Router {
    let guarded = Router::new()
        .route(
            "/v1/topics/{topic}/events",
            post(ingress::publish).get(tail::events),
        )
        .route("/v1/topics", get(topics))
        .route("/v1/status", get(signals::status))
        .merge(admin::router())
        .method_not_allowed_fallback(wrong_method)
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            access::require_token,
        ));
    // Supervisors and load balancers hold no token; what these show without one is in `signals`.
    let open = Router::new()
        .route("/livez", get(signals::livez))
        .route("/readyz", get(signals::readyz))
        .route("/metrics", get(signals::metrics))
        .method_not_allowed_fallback(wrong_method);
    guarded
        .merge(open)
        .route(PEER_PATH, post(peer::answer))
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            access::require_host,
        ))
        .with_state(state)
}

async fn topics(State(bus): State<Arc<dyn Bus>>) -> Response {
    let topics: Vec<_> = bus
        .topics()
        .iter()
        .map(|topic| json!({ "name": *topic.name, "partitions": topic.partitions }))
        .collect();
    json_response(&json!({ "topics": topics }))
}

async fn wrong_method() -> Problem {
    Problem::method_not_allowed()
}

async fn unknown_path() -> Problem {
    Problem::unknown_path()
}

fn http(config: &HttpConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(true);
    http
}

/// What each connection needs.
#[derive(Clone)]
struct Connections {
    router: Router,
    http: http1::Builder,
    tls: Option<TlsAcceptor>,
    peers: Arc<Peers>,
    head_timeout: Duration,
    /// A client that takes nothing of an answer for this long is gone, or means to hold the connection.
    write_timeout: Duration,
    /// Finish the request that has begun, then close.
    shutdown: CancellationToken,
    /// Close at once.
    abort: CancellationToken,
}

async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    connections_max: usize,
    tracker: &TaskTracker,
) {
    let permits = Arc::new(Semaphore::new(connections_max));
    let next = async || -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, permit))
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = connections.shutdown.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => match connections.peers.admit(peer.ip()) {
                Some(place) => {
                    let connection = connections.clone();
                    let held: (OwnedSemaphorePermit, Place) = (permit, place);
                    tracker.spawn(async move {
                        connection.serve(stream, peer).await;
                        drop(held);
                    });
                }
                // An answer would need a request that was read.
                None => debug!(%peer, "its address has too many connections, closing this one"),
            },
            Err(error) => {
                warn!(%error, "accept failed, trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

impl Connections {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and written whole: waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "set nodelay failed");
        }
        let stream = Impatient::new(stream, self.write_timeout);
        let Some(tls) = &self.tls else {
            return self.serve_stream(stream, peer).await;
        };
        let handshake = timeout(self.head_timeout, tls.accept(stream));
        let accepted = tokio::select! {
            () = self.shutdown.cancelled() => return,
            accepted = handshake => accepted,
        };
        match accepted {
            Ok(Ok(stream)) => self.serve_stream(stream, peer).await,
            Ok(Err(error)) => debug!(%peer, %error, "tls handshake failed"),
            Err(_) => debug!(%peer, "tls handshake took too long"),
        }
    }

    async fn serve_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let service = TowerToHyperService::new(self.router.clone());
        let mut connection =
            std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut draining = false;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.abort.cancelled() => return,
            }
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection broke off");
        }
    }
}

#[cfg(test)]
mod tests;
