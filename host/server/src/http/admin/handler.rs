//! What an operator does to one handler: its pause, its breaker, its dead letters.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts as _, Path, Query, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Subject, read};
use crate::http::AppState;
use crate::http::problem::{Problem, json_response};
use crate::jobs::JobCommand;
use crate::letters::{Cursor, CursorError, Selection, Status};
use crate::steering::{BreakerCommand, Choice};

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
    /// They go on, and what had stopped by itself does; this is where lost positions are looked for.
    Resume(Option<Choice>),
    /// Who decides whether its breaker is open.
    Breaker(BreakerCommand),
}

/// What is asked of a handler's letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Those that fit, at most so many, of those that died before the ones of another list.
    List(Selection, usize, Option<Cursor>),
    /// Everything of one.
    Show(String),
    /// Parked sequences, at most so many.
    Parked(usize),
    /// Give letters up.
    Drop(Selection),
    /// Let the sequences go on that letters hold.
    Release(Selection),
    /// Replay letters, so many a second, on this version of the handler.
    Replay(Selection, NonZeroU32, Option<String>),
    /// Tell what their replay would do, on this version of the handler.
    DryRun(Selection, Option<String>),
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
    before: Option<String>,
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
    /// A name or a digest; none: the version that serves.
    version: Option<String>,
}

#[derive(Deserialize)]
struct DryRun {
    selection: Selection,
    version: Option<String>,
}

#[derive(Deserialize)]
struct JobPath {
    job: u64,
}

#[derive(Deserialize)]
struct OfJob {
    command: JobCommand,
}

/// Where a handler goes on whose positions are lost.
#[derive(Deserialize)]
struct Resume {
    from: Option<String>,
    partition: Option<u32>,
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

async fn resume(
    State(state): State<AppState>,
    Asked(subject, Resume { from, partition }): Asked<Resume>,
) -> Result<Response, Problem> {
    let choice = match (from, partition) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(Problem::malformed(
                "a partition is for a choice of where it goes on: write from, too",
            ));
        }
        (Some(from), partition) => Some(Choice {
            start: from
                .parse()
                .map_err(|why: String| Problem::malformed(why))?,
            partition,
        }),
    };
    let steer = Steer::Resume(choice);
    Ok(json_response(&state.admin.steer(subject, steer).await?))
}

async fn breaker(
    State(state): State<AppState>,
    Asked(subject, Breaker { command }): Asked<Breaker>,
) -> Result<Response, Problem> {
    let steer = Steer::Breaker(command);
    Ok(json_response(&state.admin.steer(subject, steer).await?))
}

async fn list(
    subject: Subject,
    State(state): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = read_query(query)?;
    let limit = limit(query.limit)?;
    let before = query.before.map(|before| before.parse()).transpose();
    let before = before.map_err(|error: CursorError| Problem::malformed(error.to_string()))?;
    let selection = Selection {
        code: query.code,
        class: query.class,
        sequence: query.sequence,
        within_s: query.within_s,
        status: query.status,
        ..Selection::default()
    };
    answer(&state, subject, Letters::List(selection, limit, before)).await
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
    query: Result<Query<Limit>, QueryRejection>,
) -> Result<Response, Problem> {
    let Limit { limit: asked } = read_query(query)?;
    let limit = limit(asked)?;
    answer(&state, subject, Letters::Parked(limit)).await
}

async fn drop_letters(
    State(state): State<AppState>,
    Asked(subject, Which { selection }): Asked<Which>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Drop(selection)).await
}

async fn release(
    State(state): State<AppState>,
    Asked(subject, Which { selection }): Asked<Which>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Release(selection)).await
}

async fn dry_run(
    State(state): State<AppState>,
    Asked(subject, DryRun { selection, version }): Asked<DryRun>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::DryRun(selection, version)).await
}

async fn replay(
    State(state): State<AppState>,
    Asked(
        subject,
        Replay {
            selection,
            rate,
            version,
        },
    ): Asked<Replay>,
) -> Result<Response, Problem> {
    let rate = rate.unwrap_or(weir_core::replay::RATE);
    if rate > RATE_MAX {
        return Err(Problem::malformed(format!(
            "rate {rate}: at most {RATE_MAX} letters a second"
        )));
    }
    answer(&state, subject, Letters::Replay(selection, rate, version)).await
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
    State(state): State<AppState>,
    Path(JobPath { job }): Path<JobPath>,
    Asked(subject, OfJob { command }): Asked<OfJob>,
) -> Result<Response, Problem> {
    answer(&state, subject, Letters::Job(job, Some(command))).await
}

/// What is asked of a handler, in a body.
struct Asked<T>(Subject, T);

impl<T: DeserializeOwned> FromRequest<AppState> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let subject = Subject::from_request_parts(&mut parts, state).await?;
        let asked = read(state, &parts.headers, body).await?;
        Ok(Self(subject, asked))
    }
}

async fn answer(state: &AppState, subject: Subject, asked: Letters) -> Result<Response, Problem> {
    Ok(json_response(&state.admin.letters(subject, asked).await?))
}

fn read_query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    Ok(query)
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LETTERS) {
        limit @ 1..=LETTERS_MAX => Ok(limit),
        other => Err(Problem::malformed(format!(
            "limit={other}: write 1 to {LETTERS_MAX}"
        ))),
    }
}
