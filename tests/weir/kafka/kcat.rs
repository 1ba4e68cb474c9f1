//! kcat, a program that has nothing of ours, reads what Weir writes and writes what Weir reads.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::wait;

use super::{Broker, Fleet, SETTLE, broker};
use crate::fixture::skip;

/// Debian's package `kcat`.
pub(super) struct Kcat {
    bootstrap: String,
    /// For librdkafka, each `name=value`.
    settings: Vec<String>,
    folder: TempDir,
}

/// None where it is not installed, which is said.
pub(super) fn kcat(test: &str, broker: &Broker) -> Option<Kcat> {
    kcat_at(test, broker.cluster.bootstrap(), Vec::new())
}

/// The same for a cluster that is reached there, and so.
pub(super) fn kcat_at(test: &str, bootstrap: String, settings: Vec<String>) -> Option<Kcat> {
    let found = Command::new("kcat")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        skip(test, "no kcat (Debian: `apt-get install kcat`)");
        return None;
    }
    Some(Kcat {
        bootstrap,
        settings,
        folder: TempDir::with_prefix("weir-kcat-").unwrap(),
    })
}

impl Kcat {
    /// Writes one record; a header without `=` has no value, a record of no value is a tombstone.
    pub(super) fn write(&self, topic: &str, key: &str, headers: &[&str], value: Option<&[u8]>) {
        let file: PathBuf = self.folder.path().join("value");
        let mut command = self.command(&["-P", "-t", topic]);
        // As Java places a key.
        command.args(["-X", "topic.partitioner=murmur2_random"]);
        for header in headers {
            command.args(["-H", header]);
        }
        // A file is one value whatever is in it; none at all is a line that ends with its key.
        match value {
            Some(value) => {
                std::fs::write(&file, value).unwrap();
                command.args(["-k", key]).arg(&file);
            }
            None => {
                std::fs::write(&file, format!("{key}|\n")).unwrap();
                let line = std::fs::File::open(&file).unwrap();
                command.args(["-Z", "-K", "|"]).stdin(line);
            }
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    }

    /// What a topic holds once it has so many records, as kcat tells them in JSON: what is no text reads as U+FFFD.
    pub(super) fn read(&self, topic: &str, count: usize) -> Vec<Value> {
        self.wait_for(topic, count, &["-J"])
            .iter()
            .map(|line| serde_json::from_str(&String::from_utf8_lossy(line)).unwrap())
            .collect()
    }

    /// The same byte for byte: partition, lengths and bytes of key and value, headers.
    pub(super) fn read_bytes(&self, topic: &str, count: usize) -> Vec<Vec<u8>> {
        self.wait_for(topic, count, &["-f", "%p %K %k %S %s %h\n"])
    }

    /// Joins a group as one of its members, for a topic and with this protocol.
    pub(super) fn join(&self, group: &str, topic: &str, protocol: &str) -> Child {
        let protocol = format!("partition.assignment.strategy={protocol}");
        let mut command = self.command(&["-X", &protocol, "-G", group, topic]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn wait_for(&self, topic: &str, count: usize, format: &[&str]) -> Vec<Vec<u8>> {
        wait::until(&format!("{count} records in {topic}"), SETTLE, || {
            let mut command = self.command(&["-C", "-t", topic, "-o", "beginning", "-e"]);
            command.args(["-X", "isolation.level=read_committed"]);
            let output = command.args(format).stderr(Stdio::null()).output()?;
            let lines = output.stdout.split(|byte| *byte == b'\n');
            let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
            anyhow::ensure!(lines.len() <= count, "{} records", lines.len());
            let all = lines.len() == count;
            Ok(all.then(|| lines.into_iter().map(<[u8]>::to_vec).collect()))
        })
        .unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kcat");
        command
            .args(["-q", "-b", &self.bootstrap])
            .args(self.settings.iter().flat_map(|setting| ["-X", setting]))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

/// The value of a header as kcat tells it: names and values in one list.
pub(super) fn header<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    let headers = record["headers"].as_array()?;
    let pairs = headers.as_chunks::<2>().0;
    let [_, value] = pairs.iter().find(|[known, _]| known == name)?;
    value.as_str()
}

#[test]
fn what_kcat_writes_in_either_mode_is_handled_and_what_is_emitted_kcat_reads() {
    let Some(broker) = broker("events of kcat") else {
        return;
    };
    let Some(kcat) = kcat("events of kcat", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "kcat");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let data = |id: &str| json!({ "invoiceId": id, "customerId": "c-1", "quantity": 1, "amount": "7.50", "currency": "USD" });
    let binary = [
        "ce_specversion=1.0",
        "ce_id=i-1",
        "ce_source=/kcat",
        "ce_type=InvoiceCreated",
        "ce_subject",
        "content-type=application/json",
    ];
    kcat.write(
        invoices,
        "c-1",
        &binary,
        Some(data("i-1").to_string().as_bytes()),
    );
    let structured = json!({
        "specversion": "1.0", "id": "i-2", "source": "/kcat", "type": "InvoiceCreated",
        "data": data("i-2"),
    });
    kcat.write(
        invoices,
        "c-1",
        &["content-type=application/cloudevents+json; charset=UTF-8"],
        Some(structured.to_string().as_bytes()),
    );
    let payments = kcat.read(fleet.topic("public.payments.v1"), 2);
    for (payment, id) in payments.iter().zip(["i-1", "i-2"]) {
        assert_eq!(payment["key"], "c-1", "{payment}");
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_source", "/weir/billing"),
            ("ce_causationid", id),
            ("ce_partitionkey", "c-1"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(header(payment, name), Some(value), "{payment}");
        }
        let data: Value = serde_json::from_str(payment["payload"].as_str().unwrap()).unwrap();
        assert_eq!(data["invoiceId"], id, "{data}");
    }
    drop(host);
}

/// Bytes that are no text, keys and headers that are empty, headers without a value, and names that are no UTF-8 beside
/// them: nothing of it stops the reader, and the letter has all of it.
#[test]
fn the_letter_of_a_hostile_record_is_the_record_byte_for_byte() {
    let Some(broker) = broker("letters of hostile records") else {
        return;
    };
    let Some(kcat) = kcat("letters of hostile records", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "hostile");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let large = format!("large={}", "x".repeat(100_000));
    kcat.write(
        invoices,
        "k-1",
        &["null", "empty=", "h=1", "h=2"],
        Some(b"\x00\xff\xfe\x00"),
    );
    kcat.write(
        invoices,
        "",
        &["__dlq.errors.topic=forged", "weir.dlq.id"],
        Some(b"v"),
    );
    kcat.write(invoices, "k-3", &[&large], Some(b"{"));
    kcat.write(invoices, "k-4", &["ce_id=1", "ce_id=2"], Some(b"twice"));
    let file = kcat.folder.path().join("value");
    std::fs::write(&file, "no key").unwrap();
    let mut command = kcat.command(&["-P", "-t", invoices, "-H", "h=1"]);
    assert!(command.arg(&file).status().unwrap().success());

    wait::until("five dead letters", SETTLE, || {
        Ok((host.client().fate("billing", "dead")? == 5).then_some(()))
    })
    .unwrap();
    let letters = format!("dlq.weir.hostile.default.billing.{invoices}");
    let (originals, dead) = (kcat.read_bytes(invoices, 5), kcat.read_bytes(&letters, 5));
    // What has no key has a length below that of an empty one.
    for records in [&originals, &dead] {
        let has_none = |record: &&Vec<u8>| record.split(|byte| *byte == b' ').nth(1) == Some(b"-1");
        assert_eq!(records.iter().filter(has_none).count(), 1);
    }
    for original in &originals {
        let with_more = [original, b",__dlq.errors.topic=".as_slice()].concat();
        let found = dead.iter().filter(|letter| letter.starts_with(&with_more));
        assert_eq!(found.count(), 1, "{}", String::from_utf8_lossy(original));
    }
    // Not told in a line of text from an empty one.
    let nulls = [kcat.read(invoices, 5), kcat.read(&letters, 5)].map(|records| {
        let of_first = records.into_iter().find(|record| record["key"] == "k-1");
        of_first.unwrap()["headers"].as_array().unwrap()[..4].to_vec()
    });
    assert_eq!(
        nulls[0],
        [json!("null"), Value::Null, json!("empty"), json!("")]
    );
    assert_eq!(nulls[0], nulls[1]);

    // A name that is no UTF-8 is no argument of this program, but of kcat.
    std::fs::write(&file, "v").unwrap();
    let name = OsString::from_vec(b"\xff\xfe=1".to_vec());
    let mut command = kcat.command(&["-P", "-t", invoices, "-k", "k-5", "-H"]);
    assert!(command.arg(name).arg(&file).status().unwrap().success());
    wait::until("the sixth", SETTLE, || {
        Ok((host.client().fate("billing", "dead")? == 6).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_tombstone_that_is_not_mapped_is_skipped_and_counted() {
    let Some(broker) = broker("a tombstone") else {
        return;
    };
    let Some(kcat) = kcat("a tombstone", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "tombstone");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    kcat.write(fleet.topic("public.invoices.v1"), "k", &["h=1"], None);
    wait::until("the tombstone to be skipped", SETTLE, || {
        let client = host.client();
        assert_eq!(client.fate("billing", "dead")?, 0);
        Ok((client.fate("billing", "skipped")? == 1).then_some(()))
    })
    .unwrap();
}
