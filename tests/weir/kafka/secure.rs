//! A cluster that lets in who knows a password, over TLS, and takes records in zstd.

use std::collections::BTreeSet;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::host::{self, Place};
use weir_tests::kafka::secure::Secured;
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::{purchases, wait};

use super::SETTLE;
use super::kcat::{header, kcat_at};
use crate::fixture::{root, skip};

const USER: &str = "weir";
const PASSWORD: &str = "a-long-word";
const SCRAM: &str = "SCRAM-SHA-512";
const PLAIN: &str = "PLAIN";
const EVENTS: usize = 300;

#[test]
fn a_fleet_works_over_tls_with_a_password_by_scram_or_plain_and_zstd_and_not_with_another_password()
{
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
    for (place, stranger) in strangers {
        wait::until("the stranger to be turned away", SETTLE, || {
            let log = std::fs::read_to_string(place.log())?;
            Ok(log.contains("no broker answers").then_some(()))
        })
        .unwrap();
        drop(stranger);
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
