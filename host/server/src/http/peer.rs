//! What hosts of a fleet ask one another: `POST /v1/peer`.
//!
//! They show the secret of the host that they ask, which it tells them on a topic that only hosts may read. No token of an
//! operator is taken for it, and it is taken for none.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::AppState;
use super::body::read_body;
use super::problem::{Problem, json_response};

pub(super) async fn answer(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    state.access.check_peer(&headers)?;
    let (body, _memory) = read_body(&state, &headers, body).await?;
    Ok(json_response(&state.admin.peer(body).await?))
}
