//! What stays of a handler that no host of a fleet has any more.

use std::process::Output;

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::scripted::order;
use weir_tests::wait;

use super::fleet_admin::{HANDLER, get, handler, post};
use super::{Fleet, SETTLE, broker};

fn undeploy(place: &Place, host: &Host) -> Output {
    let url = host.client().url();
    let purge = [
        "undeploy", HANDLER, "--purge", "--yes", "--json", "--url", &url,
    ];
    place.weir(&purge).output().unwrap()
}

/// Pauses, breakers and replay jobs stand on a topic of the whole fleet: a handler that is deployed anew would obey them.
#[test]
fn what_operators_commanded_of_a_handler_is_forgotten_when_it_is_purged() {
    let Some(broker) = broker("a handler that is purged") else {
        return;
    };
    let fleet = Fleet::new(&broker, "purged");
    let has = fleet.place("a", &[HANDLER]).start().unwrap();
    let doomed = order("doomed", "k", &json!({ "fail": "permanent" }));
    let scripts = fleet.topic("public.scripts.v1");
    assert_eq!(
        has.client().publish(scripts, &[doomed]).unwrap().status,
        202
    );
    wait::until("the letter", SETTLE, || {
        let letters = get(has.client(), "letters").json()?;
        Ok((letters["letters"][0]["status"] == "dead").then_some(()))
    })
    .unwrap();
    post(
        has.client(),
        "jobs",
        &json!({ "selection": { "all": true } }),
    );
    post(has.client(), "breaker", &json!({ "command": "close" }));
    post(has.client(), "pause", &json!({}));

    // Not while any host has it.
    let place = fleet.place("b", &["billing"]);
    let has_not = place.start().unwrap();
    let refused = undeploy(&place, &has_not);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("scripted is deployed on host"),
        "{why}"
    );
    assert!(has.drain().unwrap().success());
    let again = fleet.place("a", &[HANDLER]).start().unwrap();
    let kept = handler(again.client()).unwrap();
    assert_eq!(
        (&kept["paused"], &kept["breaker_command"]),
        (&json!(true), &json!("close"))
    );
    assert!(again.drain().unwrap().success());

    let purged: Value = wait::until("the handler to be purged", SETTLE, || {
        let purged = undeploy(&place, &has_not);
        let why = String::from_utf8_lossy(&purged.stderr).into_owned();
        anyhow::ensure!(purged.status.success(), "{why}");
        Ok(Some(serde_json::from_slice(&purged.stdout)?))
    })
    .unwrap();
    // A pause, a breaker, and a job with its plan.
    assert_eq!(purged["deleted"]["operators' commands"], 4, "{purged}");
    let refused = undeploy(&place, &has_not);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("there is no subscription"),
        "{why}"
    );
    let anew = fleet.place("a", &[HANDLER]).start().unwrap();
    let begun = handler(anew.client()).unwrap();
    assert_eq!(
        (&begun["paused"], &begun["breaker_command"]),
        (&json!(false), &json!("auto"))
    );
    wait::until("its jobs to be known", SETTLE, || {
        let jobs = get(anew.client(), "jobs").json()?;
        anyhow::ensure!(jobs["jobs"] == json!([]), "{jobs}");
        Ok(Some(()))
    })
    .unwrap();
}
