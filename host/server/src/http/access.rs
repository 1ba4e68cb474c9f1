//! Who may ask: the names under which this host is reached, and the tokens of tenants.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::problem::{Problem, Refused};
use super::signals::View;

/// A bearer token and what it is good for.
#[derive(Clone)]
pub struct Token {
    /// What the caller sends.
    pub secret: String,
    /// Whose events it brings and reads.
    pub tenant: Arc<str>,
    /// Whether it shows the whole host.
    pub admin: bool,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.tenant)
    }
}

/// The tenant of a request's token; none when the host has no tokens.
#[derive(Clone, Debug)]
pub(super) struct Tenant(pub(super) Option<Arc<str>>);

/// Names and tokens, ready to compare.
pub(super) struct Access {
    /// Lower case, IPv6 addresses without brackets.
    names: Vec<String>,
    /// Hashes, because comparing them takes the same time wherever they differ and whatever the token's length.
    tokens: Vec<(blake3::Hash, Token)>,
    /// The same of what other hosts send.
    peer: Option<blake3::Hash>,
}

impl Access {
    pub(super) fn new(names: &[String], tokens: &[Token], peer: Option<&str>) -> Self {
        Self {
            names: names
                .iter()
                .map(|name| bare(name).to_ascii_lowercase())
                .collect(),
            tokens: tokens
                .iter()
                .map(|token| (blake3::hash(token.secret.as_bytes()), token.clone()))
                .collect(),
            peer: peer.map(|secret| blake3::hash(secret.as_bytes())),
        }
    }

    /// The token of a request; none when the host has no tokens.
    fn token(&self, headers: &HeaderMap) -> Result<Option<&Token>, Problem> {
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let given = bearer(headers)?;
        // All are compared, so that the time does not tell which one came close.
        let found = self.tokens.iter().fold(
            None,
            |found, (hash, token)| if *hash == given { Some(token) } else { found },
        );
        match found {
            Some(token) => Ok(Some(token)),
            None => Err(Problem::unauthorized("the token is not known")),
        }
    }

    /// Whether another host of the fleet asks.
    pub(super) fn check_peer(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(secret) = &self.peer else {
            return Err(Problem::unknown_path());
        };
        if *secret == bearer(headers)? {
            Ok(())
        } else {
            Err(Problem::unauthorized("this is for hosts of the fleet"))
        }
    }

    /// What a request may see.
    pub(super) fn view(&self, headers: &HeaderMap) -> Result<View, Problem> {
        Ok(view_of(self.token(headers)?))
    }

    fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Problem::malformed("send exactly one Host header"));
        };
        let host = host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<Authority>().ok());
        let host = host.ok_or_else(|| Problem::malformed("the Host header is not a host name"))?;
        // A request line may name a host too (as sent to proxies); then both count.
        for authority in request.uri().authority().into_iter().chain([&host]) {
            let name = bare(authority.host());
            if !self
                .names
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
            {
                return Err(Problem::misdirected(name));
            }
        }
        Ok(())
    }
}

/// The hash of what a request has sent to show whose it is.
fn bearer(headers: &HeaderMap) -> Result<blake3::Hash, Problem> {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(blake3::hash(token.trim().as_bytes()))
        }
        Some(_) | None => Err(Problem::unauthorized("send `Authorization: Bearer TOKEN`")),
    }
}

/// A tenant sees its own; an admin, and everybody where there are no tokens, sees everything.
fn view_of(token: Option<&Token>) -> View {
    match token {
        Some(token) if !token.admin => View::of(token.tenant.clone()),
        Some(_) | None => View::whole(),
    }
}

/// An IPv6 address without its brackets; other names as they are.
fn bare(name: &str) -> &str {
    name.strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name)
}

/// Refuses requests that name another host, before anything else is looked at, and counts all refusals.
pub(super) async fn require_host(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let response = match state.access.check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(Refused(code)) = response.extensions().get() {
        state.traffic.refuse(code);
    }
    response
}

/// Refuses requests without a known token where tokens are configured; leaves with the request whose it is and
/// what it may see.
pub(super) async fn require_token(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    match state.access.token(request.headers()) {
        Ok(token) => {
            let (tenant, view) = (Tenant(token.map(|one| one.tenant.clone())), view_of(token));
            request.extensions_mut().insert(tenant);
            request.extensions_mut().insert(view);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
