use futures_util::stream;

use super::*;

const BODY: usize = 1 << 20;
const PIECE: usize = 10_000;

/// Reads a body in pieces of this size with so much memory for all; what it holds at the end.
async fn held(piece: usize, memory: usize) -> Option<usize> {
    let shared = Arc::new(Semaphore::new(memory));
    let pieces = (0..BODY).step_by(piece);
    let pieces = pieces.map(|at| Ok::<_, ()>(Bytes::from(vec![b'x'; piece.min(BODY - at)])));
    let read = collect(stream::iter(pieces), BODY, &shared).await;
    let (body, permit) = read.ok()?;
    assert_eq!(body, vec![b'x'; BODY]);
    let held = memory - shared.available_permits();
    drop(permit);
    assert_eq!(shared.available_permits(), memory);
    Some(held)
}

#[tokio::test]
async fn a_body_takes_what_is_allocated_for_it_also_while_it_moves_to_where_it_can_grow() {
    let whole = BODY - BODY_BYTES_FREE;
    // In one piece it never moves.
    assert_eq!(held(BODY, whole).await, Some(whole));
    assert_eq!(held(PIECE, 2 * BODY).await, Some(whole));
    assert_eq!(held(PIECE, BODY + BODY / 4).await, None);
}
