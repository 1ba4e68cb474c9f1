//! What an operator does to one handler: its pause, its breaker, its dead letters.

use std::num::NonZeroU32;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Subject, read};
use crate::http::AppState;
use crate::http::problem::{Problem, json_response};
use crate::jobs::JobCommand;
use crate::letters::{Selection, Status};
use crate::steering::BreakerCommand;

/// Letters of a list that asks for no number of them.
const LETTERS: usize = 100;
/// What a list may ask for.
const LETTERS_MAX: usize = 10_000;

/// Each letter is a commit of its own: more a second would wait for the disk.
const RATE_MAX: NonZeroU32 = NonZeroU32::new(1_000).expect("a thousand is not zero");

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
    /// Give letters up.
    Drop(Selection),
    /// Let the sequences go on that letters hold.
    Release(Selection),
    /// Replay letters, so many a second.
    Replay(Selection, NonZeroU32),
    /// Tell what their replay would do.
    DryRun(Selection),
    /// All replay jobs.
    Jobs,
    /// One of them, after it has obeyed.
    Job(u64, Option<JobCommand>),
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

/// Which letters are meant.
#[derive(Deserialize)]
struct Which {
    selection: Selection,
}

#[derive(Deserialize)]
struct Replay {
    selection: Selection,
    /// Letters a second.
    rate: Option<NonZeroU32>,
}

#[derive(Deserialize)]
struct JobPath {
    job: u64,
}

#[derive(Deserialize)]
struct OfJob {
    command: JobCommand,
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
        .route(&path("letters/drop"), post(drop_letters))
        .route(&path("letters/release"), post(release))
        .route(&path("dry-run"), post(dry_run))
        .route(&path("jobs"), get(jobs).post(replay))
        .route(&path("jobs/{job}"), get(job).post(command_job))
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
    let Breaker { command } = body_of(&state, &headers, body).await?;
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

async fn drop_letters(
    subject: Subject,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Which { selection } = body_of(&state, &headers, body).await?;
    answer(&state, subject, Letters::Drop(selection)).await
}

async fn release(
    subject: Subject,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Which { selection } = body_of(&state, &headers, body).await?;
    answer(&state, subject, Letters::Release(selection)).await
}

async fn dry_run(
    subject: Subject,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Which { selection } = body_of(&state, &headers, body).await?;
    answer(&state, subject, Letters::DryRun(selection)).await
}

async fn replay(
    subject: Subject,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Replay { selection, rate } = body_of(&state, &headers, body).await?;
    let rate = rate.unwrap_or(weir_core::replay::RATE);
    if rate > RATE_MAX {
        return Err(Problem::malformed(format!(
            "rate {rate}: at most {RATE_MAX} letters a second"
        )));
    }
    answer(&state, subject, Letters::Replay(selection, rate)).await
}

async fn jobs(subject: Subject, State(state): State<AppState>) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Jobs).await
}

async fn job(
    subject: Subject,
    State(state): State<AppState>,
    Path(JobPath { job }): Path<JobPath>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Job(job, None)).await
}

async fn command_job(
    subject: Subject,
    State(state): State<AppState>,
    Path(JobPath { job }): Path<JobPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let OfJob { command } = body_of(&state, &headers, body).await?;
    answer(&state, subject, Letters::Job(job, Some(command))).await
}

async fn body_of<T: DeserializeOwned>(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    read(state, headers, body).await
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
