//! The admin API: what an operator does to a running host, under `/v1/admin/`.
//!
//! The guards of all routes hold here too. Beyond them: where tokens are configured, a handler is steered by a token of its
//! tenant or by one with `admin = true`, and the host as a whole by the latter alone; and whatever changes something
//! is sent as `application/json`, which a web page cannot send to another site without asking first.
//!
//! A new route is a line in [`router`] (those of a handler in [`handler`]), a method of [`Admin`], and a function whose argument is [`Operator`] or
//! [`Subject`]: the argument is the permission.

mod handler;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::AppState;
use super::access::Tenant;
use super::body::read_body;
use super::ingress::TENANT_DEFAULT;
use super::problem::{Problem, json_response};
use super::signals::View;
pub use handler::{Letters, Steer};

/// What an operator can have done.
pub trait Admin: Send + Sync + 'static {
    /// The tenants that have a handler of this name.
    fn tenants_of(&self, handler: &str) -> Vec<Arc<str>>;
    /// Copies the data directory to this absolute path; answers what was copied.
    fn back_up(&self, target: PathBuf) -> BoxFuture<'static, AdminResult>;
    /// Deletes everything that is kept of a handler that is not deployed; answers how much it was.
    fn purge(&self, handler: Subject) -> BoxFuture<'static, AdminResult>;
    /// Gives the host's partitions to others for good; answers how that went.
    fn drain(&self) -> BoxFuture<'static, AdminResult>;
    /// Lets a deployed handler wait or go on; answers what holds from then on.
    fn steer(&self, handler: Subject, steer: Steer) -> BoxFuture<'static, AdminResult>;
    /// Shows the letters and parked events of a deployed handler.
    fn letters(&self, handler: Subject, asked: Letters) -> BoxFuture<'static, AdminResult>;
    /// Does or tells what another host of the fleet asks, in the fleet's own words.
    fn peer(&self, request: Bytes) -> BoxFuture<'static, AdminResult>;
}

/// What is answered, as JSON.
pub type AdminResult = Result<Value, AdminError>;

/// Why it was not done, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be done as things stand; says what to do first.
    #[error("{0}")]
    Conflict(String),
    /// The host tried and failed.
    #[error("{0}")]
    Failed(String),
    /// Another host would have to, and does not; says which, and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster does not answer; says what it was asked.
    #[error("{0}")]
    Unanswered(String),
}

impl AdminError {
    /// The same with more words at its end.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        let (Self::Invalid(detail)
        | Self::Unknown(detail)
        | Self::Conflict(detail)
        | Self::Failed(detail)
        | Self::Unavailable(detail)
        | Self::Unanswered(detail)) = &mut self;
        detail.push_str(more);
        self
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Invalid(detail) => Self::malformed(detail),
            AdminError::Unknown(detail) => Self::unknown(detail),
            AdminError::Conflict(detail) => Self::conflict(detail),
            AdminError::Failed(detail) => Self::failed(detail),
            AdminError::Unavailable(detail) => Self::unavailable("owner", detail),
            AdminError::Unanswered(detail) => Self::unavailable("cluster", detail),
        }
    }
}

/// A handler that the caller may steer, deployed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who owns it.
    pub tenant: Arc<str>,
    /// Its name.
    pub handler: String,
}

/// The caller may steer the host as a whole.
pub(super) struct Operator;

#[derive(Deserialize)]
struct Backup {
    path: PathBuf,
}

/// Whose handler is meant; needed where several tenants have one of this name.
#[derive(Deserialize)]
struct Whose {
    tenant: Option<String>,
}

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/admin/backup", post(back_up))
        .route("/v1/admin/drain", post(drain))
        .route("/v1/admin/handlers/{handler}/purge", post(purge))
        .merge(handler::routes())
        .route_layer(middleware::from_fn(require_json))
}

async fn back_up(
    _: Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Backup { path } = read(&state, &headers, body).await?;
    Ok(json_response(&state.admin.back_up(path).await?))
}

async fn drain(_: Operator, State(state): State<AppState>) -> Result<Response, Problem> {
    Ok(json_response(&state.admin.drain().await?))
}

async fn purge(subject: Subject, State(state): State<AppState>) -> Result<Response, Problem> {
    Ok(json_response(&state.admin.purge(subject).await?))
}

/// The body of a request.
async fn read<T: DeserializeOwned>(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let (body, _memory) = read_body(state, headers, body).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::malformed(format!("the body is not what this path takes: {error}"))
    })
}

/// A form of another site can reach a host on this machine, but not with this content type.
async fn require_json(request: Request, next: Next) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    let essence = content_type
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .map(str::trim);
    let is_json = essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    if is_json || request.method() == Method::GET {
        next.run(request).await
    } else {
        Problem::media_type("send content-type: application/json").into_response()
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (_, is_administrator) = caller(parts, state).await?;
        if is_administrator {
            Ok(Self)
        } else {
            Err(Problem::forbidden(
                "this concerns the host as a whole: it needs a token with admin = true in [[http.tokens]]",
            ))
        }
    }
}

impl FromRequestParts<AppState> for Subject {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (own, is_administrator) = caller(parts, state).await?;
        let malformed = |text: String| Problem::malformed(text);
        let Path(Named { handler }) = Path::<Named>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| malformed(rejection.body_text()))?;
        let Query(Whose { tenant: asked }) = Query::<Whose>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| malformed(rejection.body_text()))?;
        let asked: Option<Arc<str>> = asked.map(Into::into);
        let tenant = match (asked, own) {
            (Some(asked), Some(own)) if asked != own && !is_administrator => {
                return Err(Problem::forbidden(
                    "the handler belongs to another tenant: use a token of that tenant, or one with admin = true",
                ));
            }
            (Some(asked), _) => asked,
            (None, Some(own)) if !is_administrator => own,
            (None, _) => only_tenant(&handler, state)?,
        };
        Ok(Self { tenant, handler })
    }
}

#[derive(Deserialize)]
struct Named {
    handler: String,
}

/// The owner of the only handler of this name; a name that nobody has deployed may be one of the default tenant.
fn only_tenant(handler: &str, state: &AppState) -> Result<Arc<str>, Problem> {
    match state.admin.tenants_of(handler).as_slice() {
        [] => Ok(TENANT_DEFAULT.into()),
        [one] => Ok(Arc::clone(one)),
        several => Err(Problem::malformed(format!(
            "the tenants {} have a handler {handler:?}: say whose by ?tenant=NAME (--tenant)",
            several.join(" and ")
        ))),
    }
}

/// Whose token it is, none without tokens; and whether the caller may steer everything.
async fn caller(parts: &mut Parts, state: &AppState) -> Result<(Option<Arc<str>>, bool), Problem> {
    let unguarded = |_| Problem::failed("the route has no guard, a fault of this program");
    let Extension(Tenant(tenant)) = Extension::from_request_parts(parts, state)
        .await
        .map_err(unguarded)?;
    let Extension(view) = Extension::<View>::from_request_parts(parts, state)
        .await
        .map_err(unguarded)?;
    // Who may see the whole host may steer it.
    Ok((tenant, view.is_whole()))
}
