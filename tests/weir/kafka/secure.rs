//! A cluster that lets in who knows a password, over TLS, to do what its ACLs say, and takes records in zstd.

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::host::{self, Host, Place};
use weir_tests::kafka::secure::{Right, Secured};
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::{purchases, wait};

use super::kcat::{header, kcat_at};
use super::{PARTITIONS, SETTLE};
use crate::fixture::{root, skip};

const USER: &str = "weir";
const PASSWORD: &str = "a-long-word";
const SCRAM: &str = "SCRAM-SHA-512";
const PLAIN: &str = "PLAIN";
const EVENTS: usize = 300;

/// An ACL of the manual's table of rights, for one environment.
const fn right(
    kind: &'static str,
    (pattern, name): (&'static str, &'static str),
    operations: &'static [&'static str],
) -> Right<'static> {
    Right {
        kind,
        name,
        pattern,
        operations,
    }
}

/// Those of docs/kafka.md, and nothing else.
const RIGHTS: [Right<'_>; 9] = [
    right(
        "topic",
        ("literal", "secure.local.public.invoices.v1"),
        // Written by who publishes.
        &["Read", "Write", "Create"],
    ),
    right(
        "topic",
        ("literal", "secure.local.public.payments.v1"),
        // Read by who looks at them with `weir tail`.
        &["Read", "Write", "Create"],
    ),
    right(
        "topic",
        ("prefixed", "_weir.weir.secure."),
        &["Read", "Write", "DescribeConfigs", "Create"],
    ),
    right(
        "topic",
        ("prefixed", "dlq.weir.secure."),
        &["Read", "Write", "DescribeConfigs", "Create"],
    ),
    right(
        "topic",
        ("literal", "_weir.secure.control"),
        &["Read", "Write", "DescribeConfigs", "Create"],
    ),
    right("group", ("prefixed", "weir.secure."), &["Read"]),
    right("group", ("prefixed", "weir-reader-"), &["Describe"]),
    right("transactional-id", ("prefixed", "weir.secure."), &["Write"]),
    right("cluster", ("literal", ""), &["DescribeConfigs"]),
];

#[test]
fn a_fleet_works_over_tls_by_scram_or_plain_with_the_rights_of_the_manual_and_not_without() {
    let libraries = match kafka::libraries(root()) {
        Ok(libraries) => libraries,
        Err(Missing(why)) => {
            return skip("TLS, SCRAM, PLAIN and zstd", &format!("no Kafka: {why}"));
        }
    };
    let folder = TempDir::with_prefix("weir-kafka-").unwrap();
    let (cluster, secured) =
        Cluster::start_secured(&libraries, folder.path(), USER, PASSWORD).unwrap();
    let place = |name: &str, mechanism: &str, password: &str| {
        let config = format!(
            "[kafka]\nbootstrap = \"{}\"\n[kafka.settings]\n\"security.protocol\" = \"SASL_SSL\"\n\
             \"sasl.mechanism\" = \"{mechanism}\"\n\"sasl.username\" = \"{USER}\"\n\
             \"sasl.password\" = \"{password}\"\n\"ssl.ca.location\" = {:?}\n\
             \"compression.type\" = \"zstd\"\n",
            secured.bootstrap, secured.ca
        );
        let handlers = host::handlers(root(), &["billing"]).unwrap();
        let (binary, home) = (host::binary().unwrap(), folder.path().join(name));
        Place::in_environment(&binary, &home, &handlers, "secure", &config).unwrap()
    };
    let strangers = [SCRAM, PLAIN].map(|mechanism| {
        let place = place(&format!("stranger-{mechanism}"), mechanism, "guessed");
        let host = place.spawn().unwrap();
        (place, host)
    });

    let known = [SCRAM, PLAIN].map(|mechanism| place(mechanism, mechanism, PASSWORD));
    let output = known[0].run_command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("lists under \"Rights\""),
        "{said}"
    );
    cluster.allow(USER, &RIGHTS).unwrap();
    let [host, plain] = known.each_ref().map(|place| place.start().unwrap());
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(EVENTS);
    let invoices = "secure.local.public.invoices.v1";
    let (first, second) = lines.split_at(EVENTS / 2);
    for (host, lines) in [(&host, first), (&plain, second)] {
        let answer = host.client().publish(invoices, lines).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let payments = "secure.local.public.payments.v1";
    let right = purchases::totals(&lines).unwrap();
    // How far a topic reaches is known to a host as of a second ago: nothing open may be nothing seen.
    wait::until("the right totals", SETTLE, || {
        let emitted = purchases::emitted(host.client(), payments)?;
        Ok((emitted == right).then_some(()))
    })
    .unwrap();
    for topic in [invoices, payments] {
        let codecs = (0..12).flat_map(|partition| cluster.codecs(topic, partition).unwrap());
        let codecs: BTreeSet<_> = codecs.take(4).collect();
        assert!(codecs.contains("zstd"), "{topic}: {codecs:?}");
    }

    meet_kcat(&cluster, &secured, invoices, payments);
    assert_operable(&known, [host, plain], invoices);
    for (place, stranger) in strangers {
        wait::until("the stranger to be turned away", SETTLE, || {
            let log = std::fs::read_to_string(place.log())?;
            Ok(log.contains("no broker answers").then_some(()))
        })
        .unwrap();
        drop(stranger);
    }
}

/// A dead letter is made and seen, a pause is obeyed by both, and what is left of a host is taken over: all with the rights
/// that there are, of which none was missed.
fn assert_operable(places: &[Place; 2], [host, other]: [Host; 2], invoices: &str) {
    let bad = json!({ "specversion": "1.0", "id": "bad", "source": "/s", "type": "InvoiceCreated", "partitionkey": "bad",
        "data": { "invoiceId": "i", "customerId": "bad", "quantity": 1, "amount": "none", "currency": "USD" } });
    let answer = host.client().publish(invoices, &[bad.to_string()]).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let weir = |host: &Host, command: &[&str]| {
        let url = host.client().url();
        let output = places[0]
            .weir(&[command, &["--url", &url]].concat())
            .output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    wait::until("the letter", SETTLE, || {
        let (_, listed) = weir(&other, &["dlq", "list", "billing"]);
        Ok(listed.contains("bad-amount").then_some(()))
    })
    .unwrap();
    let (paused, said) = weir(&host, &["pause", "billing"]);
    assert!(paused, "{said}");
    wait::until("the other to be paused", SETTLE, || {
        let status = other.client().status()?;
        Ok((status["handlers"][0]["paused"] == true).then_some(()))
    })
    .unwrap();
    let (resumed, said) = weir(&other, &["resume", "billing"]);
    assert!(resumed, "{said}");
    let (drained, said) = weir(&other, &["drain"]);
    assert!(drained, "{said}");
    wait::until("the rest to be taken over", SETTLE, || {
        let status = host.client().status()?;
        Ok((status["handlers"][0]["partitions"] == PARTITIONS).then_some(()))
    })
    .unwrap();
    for host in [host, other] {
        assert!(host.drain().unwrap().success());
    }
    for place in places {
        let log = std::fs::read_to_string(place.log()).unwrap();
        let denied = log
            .lines()
            .find(|line| line.to_lowercase().contains("authoriz"));
        assert_eq!(denied, None);
    }
}

/// What is neither ours nor Java's writes a record in zstd, and reads what came of it.
fn meet_kcat(cluster: &Cluster, secured: &Secured, invoices: &str, payments: &str) {
    let settings = vec![
        "security.protocol=SASL_SSL".to_owned(),
        // librdkafka 2.0.2, which Debian's kcat has, is turned away with the same password by SCRAM.
        format!("sasl.mechanism={PLAIN}"),
        format!("sasl.username={USER}"),
        format!("sasl.password={PASSWORD}"),
        format!("ssl.ca.location={}", secured.ca.display()),
        "compression.codec=zstd".to_owned(),
        // kcat gives up when the first address of `localhost` does not answer, which may be that of version 6.
        "broker.address.family=v4".to_owned(),
    ];
    let test = "records in zstd over TLS by kcat";
    let Some(kcat) = kcat_at(test, secured.bootstrap.clone(), settings) else {
        return;
    };
    // A record that becomes no smaller goes as it is.
    let padding = format!("padding={}", "x".repeat(2_000));
    let headers = [
        "ce_specversion=1.0",
        "ce_id=of-kcat",
        "ce_source=/kcat",
        "ce_type=InvoiceCreated",
        &padding,
    ];
    let data = json!({ "invoiceId": "i", "customerId": "c", "quantity": 1, "amount": "7.50", "currency": "USD" });
    kcat.write(invoices, "c", &headers, Some(data.to_string().as_bytes()));
    let read = |topic: &str, name: &str| {
        let records = kcat.read(topic, EVENTS + 1).into_iter();
        let mut found = records.filter(|record| header(record, name) == Some("of-kcat"));
        found.next().expect("the record of kcat, or of its event")
    };
    let written = read(invoices, "ce_id");
    let partition = u32::try_from(written["partition"].as_u64().unwrap()).unwrap();
    let codecs = cluster.codecs(invoices, partition).unwrap();
    assert_eq!(codecs.last().map(String::as_str), Some("zstd"));
    let payment = read(payments, "ce_causationid");
    assert_eq!(payment["key"], "c", "{payment}");
}
