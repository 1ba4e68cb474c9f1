//! Two operators who command the same of two hosts at the same time: one of them is obeyed, and the other is told.

use std::process::Output;

use weir_tests::host::{Host, Place, Start};
use weir_tests::wait;

use super::{Fleet, SETTLE, broker};

/// What an operator says of the handler's breaker to the host there.
fn breaker(place: &Place, command: &str) -> Output {
    let url = place.client().url();
    let arguments = ["breaker", "billing", command, "--url", &url];
    place.weir(&arguments).output().unwrap()
}

/// Waits until the host obeys this.
fn obeys(host: &Host, command: &str) {
    wait::until("the host to obey", SETTLE, || {
        let status = host.client().status()?;
        let found = &status["handlers"][0]["breaker_command"];
        anyhow::ensure!(*found == command, "{found}");
        Ok(Some(()))
    })
    .unwrap();
}

#[test]
fn of_two_commands_at_the_same_time_the_first_counts_and_the_other_is_told() {
    let Some(broker) = broker("two operators at the same time") else {
        return;
    };
    let fleet = Fleet::new(&broker, "commanded");
    let (first, second) = (
        fleet.place("a", &["billing"]),
        fleet.place("b", &["billing"]),
    );
    let Start::Ready(late) = first.start_to_fail("command-late").unwrap() else {
        panic!("{}", first.end_of_log());
    };
    let other = second.start().unwrap();
    // Each command to the first host was given before what the second host is asked meanwhile, and is written after it.
    let both = |waits: usize, asked: &str, meanwhile: &str| {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| breaker(&first, asked));
            wait::until("the command to wait", SETTLE, || {
                let log = std::fs::read_to_string(first.log())?;
                let found = log.matches("lets a command wait").count();
                Ok((found == waits).then_some(()))
            })
            .unwrap();
            let quick = breaker(&second, meanwhile);
            assert!(quick.status.success(), "{quick:?}");
            slow.join().unwrap()
        })
    };
    let answered = both(1, "open", "close");
    let said = String::from_utf8_lossy(&answered.stderr).into_owned();
    assert!(!answered.status.success(), "{answered:?}");
    assert!(
        said.contains("somebody else has changed it meanwhile") && said.contains("409"),
        "{said}"
    );
    for host in [&late, &other] {
        obeys(host, "close");
    }
    // Who is told what he wanted anyway was not overtaken.
    let answered = both(2, "auto", "auto");
    assert!(answered.status.success(), "{answered:?}");

    // It holds for who reads the topic later, too.
    assert!(breaker(&second, "open").status.success());
    assert!(other.drain().unwrap().success());
    let again = second.start().unwrap();
    for host in [&late, &again] {
        obeys(host, "open");
    }
}
