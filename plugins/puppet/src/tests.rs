use std::time::Duration;

use weir_sdk::testing::{Harness, Input};
use weir_sdk::{Emission, FailureKind};

use super::{COUNT, SOON, handle};

fn event(ty: &str) -> Input {
    Input::new(ty).key("ann")
}

#[test]
fn it_counts_the_events_of_a_key() {
    let mut puppet = Harness::new(handle);
    puppet.deliver(event("Count")).unwrap();
    let emitted = puppet.deliver(event("Count")).unwrap();
    assert_eq!(emitted, [Emission::new("Counted").json(&2).unwrap()]);
    assert_eq!(puppet.state("ann", &COUNT), Some(2));
}

#[test]
fn a_reminder_comes_unless_it_is_forgotten() {
    let mut puppet = Harness::new(handle);
    let reminded = [Emission::new("Reminded").json("tea").unwrap()];
    puppet.deliver(event("Remind").json("tea")).unwrap();
    assert_eq!(puppet.advance(SOON).unwrap(), reminded);
    puppet.deliver(event("Remind").json("tea")).unwrap();
    puppet.deliver(event("Forget")).unwrap();
    assert_eq!(puppet.advance(SOON).unwrap(), []);
}

#[test]
fn what_is_emitted_later_comes_later() {
    let mut puppet = Harness::new(handle);
    assert_eq!(puppet.deliver(event("Later")).unwrap(), []);
    assert_eq!(puppet.advance(SOON).unwrap().len(), 1);
}

#[test]
fn it_fails_as_it_is_told() {
    let mut puppet = Harness::new(handle);
    puppet.set_now_ms(10_000);
    let kind = |input, puppet: &mut Harness<_, _>| puppet.deliver(input).unwrap_err().kind();
    assert_eq!(kind(event("Fail"), &mut puppet), FailureKind::Transient);
    assert_eq!(kind(event("Refuse"), &mut puppet), FailureKind::Permanent);
    let down = event("DownUntil").json(&11);
    assert_eq!(kind(down.clone(), &mut puppet), FailureKind::Unavailable);
    let fail = event("FailUntil").json(&11);
    assert_eq!(kind(fail.clone(), &mut puppet), FailureKind::Transient);
    puppet.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(puppet.deliver(down).unwrap(), []);
    assert_eq!(puppet.deliver(fail).unwrap(), []);
}
