//! A cluster that lets in who knows a password, over TLS, and takes records in zstd.

use std::collections::BTreeSet;

use tempfile::TempDir;
use weir_tests::host::{self, Place};
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::{purchases, wait};

use super::SETTLE;
use crate::fixture::{root, skip};

const USER: &str = "weir";
const PASSWORD: &str = "a-long-word";
const EVENTS: usize = 300;

#[test]
fn a_fleet_works_over_tls_with_a_scram_password_and_zstd_and_not_with_another_password() {
    let libraries = match kafka::libraries(root()) {
        Ok(libraries) => libraries,
        Err(Missing(why)) => return skip("TLS, SCRAM and zstd", &format!("no Kafka: {why}")),
    };
    let folder = TempDir::with_prefix("weir-kafka-").unwrap();
    let (cluster, secured) =
        Cluster::start_secured(&libraries, folder.path(), USER, PASSWORD).unwrap();
    let place = |name: &str, password: &str| {
        let config = format!(
            "[kafka]\nbootstrap = \"{}\"\n[kafka.settings]\n\"security.protocol\" = \"SASL_SSL\"\n\
             \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\"sasl.username\" = \"{USER}\"\n\
             \"sasl.password\" = \"{password}\"\n\"ssl.ca.location\" = {:?}\n\
             \"compression.type\" = \"zstd\"\n",
            secured.bootstrap, secured.ca
        );
        let handlers = host::handlers(root(), &["billing"]).unwrap();
        let (binary, home) = (host::binary().unwrap(), folder.path().join(name));
        Place::in_environment(&binary, &home, &handlers, "secure", &config).unwrap()
    };
    let place_of_a_stranger = place("stranger", "guessed");
    let stranger = place_of_a_stranger.spawn().unwrap();

    let known = place("known", PASSWORD);
    let host = known.start().unwrap();
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(EVENTS);
    let invoices = "secure.local.public.invoices.v1";
    let answer = host.client().publish(invoices, &lines).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
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

    let ended = wait::until("the stranger to be turned away", SETTLE, || {
        let log = std::fs::read_to_string(place_of_a_stranger.log())?;
        Ok(log.contains("no broker answers").then_some(()))
    });
    ended.unwrap();
    drop(stranger);
}
