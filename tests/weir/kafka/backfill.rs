//! Records of another time: a mark stays in the inbox for a day on both clocks.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use weir_tests::host::{Host, Place};
use weir_tests::wait;

use super::{Fleet, SETTLE, broker};

const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const BEFORE: u64 = 200;
const BACKFILL: u64 = 1_000;
/// What that producer writes is a key and a number; the key is the event.
const MAPPING: &str = r#"
[mapping]
type = { text = "Fact" }
source = { text = "/facts" }
id = { record = "key" }
"#;

/// A host with the handler `audit`, which reads what the producer writes.
fn place(fleet: &Fleet) -> Place {
    let handler = fleet.handler("audit", "audit", |manifest| {
        let (head, topics) = manifest.split_once("topics = [").unwrap();
        let (_, tail) = topics.split_once(']').unwrap();
        format!("{head}topics = [\"public.facts.v1\"]{tail}{MAPPING}")
    });
    fleet.place_with("a", &[handler], "")
}

/// Writes a record for each of the first so many keys. That producer's clock runs ahead, by an hour within seconds; a broker
/// refuses what is of the future.
fn produce(fleet: &Fleet, topic: &str, keys: u64, since: SystemTime) {
    let cluster = &fleet.broker.cluster;
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut command = cluster.tool(PRODUCER);
    command.args(["--bootstrap-server", &cluster.bootstrap(), "--topic", topic]);
    command.args(["--acks", "-1", "--max-messages", &keys.to_string()]);
    command.args(["--repeating-keys", &keys.to_string()]);
    command.args(["--message-create-time", &since.as_millis().to_string()]);
    let produced = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(produced.unwrap().success());
}

#[expect(clippy::disallowed_methods, reason = "what others write says when")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Stream time follows the records: taken from each as it comes, last year's would drop all of today's marks, or be dropped
/// themselves as soon as they are there. After the restart the marks are those of the ledger.
#[test]
fn a_backfill_of_last_years_records_leaves_the_marks_of_what_came_before_it() {
    let Some(broker) = broker("a backfill") else {
        return;
    };
    let fleet = Fleet::new(&broker, "backfill");
    let facts = fleet.topic("public.facts.v1");
    let place = place(&fleet);
    let mut host = place.start().unwrap();
    let fates = |host: &Host, right: [u64; 2]| {
        wait::until(&format!("{right:?} handled and dropped"), SETTLE, || {
            let client = host.client();
            let found = ["handled", "duplicate"].map(|fate| client.fate("audit", fate));
            let [handled, dropped] = found;
            let found = [handled?, dropped?];
            anyhow::ensure!(found[0] <= right[0], "{found:?}");
            Ok((found == right).then_some(()))
        })
        .unwrap();
    };
    let today = || now() - 6 * HOUR;
    produce(&fleet, facts, BEFORE, today());
    fates(&host, [BEFORE, 0]);
    // The first of them are repeats of what came before.
    produce(&fleet, facts, BACKFILL, now() - YEAR);
    fates(&host, [BACKFILL, BEFORE]);
    produce(&fleet, facts, BEFORE, today());
    fates(&host, [BACKFILL, 2 * BEFORE]);

    assert!(host.drain().unwrap().success());
    host = place.start().unwrap();
    produce(&fleet, facts, BACKFILL, now() - YEAR);
    fates(&host, [0, BACKFILL]);
    produce(&fleet, facts, BACKFILL, today());
    fates(&host, [0, 2 * BACKFILL]);
}
