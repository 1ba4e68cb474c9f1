//! Two hosts with one id: the second does not start, and the first goes on.

use weir_tests::host::{Host, Place};
use weir_tests::wait;

use super::{Fleet, SETTLE, broker};

/// A place whose host has this id, and tells others that it is reached there.
fn place(fleet: &Fleet, name: &str, advertise: Option<&str>) -> Place {
    let place = fleet.place_as("twin", name, &["billing"]);
    if let Some(url) = advertise {
        let text = std::fs::read_to_string(place.config()).unwrap();
        let text = text.replace("[http]\n", &format!("[http]\nadvertise = \"{url}\"\n"));
        std::fs::write(place.config(), text).unwrap();
    }
    place
}

/// Starts a second host of the id, which is refused.
fn refused(place: &Place) -> String {
    let said = place.start().unwrap_err().to_string();
    let wanted = "another live host has the id \"twin\"";
    assert!(said.contains(wanted) && said.contains("host_id"), "{said}");
    said
}

/// Waits until another host has heard that the twin is reached there.
fn knows(observer: &Host, url: &str) {
    wait::until("the first host to be known", SETTLE, || {
        let status = observer.client().status()?;
        let hosts = status["hosts"].as_array().into_iter().flatten();
        let mut twins = hosts.filter(|host| host["host_id"] == "twin");
        Ok(twins.any(|twin| twin["url"] == url).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_second_live_host_of_the_same_id_is_refused_and_the_first_goes_on() {
    let Some(broker) = broker("two hosts with one id") else {
        return;
    };
    let fleet = Fleet::new(&broker, "twins");
    let first = place(&fleet, "a", None);
    let host = first.start().unwrap();
    let url = host.client().url();
    let observer = fleet.place("observer", &["billing"]).start().unwrap();
    knows(&observer, &url);
    let said = refused(&place(&fleet, "b", None));
    assert!(said.contains(&format!("answers at {url}")), "{said}");
    fleet.settle(&[&host, &observer]);

    // One that was killed is not live, and one that cannot be reached is known by what it says.
    host.kill().unwrap();
    let nowhere = "http://127.0.0.1:1";
    let third = place(&fleet, "c", Some(nowhere));
    let host = third.start().unwrap();
    knows(&observer, nowhere);
    let said = refused(&place(&fleet, "d", None));
    assert!(said.contains("said so a moment ago"), "{said}");
    fleet.settle(&[&host, &observer]);
    // It starts again on its own directory.
    host.kill().unwrap();
    let host = third.start().unwrap();
    fleet.settle(&[&host, &observer]);
}
