//! Requests to other hosts of the fleet, over their HTTP interfaces.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::{Member, Request};
use crate::tls::{self, TlsError};

/// Where hosts answer one another.
pub(crate) const PATH: &str = "/v1/peer";
/// A host of the fleet that does not answer in this time is not there.
const CONNECT: Duration = Duration::from_secs(2);
/// And one that answers this takes no longer: there is nothing to do for it.
const ALIVE: Duration = Duration::from_secs(3);
/// Each takes a thread while it waits, and the host has a few for all that waits.
const LOOKUPS: usize = 6;
/// What waits for lookups has turns of its own: two hosts that have each other do something could else wait for each
/// other for ever.
const WISHES: usize = 3;
/// The longest answer: ten thousand parked sequences with long keys are less.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where a host is told whom it may trust to be another one.
const REMEDY: &str = "name who vouches for the hosts of the fleet by http.peer_ca in the configuration of the host that asks";

/// Asks other hosts.
pub struct Peers {
    agent: Agent,
    /// Why no host at https can be asked.
    distrust: Option<Arc<TlsError>>,
    lookups: Arc<Semaphore>,
    wishes: Arc<Semaphore>,
}

/// Why another host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// This host knows of no other.
    #[error("this host knows of no other")]
    Unknown,
    /// There is no way to it.
    #[error(
        "it does not say where other hosts reach it: write http.advertise in its configuration"
    )]
    NoUrl,
    /// The connection failed, or took too long.
    #[error("ask it at {url}")]
    Connection {
        /// Where.
        url: String,
        /// Cause.
        source: Box<ureq::Error>,
    },
    /// This host does not know whom to trust.
    #[error("{0}: {REMEDY}")]
    NoTrust(Arc<TlsError>),
    /// Nobody whom this host trusts vouches for it.
    #[error("the host that asks does not trust its certificate at {url} ({reason}): {REMEDY}")]
    Untrusted {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It refused.
    #[error("{detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// In its words.
        detail: String,
    },
    /// It answered something else.
    #[error("it answers what this host does not understand: {0}")]
    Answer(String),
    /// The host stops.
    #[error("the host stops")]
    Stopping,
}

impl PeerError {
    /// Whether it was not asked, or has not answered: it may be well, and have nothing to say.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Unknown
            | Self::NoUrl
            | Self::Connection { .. }
            | Self::NoTrust(_)
            | Self::Untrusted { .. }
            | Self::Refused { status: 503, .. }
            | Self::Stopping => true,
            Self::Refused { .. } | Self::Answer(_) => false,
        }
    }
}

impl Peers {
    /// `ca`: who vouches for hosts at https; none: whom this machine trusts.
    ///
    /// # Errors
    /// The file does not say who.
    pub fn new(ca: Option<&Path>) -> Result<Self, TlsError> {
        let (tls, distrust) = match tls::config(ca) {
            // Without TLS nobody has to vouch.
            Err(error @ TlsError::System) => (TlsConfig::default(), Some(Arc::new(error))),
            configured => (configured?, None),
        };
        Ok(Self {
            agent: tls::agent(tls, CONNECT),
            distrust,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            wishes: Arc::new(Semaphore::new(WISHES)),
        })
    }

    /// Whether it answers, as the host that said this and no later one at its address. Blocks.
    pub(crate) fn answers(&self, member: &Member) -> bool {
        let request = Request::Lookups {
            group: String::new(),
            asked: Vec::new(),
        };
        let call = self.call(member, &request, ALIVE);
        call.and_then(Call::send).is_ok()
    }

    /// Sends a request; the answer has to come within `time`.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        member: &Member,
        request: &Request,
        time: Duration,
    ) -> Result<T, PeerError> {
        let call = self.call(member, request, time)?;
        let turns = match request {
            Request::Lookups { .. } => &self.lookups,
            Request::Wish { .. } => &self.wishes,
        };
        let turn = Arc::clone(turns).acquire_owned().await;
        // Who asked may be gone before there is an answer: the thread waits all the same, and it is its turn.
        let send = move || {
            let sent = call.send();
            drop(turn);
            sent
        };
        let answer = tokio::task::spawn_blocking(send).await;
        let text = answer.unwrap_or(Err(PeerError::Stopping))?;
        serde_json::from_slice(&text).map_err(|error| PeerError::Answer(error.to_string()))
    }

    fn call(&self, member: &Member, request: &Request, time: Duration) -> Result<Call, PeerError> {
        let url = member.record.url.as_ref().ok_or(PeerError::NoUrl)?;
        if let Some(why) = self.distrust.as_ref().filter(|_| url.starts_with("https:")) {
            return Err(PeerError::NoTrust(Arc::clone(why)));
        }
        Ok(Call {
            agent: self.agent.clone(),
            url: format!("{}{PATH}", url.trim_end_matches('/')),
            authorization: format!("Bearer {}", member.record.secret),
            body: serde_json::to_vec(request)
                .map_err(|error| PeerError::Answer(error.to_string()))?,
            time,
        })
    }
}

/// One request on its way.
struct Call {
    agent: Agent,
    url: String,
    authorization: String,
    body: Vec<u8>,
    time: Duration,
}

impl Call {
    fn send(self) -> Result<Vec<u8>, PeerError> {
        let failed = |error: ureq::Error| {
            let url = self.url.clone();
            match tls::distrust(&error) {
                Some(reason) => PeerError::Untrusted { url, reason },
                None => PeerError::Connection {
                    url,
                    source: Box::new(error),
                },
            }
        };
        let request = self
            .agent
            .post(&self.url)
            .header("authorization", &self.authorization)
            .content_type("application/json");
        let request = request.config().timeout_global(Some(self.time)).build();
        let mut answer = request.send(&self.body[..]).map_err(failed)?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(failed)?;
        if answer.status().is_success() {
            return Ok(body);
        }
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it does not say why");
        Err(PeerError::Refused {
            status: answer.status().as_u16(),
            detail: detail.to_owned(),
        })
    }
}
