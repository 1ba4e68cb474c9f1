//! The commands' side of a host's HTTP interface: one blocking client and its errors, in words for people.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::names::printable;
use crate::tls::{self, TlsError};

/// A request that is answered at once takes no longer; the host's own limit is 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Copying a data directory to another disk takes as long as the disk does.
const WORK_TIMEOUT: Duration = Duration::from_hours(24);
/// A host on the network that does not answer in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a command is told whom it may trust.
const REMEDY: &str = "name the one that vouches for the host with --ca FILE";

/// Speaks to one host.
pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

/// Why a host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is not an address of a host: write --url http://HOST:PORT, or https://")]
    Url {
        /// What was written.
        url: String,
    },
    /// There is nobody to vouch for a host.
    #[error("{0}: {REMEDY}")]
    Tls(#[from] TlsError),
    /// Nobody vouches for this host.
    #[error("the certificate of the host at {url} is not trusted ({reason}): {REMEDY}")]
    Untrusted {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token cannot be sent.
    #[error("the token file must hold one token of visible ASCII characters")]
    Token,
    /// Nothing listens there.
    #[error("no host answers at {url}: start one with `weir run`, or name another with --url")]
    NoHost {
        /// Where.
        url: String,
    },
    /// The connection broke, or the answer took too long.
    #[error("speak to the host at {url}: {source}")]
    Connection {
        /// Where.
        url: String,
        /// Cause.
        source: Box<ureq::Error>,
    },
    /// The host refused.
    #[error("the host at {url} refused: {refusal}")]
    Refused {
        /// Where.
        url: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// The host's answer is not what this program knows.
    #[error(
        "the host at {url} answered what this program does not understand ({reason}): is it a Weir host of the same version?"
    )]
    Answer {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An answer that is not a success: the fields of `application/problem+json` that are used.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, in general.
    pub title: String,
    /// What is wrong with this request.
    pub detail: String,
    /// What is wrong with which events of a batch.
    pub errors: Vec<EventError>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// What is wrong with one event of a batch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct EventError {
    /// Index in the batch, from 0.
    pub index: usize,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = if self.detail.is_empty() {
            &self.title
        } else {
            &self.detail
        };
        write!(f, "{} ({})", printable(text), self.status)?;
        match self.status {
            401 | 403 => {
                f.write_str(": name the file of a token that may do this with --token-file")
            }
            421 => f.write_str(
                ": add the name in --url to http.names of the host's config, or use another",
            ),
            _ => Ok(()),
        }
    }
}

impl ClientError {
    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::NoHost { .. } | Self::Connection { .. } => true,
            Self::Refused { refusal, .. } => matches!(refusal.status, 429 | 503),
            Self::Url { .. }
            | Self::Tls(_)
            | Self::Untrusted { .. }
            | Self::Token
            | Self::Answer { .. } => false,
        }
    }

    /// When the host asked to be tried again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal, .. } => refusal.retry_after,
            Self::Url { .. }
            | Self::Tls(_)
            | Self::Untrusted { .. }
            | Self::Token
            | Self::NoHost { .. }
            | Self::Connection { .. }
            | Self::Answer { .. } => None,
        }
    }
}

impl Client {
    /// `ca`: who vouches for a host at https; none: whom this machine trusts.
    pub(super) fn new(
        url: &str,
        token: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/').to_owned();
        let is_tls = url.starts_with("https://");
        let scheme = if is_tls { "https://" } else { "http://" };
        let authority = url.strip_prefix(scheme).unwrap_or_default();
        if authority.is_empty() || authority.contains(['/', '?', '#', ' ']) {
            return Err(ClientError::Url { url });
        }
        if token
            .is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(ClientError::Token);
        }
        let tls = is_tls.then(|| tls::config(ca)).transpose()?;
        Ok(Self {
            agent: tls::agent(tls.unwrap_or_default(), CONNECT_TIMEOUT),
            url,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// The address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A whole answer.
    pub(super) fn get(&self, path: &str) -> Result<String, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = request
            .config()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        let mut answer = self.answer(self.authorized(request).call())?;
        answer
            .body_mut()
            .read_to_string()
            .map_err(|error| self.failed(error))
    }

    /// An answer that is read as it comes, without an end in time.
    pub(super) fn stream(&self, path: &str) -> Result<Body, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.url));
        Ok(self.answer(self.authorized(request).call())?.into_body())
    }

    /// Sends a body; the answer is read to its end, so that the connection is used again.
    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .content_type(content_type);
        let request = request
            .config()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        let mut answer = self.answer(self.authorized(request).send(body))?;
        answer
            .body_mut()
            .read_to_vec()
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Has the host do something, which may take long; the answer is JSON.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, ClientError> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .content_type("application/json");
        let request = request.config().timeout_global(Some(WORK_TIMEOUT)).build();
        let mut answer = self.answer(self.authorized(request).send(body.to_string()))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| self.failed(error))?;
        serde_json::from_str(&text).map_err(|error| ClientError::Answer {
            url: self.url.clone(),
            reason: error.to_string(),
        })
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    fn answer(
        &self,
        result: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ClientError> {
        let mut answer = result.map_err(|error| self.failed(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = answer.body_mut().read_to_vec().unwrap_or_default();
        let mut refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        refusal.status = answer.status().as_u16();
        refusal.retry_after = retry_after.map(Duration::from_secs);
        if refusal.title.is_empty() {
            refusal.title = answer
                .status()
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned();
        }
        Err(ClientError::Refused {
            url: self.url.clone(),
            refusal,
        })
    }

    fn failed(&self, error: ureq::Error) -> ClientError {
        let url = self.url.clone();
        let refused = |cause: &io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
        if matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_)) {
            return ClientError::Url { url };
        }
        if matches!(
            error,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed
        ) || matches!(&error, ureq::Error::Io(cause) if refused(cause) || is_no_name(cause))
        {
            return ClientError::NoHost { url };
        }
        if let Some(reason) = tls::distrust(&error) {
            return ClientError::Untrusted { url, reason };
        }
        ClientError::Connection {
            url,
            source: Box::new(error),
        }
    }
}

/// Whether nobody knows the host's name. The kind of such an error has no name of its own.
fn is_no_name(error: &io::Error) -> bool {
    error.to_string().contains("failed to lookup address")
}

/// One segment of a path, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
