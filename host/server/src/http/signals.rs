//! What supervisors, load balancers and Prometheus ask: `/livez`, `/readyz`, `/metrics`, and `/v1/status` for people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::AppState;
use super::problem::{Problem, json_response};
use crate::metrics::{self, Kind, Page};

/// Whose handlers are shown: those of one tenant, or everything of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View(Option<Arc<str>>);

impl View {
    /// Everything.
    #[must_use]
    pub fn whole() -> Self {
        Self(None)
    }

    /// What belongs to this tenant.
    #[must_use]
    pub fn of(tenant: Arc<str>) -> Self {
        Self(Some(tenant))
    }

    /// Whether it shows the whole host.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it shows what belongs to `tenant`.
    #[must_use]
    pub fn sees(&self, tenant: &str) -> bool {
        self.0.as_deref().is_none_or(|own| own == tenant)
    }
}

/// What the host knows of itself.
pub trait StatusSource: Send + Sync + 'static {
    /// What `GET /v1/status` answers.
    fn status(&self, view: &View) -> Value;

    /// Whether the process works.
    ///
    /// # Errors
    /// It does not, for this reason, and whoever supervises it should start it anew.
    fn live(&self) -> Result<(), String>;

    /// Whether events are taken and handled.
    fn readiness(&self) -> Readiness;

    /// Writes the figures of the host.
    fn metrics(&self, view: &View, page: &mut Page);
}

/// Whether events are taken and handled.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Why the host takes no events at all.
    pub host: Result<(), String>,
    /// Each subscription by itself.
    pub subscriptions: Vec<SubscriptionReadiness>,
}

impl Readiness {
    /// The whole: what `/readyz` and `/v1/status` say in one word.
    pub fn is_ready(&self) -> bool {
        self.host.is_ok() && self.waiting() == 0
    }

    /// How many subscriptions are not ready.
    fn waiting(&self) -> usize {
        self.subscriptions.iter().filter(|one| !one.ready).count()
    }
}

/// Whether a subscription handles its events.
#[derive(Clone, Debug)]
pub struct SubscriptionReadiness {
    /// Owner of the handler.
    pub tenant: Arc<str>,
    /// Name of the handler.
    pub handler: Arc<str>,
    /// Whether it does.
    pub ready: bool,
    /// In a word.
    pub state: &'static str,
    /// Why it does not.
    pub reason: Option<String>,
}

/// What the interface counts.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    accepted: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Traffic {
    pub(super) fn accept(&self, events: usize) {
        self.accepted.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts a request by the code of its problem; codes are few, because this program makes them.
    pub(super) fn refuse(&self, code: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(code).or_default() += 1;
    }

    fn write(&self, page: &mut Page) {
        let help = "Events that were taken in over HTTP.";
        page.family("weir_ingress_accepted_events_total", Kind::Counter, help)
            .sample(&[], self.accepted.load(Ordering::Relaxed));
        let help = "Requests that were refused, of any kind, by reason.";
        let mut family = page.family("weir_http_refused_requests_total", Kind::Counter, help);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in &*refused {
            family.sample(&[("reason", reason)], count);
        }
    }
}

pub(super) async fn status(
    State(state): State<AppState>,
    Extension(view): Extension<View>,
) -> Response {
    json_response(&state.status.status(&view))
}

pub(super) async fn livez(State(state): State<AppState>) -> Response {
    match state.status.live() {
        Ok(()) => "live\n".into_response(),
        Err(reason) => Problem::unavailable("not-live", reason).into_response(),
    }
}

/// Load balancers hold no token: they see whether, and whoever may see handlers sees which and why.
pub(super) async fn readyz(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let view = state.access.view(&headers).ok();
    let readiness = state.status.readiness();
    let ready = readiness.is_ready();
    let seen = |view: &View| -> Vec<Value> {
        let all = readiness.subscriptions.iter();
        let seen = all.filter(|one| view.sees(&one.tenant));
        seen.map(|one| {
            json!({
                "handler": &*one.handler,
                "tenant": &*one.tenant,
                "ready": one.ready,
                "state": one.state,
                "reason": one.reason,
            })
        })
        .collect()
    };
    let answer = json!({
        "ready": ready,
        "reason": readiness.host.as_ref().err(),
        "not_ready": readiness.waiting(),
        "subscriptions": view.as_ref().map(seen),
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, json_response(&answer)).into_response()
}

/// Names of handlers and topics are nobody's business who has no token, unless the operator opens them.
pub(super) async fn metrics(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = if state.config.open_metrics {
        View::whole()
    } else {
        state.access.view(&headers)?
    };
    let mut page = Page::default();
    state.status.metrics(&view, &mut page);
    if view.is_whole() {
        state.traffic.write(&mut page);
    }
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page.finish()).into_response())
}
