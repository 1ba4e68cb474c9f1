use std::sync::mpsc;

use super::*;

fn what() -> String {
    "how far topic \"t\" partition 3 reaches".to_owned()
}

#[tokio::test]
async fn an_error_says_what_was_asked_and_what_became_of_it() {
    let calls = Calls::new();
    let answer = calls.make(what, || Ok::<_, String>(7)).await;
    assert_eq!(answer, Ok(7));
    let answer = calls.make(what, || Err::<(), _>("timed out")).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "the cluster did not answer: how far topic \"t\" partition 3 reaches: timed out"
    );
}

/// Callers that go away leave their calls behind, and a frozen cluster would have one for each.
#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_keeps_its_turn_until_it_is_answered() {
    let mut calls = Calls::of(1, Duration::ZERO);
    let (answered, answer) = mpsc::channel();
    let call = calls.make(what, move || answer.recv());
    let gone = tokio::time::timeout(Duration::ZERO, call).await;
    assert!(gone.is_err(), "nothing answers");
    let refused = calls.make(what, || Ok::<_, String>(7)).await.unwrap_err();
    assert_eq!(refused.why, "too many others wait for its answers");
    answered.send(()).unwrap();
    calls.patience = Duration::from_secs(60);
    let answer = calls.make(what, || Ok::<_, String>(7));
    assert_eq!(answer.await, Ok(7));
}
