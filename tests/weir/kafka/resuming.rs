//! What has stopped by itself on one host, and an operator who asks another one.

use std::process::Output;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::scripted::{deeds_in, order};
use weir_tests::wait;

use super::fleet_admin::{HANDLER, handler, settle_partitions};
use super::{Fleet, SETTLE, broker};

/// Long enough for the event to have died before, on a machine that is busy.
const FAILS_FOR: Duration = Duration::from_secs(20);

fn resume(place: &Place, host: &Host, arguments: &[&str]) -> Output {
    let url = host.client().url();
    let mut command = place.weir(&["resume", HANDLER, "--url", &url]);
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// Which partition stands still there.
fn stopped(host: &Host) -> Option<u64> {
    let handler = handler(host.client()).unwrap();
    let reason = handler["reason"].as_str()?.strip_prefix("partition ")?;
    let (partition, _why) = reason.split_once(':')?;
    let is_stopped = handler["state"] == "stopped";
    partition.parse().ok().filter(|_| is_stopped)
}

/// Hosts say every few seconds what has stopped. Whoever is asked sooner, and does not have the partition, asks who has it.
#[test]
fn a_partition_that_stopped_on_one_host_goes_on_as_soon_as_another_one_is_asked() {
    let Some(broker) = broker("what stopped on another host") else {
        return;
    };
    let fleet = Fleet::new(&broker, "stopped");
    let handlers = [fleet.letterless()];
    let places = ["a", "b"].map(|name| fleet.place_with(name, &handlers, ""));
    let hosts = places.each_ref().map(|place| place.start().unwrap());
    settle_partitions(&[&hosts[0], &hosts[1]]);

    let until = SystemTime::UNIX_EPOCH.elapsed().unwrap() + FAILS_FOR;
    let until_ms = u64::try_from(until.as_millis()).unwrap();
    let doomed = order(
        "doomed",
        "k",
        &json!({ "fail": "permanent", "untilMs": until_ms }),
    );
    let next = order("next", "k", &json!({}));
    let scripts = fleet.topic("public.scripts.v1");
    let taken = hosts[0].client().publish(scripts, &[doomed, next]).unwrap();
    assert_eq!(taken.status, 202);
    let (owner, partition) = wait::until("the event to stop its partition", SETTLE, || {
        let found = hosts.iter().enumerate();
        let mut found = found.filter_map(|(index, host)| Some((index, stopped(host)?)));
        Ok(found.next())
    })
    .unwrap();
    let (owner, other) = (&hosts[owner], &hosts[1 - owner]);

    // Nothing is lost there.
    let refused = resume(&places[0], other, &["--from", "earliest"]);
    let why = said(&refused);
    assert!(
        !refused.status.success() && why.contains("no partition of scripted has lost its position"),
        "{why}"
    );
    // Other hosts have logs of their own.
    let refused = resume(&places[0], other, &["--from", "7"]);
    let why = said(&refused);
    assert!(
        !refused.status.success() && why.contains("name the partition by --partition"),
        "{why}"
    );
    // It stops again for as long as the event fails, and goes on each time.
    let attempts = || handler(owner.client()).unwrap()["attempts"].as_u64();
    let (mut rounds, mut seen) = (0, attempts());
    while stopped(owner).is_some() {
        let resumed = resume(&places[0], other, &[]);
        let what = format!("partition(s) {partition} that had stopped begin anew");
        let says = said(&resumed);
        assert!(resumed.status.success() && says.contains(&what), "{says}");
        wait::until("it to be tried again", SETTLE, || {
            Ok((attempts() > seen).then_some(()))
        })
        .unwrap();
        wait::until("it to stop again, or to be handled", SETTLE, || {
            let is_over = handler(owner.client())?["fates"]["handled"] == 2;
            Ok((is_over || stopped(owner).is_some()).then_some(()))
        })
        .unwrap();
        (rounds, seen) = (rounds + 1, attempts());
    }
    assert!(rounds > 0);
    fleet.settle(&[&hosts[0], &hosts[1]]);
    let told = deeds_in(other.client(), fleet.topic("public.deeds.v1")).unwrap();
    let ids: Vec<_> = told["k"].iter().map(|deed| deed.id.as_str()).collect();
    assert_eq!(ids, ["doomed", "next"]);

    let idle = said(&resume(&places[0], other, &[]));
    assert!(idle.contains("nothing of it had stopped"), "{idle}");
    name_who_is_gone(&places[0], hosts);
}

/// What may have stopped on a host that cannot be asked is not passed over.
fn name_who_is_gone(place: &Place, [stays, gone]: [Host; 2]) {
    gone.kill().unwrap();
    let unasked = said(&resume(place, &stays, &["--json"]));
    let unasked: Value = serde_json::from_str(&unasked).unwrap();
    let why = unasked["unasked"][0].as_str().unwrap_or_default();
    // A machine that stands still may have taken it for silent meanwhile.
    let is_named = ["ask it at http://127.0.0.1", "it has said nothing for"];
    assert!(
        is_named.iter().any(|words| why.contains(words)),
        "{unasked}"
    );
}
