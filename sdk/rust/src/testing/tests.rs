use std::{io, time::Duration};

use serde::Deserialize;

use super::{Harness, Input};
use crate::{
    BAD_DATA, BAD_STATE, Event, Failure, FailureKind, OrFail, Raw, Result, State, UNCLASSIFIED,
    context, timers,
};

const COUNT: State<u64> = State::new("count");

/// Counts, then fails when the event says so.
fn count(event: Event<bool>) -> Result<()> {
    COUNT.set(&(COUNT.get()?.unwrap_or(0) + 1))?;
    crate::info!(attempt = context::attempt(), "counted");
    timers::set_after("later", Duration::from_secs(1), None);
    if event.data {
        Ok(())
    } else {
        Err(Failure::transient("asked", "to fail"))
    }
}

#[derive(Debug, Deserialize)]
struct Order {
    #[expect(dead_code, reason = "only its presence matters")]
    number: u32,
}

fn order(_: Event<Order>) -> Result<()> {
    Ok(())
}

#[test]
fn failed_attempt_changes_no_state_and_sets_no_timer() {
    let mut harness = Harness::new(count);
    let failure = harness
        .deliver(Input::new("Go").key("a").json(&false))
        .unwrap_err();
    assert_eq!(failure, Failure::transient("asked", "to fail"));
    assert_eq!(harness.timer_ms("a", "later"), None);
    harness.set_now_ms(500);
    harness
        .deliver_attempt(2, Input::new("Go").key("a").json(&true))
        .unwrap();
    assert_eq!(harness.timer_ms("a", "later"), Some(1_500));
    assert_eq!(harness.sequences[&Some(b"a".to_vec())].state["count"], b"1");
    assert_eq!(harness.log().len(), 2, "lines of failed attempts are kept");
    assert_eq!(
        harness.log()[1].fields,
        [("attempt".to_owned(), "2".to_owned())]
    );
}

#[test]
fn keys_do_not_share_state() {
    let mut harness = Harness::new(count);
    for key in ["a", "b", "a"] {
        harness
            .deliver(Input::new("Go").key(key).json(&true))
            .unwrap();
    }
    assert_eq!(harness.sequences[&Some(b"a".to_vec())].state["count"], b"2");
    assert_eq!(harness.sequences[&Some(b"b".to_vec())].state["count"], b"1");
}

#[test]
fn data_of_another_shape_is_permanent() {
    for input in [
        Input::new("Order"),
        Input::new("Order").json(&7),
        Input::new("Order").data("text/plain", "{"),
    ] {
        let failure = Harness::new(order).deliver(input).unwrap_err();
        assert_eq!(
            (failure.kind(), failure.code()),
            (FailureKind::Permanent, BAD_DATA)
        );
    }
}

#[test]
fn state_of_another_shape_is_transient() {
    fn forget(_: Event<Raw>) -> Result<()> {
        State::<String>::new("count").get()?;
        Ok(())
    }
    let mut counted = Harness::new(count);
    counted
        .deliver(Input::new("Go").key("a").json(&true))
        .unwrap();
    let mut harness = Harness::new(forget);
    harness.sequences = counted.sequences;
    let failure = harness.deliver(Input::new("Go").key("a")).unwrap_err();
    assert_eq!(
        (failure.kind(), failure.code()),
        (FailureKind::Transient, BAD_STATE)
    );
}

#[test]
fn absent_data_reads_as_none() {
    fn tombstone(event: Event<Option<u32>>) -> Result<()> {
        event
            .data
            .map_or(Ok(()), |_| Err(Failure::permanent("present", "")))
    }
    assert!(Harness::new(tombstone).deliver(Input::new("Gone")).is_ok());
    assert!(
        Harness::new(tombstone)
            .deliver(Input::new("Gone").json(&1))
            .is_err()
    );
}

#[test]
fn errors_become_failures_by_question_mark() {
    fn bare(_: Event<Raw>) -> Result<()> {
        Err(io::Error::other("broken"))?
    }
    fn classified(_: Event<Raw>) -> Result<()> {
        "x".parse::<u32>().or_permanent("bad-number")?;
        Ok(())
    }
    let failure = Harness::new(bare).deliver(Input::new("Any")).unwrap_err();
    assert_eq!(failure, Failure::transient(UNCLASSIFIED, "broken"));
    let failure = Harness::new(classified)
        .deliver(Input::new("Any"))
        .unwrap_err();
    assert_eq!(
        (failure.kind(), failure.code()),
        (FailureKind::Permanent, "bad-number")
    );
}
