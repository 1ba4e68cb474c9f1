//! Records of others that are no events, and what becomes of them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;

use weir_tests::wait;

use super::{Broker, Fleet, SETTLE, alarm, broker};

/// What a foreign producer wrote, as Kafka's own console writes it: headers, key, value.
const FOREIGN: [&str; 3] = [
    "h:one,h:two\tkey-1\tnot an event",
    "content-type:application/json\tkey-2\t{\"id\": 1}",
    "ce_specversion:1.0,ce_id:x\tkey-3\tno source and no type",
];

#[test]
fn a_record_that_is_no_event_dies_byte_for_byte() {
    let Some(broker) = broker("dead letters of foreign records") else {
        return;
    };
    let fleet = Fleet::new(&broker, "foreign");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");

    produce(&broker, invoices, &FOREIGN);
    wait::until("three dead letters", SETTLE, || {
        Ok((host.client().fate("billing", "dead")? == 3).then_some(()))
    })
    .unwrap();
    let letters = format!("dlq.weir.foreign.default.billing.{invoices}");
    let originals = read(&broker, invoices, 3);
    let dead = read(&broker, &letters, 3);
    assert_eq!(
        (originals.len(), dead.len()),
        (3, 3),
        "{originals:?} {dead:?}"
    );
    for original in &originals {
        // Partition, headers, key and value, between tabs; a letter's own headers follow the original's.
        let parts: Vec<_> = original.split('\t').collect();
        let [partition, headers, key, value] = parts[..] else {
            panic!("{original:?} has no four parts");
        };
        let (start, end) = (
            format!("{partition}\t{headers},__dlq.errors."),
            format!("\t{key}\t{value}"),
        );
        let found = dead
            .iter()
            .filter(|letter| letter.starts_with(&start) && letter.ends_with(&end));
        assert_eq!(found.count(), 1, "{original:?} in {dead:?}");
    }
}

/// The topic for letters takes less than the original has: the letter has nowhere to go, and is not dropped.
#[test]
fn a_letter_that_is_too_large_for_its_topic_holds_its_partition_until_the_topic_takes_it() {
    let Some(broker) = broker("a letter that is too large for its topic") else {
        return;
    };
    let fleet = Fleet::new(&broker, "oversize");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let letters = format!("dlq.weir.oversize.default.billing.{invoices}");
    let take = |bytes: u32| take(&fleet, &letters, bytes);
    take(2_000);
    let record = format!("h:one\tkey\t{}", "x".repeat(4_000));
    produce(&broker, invoices, &[&record]);
    let said = alarm(&host, "dead-letter-stopped");
    assert!(said.contains("record-too-large"), "{said}");
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);
    assert_eq!(host.client().fate("billing", "dead").unwrap(), 0);

    take(3_000_000);
    wait::until("the letter to be taken", SETTLE, || {
        Ok((host.client().fate("billing", "dead")? == 1).then_some(()))
    })
    .unwrap();
    wait::until("the alarm to be over", SETTLE, || {
        Ok((host.client().get("/readyz")?.status == 200).then_some(()))
    })
    .unwrap();
    assert!(host.drain().unwrap().success());

    take(2_000);
    let host = place.spawn().unwrap();
    let said = alarm(&host, "handler-stopped");
    assert!(
        said.contains("takes records of 2000 bytes at most"),
        "{said}"
    );
}

/// Kafka has no limit to headers, and its client in C has.
#[test]
fn a_record_whose_headers_are_not_read_dies_and_says_so() {
    let Some(broker) = broker("a record of more headers than are read") else {
        return;
    };
    let fleet = Fleet::new(&broker, "headers");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let headers = vec!["h:1"; 100_001].join(",");
    produce(&broker, invoices, &[&format!("{headers}\tkey-1\tmany")]);
    wait::until("a dead letter", SETTLE, || {
        Ok((host.client().fate("billing", "dead")? == 1).then_some(()))
    })
    .unwrap();
    let letters = format!("dlq.weir.headers.default.billing.{invoices}");
    let dead = read(&broker, &letters, 1);
    let letter = dead.first().unwrap();
    assert!(letter.ends_with("\tkey-1\tmany"), "{letter}");
    for said in [
        "\tweir.unread-headers:",
        "__dlq.errors.message:its headers cannot be read, and its letter has none of them",
        "weir.dlq.stage:decode",
        "weir.dlq.code:unread-headers",
    ] {
        assert!(letter.contains(said), "no {said:?} in {letter}");
    }
}

/// From here on the topic takes batches of so many bytes.
pub(super) fn take(fleet: &Fleet, topic: &str, bytes: u32) {
    fleet.alter(topic, &format!("max.message.bytes={bytes}"));
}

/// Writes these lines (headers, key and value between tabs) with Kafka's own console, compressed.
pub(super) fn produce(broker: &Broker, topic: &str, lines: &[&str]) {
    let bootstrap = broker.cluster.bootstrap();
    let mut command = broker
        .cluster
        .tool("org.apache.kafka.tools.ConsoleProducer");
    command.args(["--bootstrap-server", &bootstrap, "--topic", topic]);
    command.args(["--compression-codec", "zstd"]);
    // Of a record as it is before that.
    command.args(["--command-property", "max.request.size=16777216"]);
    for property in ["parse.key=true", "parse.headers=true"] {
        command.args(["--reader-property", property]);
    }
    let console = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut console = console.unwrap();
    let mut input = console.stdin.take().unwrap();
    writeln!(input, "{}", lines.join("\n")).unwrap();
    drop(input);
    assert!(console.wait().unwrap().success());
}

/// So many records as Kafka's own console shows them: partition, headers, key and value, between tabs.
pub(super) fn read(broker: &Broker, topic: &str, count: usize) -> BTreeSet<String> {
    let bootstrap = broker.cluster.bootstrap();
    let mut command = broker
        .cluster
        .tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &bootstrap, "--topic", topic]);
    let count = count.to_string();
    command.args(["--from-beginning", "--max-messages", &count]);
    command.args(["--timeout-ms", "60000"]);
    command.args(["--isolation-level", "read_committed"]);
    for property in [
        "print.key=true",
        "print.headers=true",
        "print.partition=true",
    ] {
        command.args(["--formatter-property", property]);
    }
    let output = command.stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}
