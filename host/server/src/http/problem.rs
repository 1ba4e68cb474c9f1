//! Refusals as `application/problem+json` (RFC 9457).

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::bus::Unanswered;

/// Seconds until a full queue is worth another try: a commit takes far less.
const RETRY_BUSY_S: u16 = 1;
/// Seconds until a stopped intake is worth another try: somebody has to make room first.
const RETRY_STOPPED_S: u16 = 10;

/// Why a request was refused.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type", serialize_with = "urn")]
    code: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<EventFault>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearest: Vec<String>,
    #[serde(skip)]
    retry_after_s: Option<u16>,
    #[serde(skip)]
    close: bool,
}

/// Left with the answer, so that refusals are counted in one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(pub(super) &'static str);

/// What is wrong with one event of a request.
#[derive(Debug, Serialize)]
pub(super) struct EventFault {
    pub(super) index: usize,
    pub(super) detail: String,
}

fn urn<S: serde::Serializer>(code: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:weir:problem:{code}"))
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            code,
            title,
            status,
            detail: detail.into(),
            errors: Vec::new(),
            nearest: Vec::new(),
            retry_after_s: None,
            close: false,
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "the request is malformed",
            detail,
        )
    }

    pub(super) fn invalid_events(detail: impl Into<String>, errors: Vec<EventFault>) -> Self {
        let title = "nothing was taken: an event is invalid";
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, "invalid-event", title, detail)
        }
    }

    pub(super) fn too_large(detail: impl Into<String>, errors: Vec<EventFault>) -> Self {
        let title = "nothing was taken: too large";
        // What is left of the body is not read, so the connection cannot serve another request.
        Self {
            errors,
            close: true,
            ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, detail)
        }
    }

    pub(super) fn slow_body(seconds: u64) -> Self {
        let detail = format!("the body was not complete after {seconds} s");
        let title = "the request took too long";
        Self {
            close: true,
            ..Self::new(StatusCode::REQUEST_TIMEOUT, "slow-body", title, detail)
        }
    }

    pub(super) fn media_type(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "this form of event is not understood",
            detail,
        )
    }

    pub(super) fn unknown_topic(name: &str, nearest: Vec<String>) -> Self {
        let detail = match nearest.as_slice() {
            [] => format!("there is no topic {name:?}: GET /v1/topics lists all"),
            nearest => format!(
                "there is no topic {name:?}: did you mean {}?",
                nearest.join(" or ")
            ),
        };
        Self {
            nearest,
            ..Self::new(
                StatusCode::NOT_FOUND,
                "unknown-topic",
                "unknown topic",
                detail,
            )
        }
    }

    pub(super) fn unknown(detail: impl Into<String>) -> Self {
        let title = "there is no such thing";
        Self::new(StatusCode::NOT_FOUND, "unknown", title, detail)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        let title = "this cannot be done as things stand";
        Self::new(StatusCode::CONFLICT, "conflict", title, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        let title = "the token does not allow this";
        Self::new(StatusCode::FORBIDDEN, "forbidden", title, detail)
    }

    pub(super) fn failed(detail: impl Into<String>) -> Self {
        let title = "the host tried and failed";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", title, detail)
    }

    pub(super) fn unknown_path() -> Self {
        let detail = "there are /v1/topics, /v1/topics/{topic}/events, /v1/status, /v1/admin/.., /metrics, /livez and /readyz";
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-path",
            "unknown path",
            detail,
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "the Allow header names the methods of this path";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "the path does not have this method",
            detail,
        )
    }

    pub(super) fn misdirected(host: &str) -> Self {
        let detail = format!("{host:?} is not one of this host's configured names (http.names)");
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host-name",
            "the request is meant for another host",
            detail,
        )
    }

    pub(super) fn unauthorized(detail: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token",
            "a token is needed",
            detail,
        )
    }

    pub(super) fn internal_topic(name: &str) -> Self {
        let detail = format!(
            "{name:?} is internal to Weir or Kafka: secrets of hosts and what is of other tenants stand there. Who \
             operates the cluster reads it with Kafka's tools"
        );
        Self::new(
            StatusCode::FORBIDDEN,
            "own-topic",
            "nothing is shown: the topic is the host's own",
            detail,
        )
    }

    pub(super) fn own_topic(name: &str) -> Self {
        let detail =
            format!("{name:?} holds what hosts themselves wrote: publish to a topic of events");
        Self::new(
            StatusCode::FORBIDDEN,
            "own-topic",
            "nothing was taken: the topic is the host's own",
            detail,
        )
    }

    pub(super) fn foreign_tenant(errors: Vec<EventFault>) -> Self {
        let detail = "an event names a tenant that is not the token's";
        Self {
            errors,
            ..Self::new(
                StatusCode::FORBIDDEN,
                "tenant",
                "nothing was taken: foreign tenant",
                detail,
            )
        }
    }

    pub(super) fn busy(detail: impl Into<String>) -> Self {
        let title = "too much is waiting";
        Self {
            retry_after_s: Some(RETRY_BUSY_S),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", title, detail)
        }
    }

    /// As `busy`, for a request of which not all was read.
    pub(super) fn crowded(detail: impl Into<String>) -> Self {
        Self {
            close: true,
            ..Self::busy(detail)
        }
    }

    pub(super) fn unavailable(code: &'static str, detail: String) -> Self {
        let title = "the host cannot do this at present";
        Self {
            retry_after_s: Some(RETRY_STOPPED_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
        }
    }
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        Self::unavailable("cluster", unanswered.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json_response(&self);
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Refused(self.code));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A successful answer in JSON.
pub(super) fn json_response(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("text, numbers and lists of them serialise");
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}
