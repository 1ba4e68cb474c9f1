//! What calls of the host's interfaces do and what bounds them: state, timers, standard output.

use bytes::Bytes;
use tracing::Level;
use weir_core::event::{FailureKind, Outcome, TimerSet, TimerWrite};
use weir_core::time::Millis;
use weir_wasm::{Attempt, StateUnavailable, StateView};

use crate::guests;
use crate::lines::Lines;
use crate::{Down, Fixture, Names, Values, attempt, done, failed, with_state, with_timers};

async fn stateful(body: &str, attempt: Attempt) -> Outcome {
    let fixture = Fixture::new();
    let component = fixture
        .load_with(guests::stateful(body), |options| {
            options.grants.state = true
        })
        .await
        .unwrap();
    component.call(attempt).await
}

#[tokio::test]
async fn an_attempt_reads_its_own_writes_over_the_state_of_its_sequence() {
    let values = Values([("n".to_owned(), "ab".into())].into());
    let effects = done(stateful(guests::APPEND, with_state(values)).await);
    let [write] = &effects.state[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (write.name.as_str(), write.value.as_deref()),
        ("n", Some(&b"abxx"[..]))
    );
    assert_eq!(write.ttl_ms, Some(60_000));
}

#[tokio::test]
async fn state_that_cannot_be_read_is_unavailable_and_costs_no_attempt() {
    let failure = failed(stateful(guests::APPEND, with_state(Down)).await);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Unavailable, "state-unavailable")
    );
    assert!(failure.message.contains("the store is closed"));
}

#[tokio::test]
async fn state_of_an_event_without_a_key_is_permanent() {
    let failure = failed(stateful(guests::APPEND, attempt()).await);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Permanent, "unkeyed")
    );
}

#[tokio::test]
async fn host_calls_are_bounded() {
    limited(
        stateful(guests::CALL_FOR_EVER, with_state(Values([].into()))).await,
        "host-call-limit",
    );
}

#[track_caller]
fn limited(outcome: Outcome, code: &str) -> String {
    let failure = failed(outcome);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Limit, code),
        "{failure:?}"
    );
    failure.message
}

/// State with this many bytes under the name `old`.
fn holding(bytes: usize) -> Attempt {
    let old = Bytes::from(vec![0; bytes]);
    with_state(Values([("old".to_owned(), old)].into()))
}

#[tokio::test]
async fn state_is_bounded_over_the_whole_sequence() {
    let message = limited(stateful(guests::HOARD, holding(0)).await, "state-limit");
    assert!(message.contains("262144"), "{message}");
    // `nx` and `old` beside the value.
    let left = 262_144 - 2 - 3;
    let set_n = guests::set_n("x");
    done(stateful(&set_n, holding(left)).await);
    limited(stateful(&set_n, holding(left + 1)).await, "state-limit");
}

/// A sequence that has `n` and does not tell its total.
struct Unsummed;

impl StateView for Unsummed {
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        Ok((name == "n").then(|| Bytes::from_static(b"ab")))
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Err(StateUnavailable("asked for all names".into()))
    }
}

#[tokio::test]
async fn only_state_that_grows_is_summed() {
    for value in ["", "x", "xy"] {
        done(stateful(&guests::set_n(value), with_state(Unsummed)).await);
    }
    let failure = failed(stateful(&guests::set_n("xyz"), with_state(Unsummed)).await);
    assert_eq!(failure.code, "state-unavailable");
}

#[tokio::test]
async fn a_value_that_lives_for_no_time_is_read_by_its_own_attempt_only() {
    let values = Values([("n".to_owned(), "ab".into())].into());
    let effects = done(stateful(&guests::set_for_no_time(), with_state(values)).await);
    let [write] = &effects.state[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (write.name.as_str(), &write.value, write.ttl_ms),
        ("n", &None, None)
    );
}

#[tokio::test]
async fn names_of_state_are_bounded() {
    done(stateful(&guests::set_long_name(256), holding(0)).await);
    limited(
        stateful(&guests::set_long_name(257), holding(0)).await,
        "name-limit",
    );
}

async fn timed(body: &str, attempt: Attempt) -> Outcome {
    let fixture = Fixture::new();
    let component = fixture
        .load_with(guests::timed(body), |options| options.grants.timers = true)
        .await
        .unwrap();
    component.call(attempt).await
}

#[tokio::test]
async fn the_last_setting_of_a_timer_wins_and_says_which_call_made_it() {
    let effects = done(timed(&guests::set_timers(), with_timers(Names(Vec::new()))).await);
    let write = |name: &str, call, set| TimerWrite {
        name: name.into(),
        call,
        set,
    };
    let set = |due, data: Option<&'static str>| {
        let data = data.map(Bytes::from);
        Some(TimerSet {
            due: Millis(due),
            data,
        })
    };
    assert_eq!(
        effects.timers,
        [
            write("a", 3, set(7_000, None)),
            write("b", 1, set(77, Some("abc"))),
            write("c", 2, None),
        ]
    );
}

#[tokio::test]
async fn timers_are_bounded_over_the_whole_sequence() {
    // The guest cancels `x` and replaces `aa`; `ab` is the 17th that it sets.
    let pending = |count: usize| {
        let others = (0..count).map(|i| format!("other-{i}"));
        let names = ["x", "aa", "ab"].map(str::to_owned);
        with_timers(Names(names.into_iter().chain(others).collect()))
    };
    let effects = done(timed(&guests::fill_timers(100), pending(0)).await);
    assert_eq!(effects.timers.len(), 101);
    done(timed(&guests::fill_timers(17), pending(83)).await);
    let message = limited(
        timed(&guests::fill_timers(17), pending(84)).await,
        "timer-limit",
    );
    assert!(message.contains("100 timers"), "{message}");
}

#[tokio::test]
async fn the_data_of_a_timer_is_bounded() {
    let none = || with_timers(Names(Vec::new()));
    done(timed(&guests::set_timer_data(65_536), none()).await);
    let message = limited(
        timed(&guests::set_timer_data(65_537), none()).await,
        "timer-limit",
    );
    assert!(message.contains("65537 bytes"), "{message}");
}

#[tokio::test]
async fn pending_timers_are_read_only_to_set_one() {
    assert_eq!(
        done(timed(guests::CANCEL, with_timers(Down)).await)
            .timers
            .len(),
        1
    );
    let failure = failed(timed(&guests::set_timers(), with_timers(Down)).await);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Unavailable, "state-unavailable")
    );
    assert_eq!(failure.backtrace, None);
}

#[tokio::test]
async fn timers_of_an_event_without_a_key_are_permanent() {
    for body in [guests::CANCEL, &guests::set_timers()] {
        let failure = failed(timed(body, attempt()).await);
        assert_eq!(
            (failure.kind, failure.code.as_str()),
            (FailureKind::Permanent, "unkeyed")
        );
    }
}

async fn printing(body: &str) -> (Outcome, Vec<(Level, String)>) {
    let fixture = Fixture::new();
    let component = fixture.load(guests::printing(body)).await.unwrap();
    let lines = Lines::capture();
    let outcome = component.call(attempt()).await;
    (outcome, lines.take())
}

#[tokio::test]
async fn standard_output_and_standard_error_become_log_lines() {
    let (outcome, lines) = printing(&guests::print()).await;
    done(outcome);
    let line = |level, text: &str| (level, text.to_owned());
    assert_eq!(
        lines,
        [
            line(Level::INFO, "one line"),
            line(Level::INFO, "anoth "),
            line(Level::WARN, "oops"),
        ]
    );
}

#[tokio::test]
async fn printed_lines_are_bounded_in_an_attempt_and_one_line_says_so() {
    let (outcome, mut lines) = printing(&guests::print_often(40, 4_096)).await;
    done(outcome);
    let last = lines.pop().unwrap();
    assert_eq!(last.0, Level::WARN);
    assert!(last.1.contains("lines are dropped"), "{last:?}");
    let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
    assert!((60_000..=65_536).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn calls_of_wasi_count_as_host_calls() {
    // One more than what is printed is the call that returns the stream.
    done(printing(&guests::print_often(9_999, 1)).await.0);
    let (outcome, _) = printing(&guests::print_often(10_000, 1)).await;
    limited(outcome, "host-call-limit");
    let (outcome, _) = printing(&guests::print_often(u32::MAX, 1)).await;
    limited(outcome, "host-call-limit");
}
