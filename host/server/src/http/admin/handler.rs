//! What an operator does to one handler: its pause, its breaker, its dead letters.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Subject, read};
use crate::http::AppState;
use crate::http::problem::{Problem, json_response};
use crate::letters::{Selection, Status};
use crate::steering::BreakerCommand;

/// Letters of a list that asks for no number of them.
const LETTERS: usize = 100;
/// What a list may ask for.
const LETTERS_MAX: usize = 10_000;

/// Lets a handler wait or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Its events wait.
    Pause,
    /// They go on.
    Resume,
    /// Who decides whether its breaker is open.
    Breaker(BreakerCommand),
}

/// What is asked of a handler's letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Those that fit, at most so many.
    List(Selection, usize),
    /// Everything of one.
    Show(String),
    /// Parked sequences, at most so many.
    Parked(usize),
}

/// Which letters a list shows.
#[derive(Deserialize)]
struct ListQuery {
    code: Option<String>,
    class: Option<String>,
    sequence: Option<String>,
    within_s: Option<u64>,
    status: Option<Status>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct LetterPath {
    letter: String,
}

#[derive(Deserialize)]
struct Breaker {
    command: BreakerCommand,
}

pub(super) fn routes() -> Router<AppState> {
    const HANDLER: &str = "/v1/admin/handlers/{handler}";
    let path = |rest: &str| format!("{HANDLER}/{rest}");
    Router::new()
        .route(&path("pause"), post(pause))
        .route(&path("resume"), post(resume))
        .route(&path("breaker"), post(breaker))
        .route(&path("letters"), get(list))
        .route(&path("letters/{letter}"), get(show))
        .route(&path("parked"), get(parked))
}

async fn pause(subject: Subject, State(state): State<AppState>) -> Result<Response, Problem> {
    Ok(json_response(
        &state.admin.steer(subject, Steer::Pause).await?,
    ))
}

async fn resume(subject: Subject, State(state): State<AppState>) -> Result<Response, Problem> {
    Ok(json_response(
        &state.admin.steer(subject, Steer::Resume).await?,
    ))
}

async fn breaker(
    subject: Subject,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Breaker { command } = read(&state.config, &headers, body).await?;
    let steer = Steer::Breaker(command);
    Ok(json_response(&state.admin.steer(subject, steer).await?))
}

async fn list(
    subject: Subject,
    State(state): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let limit = limit(query.limit)?;
    let selection = Selection {
        code: query.code,
        class: query.class,
        sequence: query.sequence,
        within_s: query.within_s,
        status: query.status,
        ..Selection::default()
    };
    answer(&state, subject, Letters::List(selection, limit)).await
}

async fn show(
    subject: Subject,
    State(state): State<AppState>,
    Path(LetterPath { letter }): Path<LetterPath>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Show(letter)).await
}

async fn parked(
    subject: Subject,
    State(state): State<AppState>,
    Query(Limit { limit: asked }): Query<Limit>,
) -> Result<Response, Problem> {
    let limit = limit(asked)?;
    answer(&state, subject, Letters::Parked(limit)).await
}

async fn answer(state: &AppState, subject: Subject, asked: Letters) -> Result<Response, Problem> {
    Ok(json_response(&state.admin.letters(subject, asked).await?))
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LETTERS) {
        limit @ 1..=LETTERS_MAX => Ok(limit),
        other => Err(Problem::malformed(format!(
            "limit={other}: write 1 to {LETTERS_MAX}"
        ))),
    }
}
