use std::{io, time::Duration};

use serde::Deserialize;

use super::{Harness, Input};
use crate::{
    BAD_DATA, BAD_STATE, Emission, Event, Failure, FailureKind, OrFail, Raw, Result, State, Timer,
    UNCLASSIFIED, context, state, timers,
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
    assert_eq!(harness.state("a", &COUNT), Some(1));
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
    assert_eq!(harness.state("a", &COUNT), Some(2));
    assert_eq!(harness.state("b", &COUNT), Some(1));
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

const SECOND: Duration = Duration::from_secs(1);
const EXPIRE: Timer<String> = Timer::new("expire");

/// Does what the type of the event says, and tells of every firing.
fn alarm_clock(event: Event<Raw>) -> Result<Vec<Emission>> {
    if let Some(name) = event.timer() {
        if context::attempt() == 1 && name == "flaky" {
            return Err(Failure::transient("flaky", "fails once"));
        }
        if name == "again" {
            timers::set_after("again", SECOND, None);
        }
        return Ok(vec![Emission::new("Fired").subject(name)]);
    }
    match event.ty.as_str() {
        "Cancel" => timers::cancel(&event.data.json::<String>()?),
        "Delay" => {
            let delayed = Emission::new("Later").delay(2 * SECOND);
            return Ok(vec![delayed, Emission::new("Sooner")]);
        }
        name => timers::set_after(name, event.data.json::<u32>()? * SECOND, None),
    }
    Ok(Vec::new())
}

fn set(name: &str, seconds: u32) -> Input {
    Input::new(name).key("a").json(&seconds)
}

fn fired(names: &[&str]) -> Vec<Emission> {
    names
        .iter()
        .map(|name| Emission::new("Fired").subject(*name))
        .collect()
}

#[test]
fn timers_fire_once_in_the_order_of_their_times_and_never_early() {
    let mut harness = Harness::new(alarm_clock);
    for (name, seconds) in [("third", 3), ("second", 2), ("first", 2)] {
        harness.deliver(set(name, seconds)).unwrap();
    }
    assert_eq!(harness.timers("a"), ["first", "second", "third"]);
    let early = 2 * SECOND - Duration::from_millis(1);
    assert_eq!(harness.advance(early).unwrap(), []);
    let due = harness.advance(2 * SECOND).unwrap();
    assert_eq!(due, fired(&["first", "second", "third"]));
    assert_eq!(harness.advance(100 * SECOND).unwrap(), []);
}

#[test]
fn timer_that_was_cancelled_or_replaced_does_not_fire() {
    let mut harness = Harness::new(alarm_clock);
    harness.deliver(set("gone", 1)).unwrap();
    harness.deliver(set("moved", 1)).unwrap();
    harness.deliver(set("moved", 5)).unwrap();
    harness
        .deliver(Input::new("Cancel").key("a").json("gone"))
        .unwrap();
    assert_eq!(harness.advance(4 * SECOND).unwrap(), []);
    assert_eq!(harness.advance(SECOND).unwrap(), fired(&["moved"]));
}

#[test]
fn firing_may_set_its_own_timer_again() {
    let mut harness = Harness::new(alarm_clock);
    harness.deliver(set("again", 1)).unwrap();
    assert_eq!(harness.advance(3 * SECOND).unwrap(), fired(&["again"; 3]));
    assert_eq!(harness.timer_ms("a", "again"), Some(4_000));
}

#[test]
fn failed_firing_stays_set_and_time_stands_still() {
    let mut harness = Harness::new(alarm_clock);
    harness.deliver(set("before", 1)).unwrap();
    harness.deliver(set("flaky", 2)).unwrap();
    let failure = harness.advance(9 * SECOND).unwrap_err();
    assert_eq!(failure.code(), "flaky");
    assert_eq!(harness.now(), std::time::UNIX_EPOCH + 2 * SECOND);
    assert_eq!(harness.timers("a"), ["flaky"]);
    let second_attempt = harness.advance(Duration::ZERO).unwrap();
    assert_eq!(second_attempt, fired(&["before", "flaky"]));
}

#[test]
fn delayed_emission_is_published_when_it_is_due() {
    let mut harness = Harness::new(alarm_clock);
    let at_once = harness.deliver(Input::new("Delay").key("a")).unwrap();
    assert_eq!(at_once, [Emission::new("Sooner")]);
    harness.deliver(set("between", 1)).unwrap();
    let mut expected = fired(&["between"]);
    expected.push(Emission::new("Later").delay(2 * SECOND));
    assert_eq!(harness.advance(2 * SECOND).unwrap(), expected);
}

#[test]
fn firing_is_an_event_of_its_key_with_what_it_was_set_with() {
    fn handle(event: Event<Raw>) -> Result<()> {
        let Some(data) = EXPIRE.fired(&event)? else {
            let at = context::now() + Duration::from_micros(1_500);
            return EXPIRE.set_at(at, &"session".to_owned());
        };
        assert_eq!(data, "session");
        assert_eq!(event.id, "/test/1/expire/0");
        assert_eq!(event.source, "/weir/test/timers");
        assert_eq!(event.time.as_deref(), Some("1997-01-01T00:00:00.002Z"));
        assert_eq!(
            event.datacontenttype.as_deref(),
            Some("application/octet-stream")
        );
        assert_eq!(context::key(), Some(b"a".to_vec()));
        crate::info!("expired");
        Ok(())
    }
    let mut harness = Harness::new(handle);
    harness.set_now_ms(852_076_800_000);
    harness.deliver(Input::new("LoggedIn").key("a")).unwrap();
    harness.advance(Duration::from_millis(1)).unwrap();
    assert!(harness.log().is_empty(), "half a millisecond early");
    harness.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(harness.log().len(), 1);
}

#[test]
fn expired_state_has_neither_value_nor_name() {
    const BRIEF: State<u32> = State::new("brief");
    fn handle(event: Event<u32>) -> Result<Emission> {
        let names = Emission::new("Names").json(&state::names());
        if event.data > 0 {
            COUNT.set(&7)?;
            BRIEF.set_for(&event.data, SECOND)?;
        }
        names
    }
    let mut harness = Harness::new(handle);
    let names = |harness: &mut Harness<_, _>, data: u32| {
        let emitted = harness.deliver(Input::new("Any").key("a").json(&data));
        emitted.unwrap()[0].parse_json::<Vec<String>>().unwrap()
    };
    assert!(names(&mut harness, 1).is_empty());
    assert_eq!(names(&mut harness, 0), ["brief", "count"]);
    harness.advance(SECOND - Duration::from_millis(1)).unwrap();
    assert_eq!(harness.state("a", &BRIEF), Some(1));
    harness.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(harness.state("a", &BRIEF), None);
    assert_eq!(names(&mut harness, 2), ["count"]);
    assert_eq!(harness.state("a", &BRIEF), Some(2), "it may be set again");
}

#[test]
#[should_panic(expected = "an event without a key has no state")]
fn event_without_a_key_cannot_have_state() {
    Harness::new(count)
        .deliver(Input::new("Go").json(&true))
        .unwrap();
}
