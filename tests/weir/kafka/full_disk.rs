//! A host whose disk is full, which has only copies there.

use std::fs;
use std::time::Duration;

use serde_json::json;
use weir_tests::wait;

use super::{Fleet, alarm, broker, orders, publish, wait_for_fates};
use crate::damage::{Mount, fill};

/// A write that fails would end it after the commit, and each host that takes over from it by its id.
#[test]
fn a_host_whose_disk_is_full_commits_nothing_and_goes_on_by_itself_when_there_is_room() {
    const TEST: &str = "a full disk under copies";
    let Some(broker) = broker(TEST) else {
        return;
    };
    let fleet = Fleet::new(&broker, "full");
    let scripts = fleet.topic("public.scripts.v1");
    let place = fleet.place("a", &["scripted"]);
    let disk = place.data();
    let Some(_mount) = Mount::small(TEST, &disk) else {
        return;
    };
    let mut host = place.start().unwrap();
    publish(&host, scripts, &orders("before", 100));
    wait_for_fates(&host, "scripted", &json!({"handled": 100}));

    let filler = disk.join("filler");
    fill(&filler);
    // What was said of the disk before counts for a tenth of a second.
    wait::pause(Duration::from_secs(1));
    publish(&host, scripts, &orders("after", 100));
    let said = alarm(&host, "commit-failing");
    assert!(said.contains("too little to commit"), "{said}");
    assert_eq!(host.ended().unwrap(), None, "{}", place.end_of_log());
    assert_eq!(host.client().fate("scripted", "handled").unwrap(), 100);

    fs::remove_file(filler).unwrap();
    wait_for_fates(&host, "scripted", &json!({"handled": 200}));
    assert!(host.drain().unwrap().success());
}
