//! The whole promise at once: three hosts, a load that does not stop, and everything that happens to a fleet.

use tempfile::TempDir;
use weir_tests::host::{self, Place};
use weir_tests::kafka::chaos::{self, Disturbance, Plan, Size};
use weir_tests::kafka::{self, Cluster, Missing};

use super::PARTITIONS;
use crate::fixture::{root, skip};

const PLAN: Plan = Plan::These(&[
    Disturbance::Kill,
    Disturbance::Freeze,
    Disturbance::Bounce,
    Disturbance::Roll,
]);
/// As much as the share of two slow cores bears, with a round of all keys at the end; `cargo xtask chaos --kafka` has ten times
/// the events.
const SIZE: Size = Size {
    keys: 20_000,
    events: 20_000,
    events_per_s: 500,
};
const SEED: u64 = 11;

#[test]
fn every_event_has_its_effect_once_and_in_order_while_hosts_and_broker_die_freeze_and_roll() {
    let libraries = match kafka::libraries(root()) {
        Ok(libraries) => libraries,
        Err(Missing(why)) => return skip("the proof of a fleet", &format!("no Kafka: {why}")),
    };
    let folder = TempDir::with_prefix("weir-kafka-").unwrap();
    let mut cluster = Cluster::start_one(&libraries, folder.path()).unwrap();
    let handlers = host::handlers(root(), &["scripted"]).unwrap();
    let config = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap());
    let place = |name: &str| {
        let home = folder.path().join(name);
        let binary = host::binary().unwrap();
        Place::in_environment(&binary, &home, &handlers, "proof", &config).unwrap()
    };
    let fleet = chaos::Fleet {
        cluster: &mut cluster,
        places: &["a", "b", "c"].map(place),
        orders: "proof.local.public.scripts.v1",
        deeds: "proof.local.public.deeds.v1",
        letters: "dlq.weir.proof.default.scripted.proof.local.public.scripts.v1",
        partitions: PARTITIONS,
    };
    let report = chaos::run(fleet, PLAN, SIZE, SEED, |progress| {
        eprintln!("{progress:?}");
    });
    let report = report.unwrap_or_else(|error| {
        let kept = folder.keep();
        panic!("{error:#}\nthe hosts' logs are in {}", kept.display());
    });
    eprintln!("{report}");
    assert!(report.events() >= SIZE.events, "{report:?}");
    for (what, count) in report.done() {
        assert!(count > 0, "{what}: {report:?}");
    }
    assert!(report.dropped() > 0, "{report:?}");
}
