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
/// What is published while the fleet is disturbed, with a round of all keys at the end; `cargo xtask chaos --kafka` goes on for
/// as long as one likes.
const SIZE: Size = Size {
    keys: 20_000,
    events: 200_000,
    events_per_s: 2_000,
};
const SEED: u64 = 11;
/// What there is to do, of which all is done.
const DEEDS: [&str; 7] = [
    "dead letters",
    "emitted later",
    "failed once",
    "handled at once",
    "parked and released",
    "timers fired",
    "trapped once",
];

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
    let done = report.done();
    assert_eq!(done.keys().copied().collect::<Vec<_>>(), DEEDS);
    for (what, count) in done {
        assert!(count > 0, "{what}: {report:?}");
    }
    // Two hosts end, and four have to.
    assert_eq!(report.suspects(), 0, "{report:?}");
    // One in fifty of the load, drawn at random; of the round of all keys at the end none.
    assert!(report.repeats() * 80 >= report.events(), "{report:?}");
    assert!(report.dropped() >= report.repeats(), "{report:?}");
}
