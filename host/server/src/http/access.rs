//! Who may ask: the names under which this host is reached, and the tokens of tenants.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::problem::Problem;

/// The tenant of a request's token; none when the host has no tokens.
#[derive(Clone, Debug)]
pub(super) struct Tenant(pub(super) Option<Arc<str>>);

/// Names and tokens, ready to compare.
pub(super) struct Access {
    /// Lower case, IPv6 addresses without brackets.
    names: Vec<String>,
    /// Hashes, because comparing them takes the same time wherever they differ and whatever the token's length.
    tokens: Vec<(blake3::Hash, Arc<str>)>,
}

impl Access {
    pub(super) fn new(names: &[String], tokens: &[(String, Arc<str>)]) -> Self {
        Self {
            names: names
                .iter()
                .map(|name| bare(name).to_ascii_lowercase())
                .collect(),
            tokens: tokens
                .iter()
                .map(|(token, tenant)| (blake3::hash(token.as_bytes()), tenant.clone()))
                .collect(),
        }
    }

    fn tenant(&self, headers: &HeaderMap) -> Result<Tenant, Problem> {
        if self.tokens.is_empty() {
            return Ok(Tenant(None));
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = given.and_then(|value| value.split_once(' ')) else {
            return Err(Problem::unauthorized("send `Authorization: Bearer TOKEN`"));
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthorized("send `Authorization: Bearer TOKEN`"));
        }
        let given = blake3::hash(token.trim().as_bytes());
        // All are compared, so that the time does not tell which one came close.
        let found =
            self.tokens.iter().fold(
                None,
                |found, (hash, tenant)| if *hash == given { Some(tenant) } else { found },
            );
        match found {
            Some(tenant) => Ok(Tenant(Some(tenant.clone()))),
            None => Err(Problem::unauthorized("the token is not known")),
        }
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

/// An IPv6 address without its brackets; other names as they are.
fn bare(name: &str) -> &str {
    name.strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name)
}

/// Refuses requests that name another host, before anything else is looked at.
pub(super) async fn require_host(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match state.access.check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Refuses requests without a known token where tokens are configured; leaves the tenant with the request.
pub(super) async fn require_token(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    match state.access.tenant(request.headers()) {
        Ok(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
