//! A host that is drained is not expected back: others have its partitions at once, and not when its session has ended.

use std::sync::Arc;

use serde_json::Value;
use weir_tests::host::Place;
use weir_tests::publisher::Publisher;
use weir_tests::purchases;
use weir_tests::wait;

use super::{Fleet, SETTLE, assert_totals, broker};
use crate::fixture::{self, root};

pub(super) const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const HANDLERS: [&str; 2] = ["billing", "notification"];

#[test]
fn a_drained_host_has_left_its_groups_when_that_is_answered_and_others_do_its_work() {
    let Some(broker) = broker("a drained host") else {
        return;
    };
    let fleet = Fleet::new(&broker, "drained");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let half = lines.len() / 2;
    let (first, second) = (fleet.place("a", &HANDLERS), fleet.place("b", &HANDLERS));
    let stays = first.start().unwrap();
    let leaves = second.start().unwrap();
    fleet.settle(&[&stays, &leaves]);

    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(first.client(), invoices, Arc::new(lines), 64);
    publisher.wait_for(half).unwrap();
    let said = drain(&second);
    assert_eq!(said["finished"], true, "{said}");
    assert_eq!(
        (&said["was_drained"], &said["others"]),
        (&Value::Bool(false), &Value::from(1))
    );
    let left = said["handlers"].as_array().unwrap().iter();
    let left: Vec<_> = left.map(|one| (&one["handler"], &one["left"])).collect();
    let yes = &Value::Bool(true);
    assert_eq!(
        left,
        [(&"billing".into(), yes), (&"notification".into(), yes)]
    );
    // Its process is there and its session is young: only who has left is no member.
    for handler in HANDLERS {
        let members = members(&fleet, handler);
        assert!(members.contains("weir-"), "{members}");
        let own = said["host_id"].as_str().unwrap();
        assert!(!members.contains(own), "{members}");
    }
    publisher.finish().unwrap();
    fleet.settle(&[&stays]);
    assert_totals(&stays, &fleet, &right);

    let ready = leaves.client().get("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("drained"), "{}", ready.body);
    assert_eq!(leaves.client().get("/livez").unwrap().status, 200);
    assert_eq!(drain(&second)["was_drained"], true);
    assert!(leaves.drain().unwrap().success(), "{}", second.end_of_log());

    let back = second.start().unwrap();
    wait::until("it to have partitions again", SETTLE, || {
        let status = back.client().status()?;
        let partitions = status["handlers"][0]["partitions"].as_u64();
        Ok(partitions.filter(|partitions| (1..12).contains(partitions)))
    })
    .unwrap();
    fleet.settle(&[&stays, &back]);
}

/// What `weir drain` answers.
pub(super) fn drain(place: &Place) -> Value {
    let url = place.client().url();
    let output = place.weir(&["drain", "--json", "--url", &url]).output();
    fixture::json(&output.unwrap()).unwrap()
}

/// Who is in a handler's group, in Kafka's words.
pub(super) fn members(fleet: &Fleet, handler: &str) -> String {
    fleet.describe(handler, "--members")
}

impl Fleet {
    /// This of a handler's group, in Kafka's words.
    pub(super) fn describe(&self, handler: &str, what: &str) -> String {
        let group = format!("weir.{}.default.{handler}", self.environment);
        let cluster = &self.broker.cluster;
        let mut command = cluster.tool(GROUPS);
        command.args(["--bootstrap-server", &cluster.bootstrap()]);
        let arguments = ["--describe", what, "--group", &group];
        let output = command.args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}
