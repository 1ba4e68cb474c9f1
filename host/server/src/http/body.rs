//! The body of a request, within its bounds: of itself, in time, and of what all bodies take together.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::AppState;
use super::problem::Problem;

/// Bytes of a body that are nobody's business: small requests are taken however many large ones come in.
const BODY_BYTES_FREE: usize = 64 << 10;

/// What a body takes of the memory for all bodies; until the request is answered, since its events live as long.
pub(super) type BodyMemory = Option<OwnedSemaphorePermit>;

/// The whole body, bounded in bytes and time, and in what all bodies take together.
pub(super) async fn read_body(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, BodyMemory), Problem> {
    let config = &state.config;
    let too_large = || {
        Problem::too_large(
            format!("a body may have {} bytes", config.body_bytes_max),
            Vec::new(),
        )
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > config.body_bytes_max) {
        return Err(too_large());
    }
    let collected = collect(
        body.into_data_stream(),
        config.body_bytes_max,
        &state.body_bytes,
    );
    match timeout(config.request_timeout, collected).await {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(Unread::TooLarge)) => Err(too_large()),
        Ok(Err(Unread::NoMemory)) => Err(Problem::crowded(
            "other requests with large bodies take all the memory that there is for them: send it again later, or \
             in smaller parts",
        )),
        Ok(Err(Unread::Broken(error))) => {
            Err(Problem::malformed(format!("the body broke off: {error}")))
        }
        Err(_) => Err(Problem::slow_body(config.request_timeout.as_secs())),
    }
}

/// Why a body was not read to its end.
enum Unread<E> {
    TooLarge,
    NoMemory,
    Broken(E),
}

/// All bytes of a stream. A body of one piece is not copied; one of several grows, to twice its size each time, and what it
/// takes is what is allocated for it.
async fn collect<E>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    bytes_max: usize,
    shared: &Arc<Semaphore>,
) -> Result<(Bytes, BodyMemory), Unread<E>> {
    let mut first = Bytes::new();
    let mut whole = Vec::new();
    let mut memory = BodyMemory::None;
    let mut charge = |bytes: usize| {
        let taken = take(&mut memory, bytes.saturating_sub(BODY_BYTES_FREE), shared);
        taken.then_some(()).ok_or(Unread::NoMemory)
    };
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(Unread::Broken)?;
        let bytes = first.len() + whole.len() + piece.len();
        if bytes > bytes_max {
            return Err(Unread::TooLarge);
        }
        if first.is_empty() && whole.is_empty() {
            charge(bytes)?;
            first = piece;
            continue;
        }
        if bytes > whole.capacity() {
            let grown = bytes.max(2 * whole.capacity()).min(bytes_max);
            // Both are there while it moves.
            charge(first.len() + whole.capacity() + grown)?;
            whole.reserve_exact(grown - whole.len());
            whole.extend_from_slice(&std::mem::take(&mut first));
            charge(whole.capacity())?;
        }
        whole.extend_from_slice(&piece);
    }
    let body = if whole.is_empty() {
        first
    } else {
        whole.into()
    };
    Ok((body, memory))
}

/// Makes what was taken of what is shared so many bytes; false when that is more than is left.
fn take(memory: &mut BodyMemory, bytes: usize, shared: &Arc<Semaphore>) -> bool {
    let taken = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    if bytes <= taken {
        drop(
            memory
                .as_mut()
                .and_then(|memory| memory.split(taken - bytes)),
        );
        return true;
    }
    let more = u32::try_from(bytes - taken).unwrap_or(u32::MAX);
    let Ok(more) = Arc::clone(shared).try_acquire_many_owned(more) else {
        return false;
    };
    match memory {
        Some(memory) => memory.merge(more),
        None => *memory = Some(more),
    }
    true
}

#[cfg(test)]
mod tests;
