//! Hosts that ask one another over TLS, with a certificate authority of their own.

use std::path::Path;
use std::process::Output;

use weir_tests::host::{self, Host, Place};
use weir_tests::scripted::order;
use weir_tests::wait;

use super::fleet_admin::HANDLER;
use super::{Fleet, PARTITIONS, SETTLE, broker};
use crate::fixture::{json, root};

/// So many that each host has some.
const KEYS: usize = 48;

fn file(name: &str) -> String {
    let file = root().join("tests/data/tls").join(name);
    file.display().to_string()
}

/// A host at https that trusts whom it is told to.
fn place(fleet: &Fleet, name: &str, peer_ca: Option<&str>) -> Place {
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let bootstrap = fleet.broker.cluster.bootstrap();
    let peer_ca = peer_ca.map(|ca| format!("peer_ca = \"{ca}\"\n"));
    let config = format!(
        "{}[http.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n[kafka]\nbootstrap = \"{bootstrap}\"\n",
        peer_ca.unwrap_or_default()
    );
    let handlers = host::handlers(root(), &[HANDLER]).unwrap();
    let home: &Path = &fleet.folder.path().join(name);
    let binary = host::binary().unwrap();
    Place::in_environment(&binary, home, &handlers, fleet.environment, &config).unwrap()
}

/// A command that asks the host there.
fn weir(place: &Place, arguments: &[&str]) -> Output {
    let url = place.client().url().replace("http://", "https://");
    let mut command = place.weir(arguments);
    command.args(["--url", &url, "--ca", &file("ca.pem")]);
    command.output().unwrap()
}

/// Waits until the host there knows both, and that they serve all partitions.
fn settle(place: &Place) {
    wait::until("the fleet to be seen", SETTLE, || {
        let status = json(&weir(place, &["status", "--json"]))?;
        let served = &status["handlers"][0]["fleet"];
        let seen = status["hosts"].as_array().map_or(0, Vec::len);
        let whole = served["hosts"] == 2 && served["partitions"] == PARTITIONS && seen == 2;
        anyhow::ensure!(whole, "{served}, {seen} hosts");
        Ok(Some(()))
    })
    .unwrap();
}

/// The letters, of which the owners of their partitions alone know what became.
fn list(place: &Place) -> Output {
    let list = ["dlq", "list", HANDLER, "--json", "--limit", "1000"];
    weir(place, &list)
}

#[test]
fn hosts_ask_one_another_over_tls_and_say_what_to_do_where_they_do_not_trust_each_other() {
    let Some(broker) = broker("hosts that speak TLS") else {
        return;
    };
    let fleet = Fleet::new(&broker, "private");
    let ca = file("ca.pem");
    let [first, second] = ["a", "b"].map(|name| place(&fleet, name, Some(&ca)));
    let (a, b): (Host, Host) = (first.spawn().unwrap(), second.spawn().unwrap());
    [&first, &second].into_iter().for_each(settle);
    let doomed = serde_json::json!({ "fail": "permanent" });
    let events = (0..KEYS).map(|key| order(&key.to_string(), &key.to_string(), &doomed));
    let lines = fleet.folder.path().join("events.ndjson");
    std::fs::write(&lines, events.collect::<Vec<_>>().join("\n")).unwrap();
    let (lines, topic) = (lines.display().to_string(), "public.scripts.v1");
    let published = weir(&first, &["publish", &lines, "--topic", topic, "--json"]);
    json(&published).unwrap();
    for place in [&first, &second] {
        wait::until("all letters", SETTLE, || {
            let listed = json(&list(place))?;
            let letters = listed["letters"].as_array().into_iter().flatten();
            let dead = letters.filter(|one| one["status"] == "dead").count();
            anyhow::ensure!(dead == KEYS, "{dead} are dead");
            Ok(Some(()))
        })
        .unwrap();
    }

    // Nobody named, and the host's own certificate in the place of who vouches for it.
    let mut b = b;
    for wrong in [None, Some(file("cert.pem"))] {
        assert!(b.drain().unwrap().success(), "{}", second.end_of_log());
        let place = place(&fleet, "b", wrong.as_deref());
        b = place.spawn().unwrap();
        settle(&place);
        let refused = list(&place);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        let told = ["http.peer_ca", "trust"];
        let is_told = told.into_iter().all(|word| why.contains(word));
        assert!(!refused.status.success() && is_told, "{wrong:?}: {why}");
        assert!(!why.contains("--ca"), "{why}");
    }
    drop((a, b));
}
