//! Where a subscription begins, which events it keeps in order, and which it knows again, on the broker's own topics.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};
use weir_tests::host::{self, Host, Place};
use weir_tests::scripted::order;
use weir_tests::wait;

use super::{Fleet, PARTITIONS, SETTLE, broker};
use crate::fixture::root;

/// Half as many partitions as other topics have.
const FEWER: &str = "[[topics]]\nname = \"public.fewer.v1\"\npartitions = 6\n";
const EVENTS: usize = 48;
/// Enough that not all of them come to the same partitions by chance.
const KEYLESS: usize = 8;

impl Fleet {
    /// A handler that is built, under this name and with its manifest changed.
    pub(super) fn handler(
        &self,
        built: &str,
        name: &str,
        change: impl FnOnce(String) -> String,
    ) -> PathBuf {
        let origin = host::handlers(root(), &[built]).unwrap().remove(0);
        let folder = self.folder.path().join("handlers").join(name);
        fs::create_dir_all(&folder).unwrap();
        let component = format!("{built}.wasm");
        fs::copy(origin.join(&component), folder.join(&component)).unwrap();
        let manifest = fs::read_to_string(origin.join("handler.toml")).unwrap();
        let manifest = manifest.replace(
            &format!("name = \"{built}\""),
            &format!("name = \"{name}\""),
        );
        fs::write(folder.join("handler.toml"), change(manifest)).unwrap();
        folder
    }

    /// A place for a host with the handlers of these folders; `config` goes to the end of its configuration.
    pub(super) fn place_with(&self, name: &str, handlers: &[PathBuf], config: &str) -> Place {
        let bootstrap = self.broker.cluster.bootstrap();
        let config = format!("[kafka]\nbootstrap = \"{bootstrap}\"\n{config}");
        let home = self.folder.path().join(name);
        let binary = host::binary().unwrap();
        Place::in_environment(&binary, &home, handlers, self.environment, &config).unwrap()
    }
}

/// The manifest of a fixture that reads these topics in place of its own.
pub(super) fn reading(manifest: &str, topics: &[&str]) -> String {
    let own = "topics = [\"public.scripts.v1\"]";
    assert!(manifest.contains(own), "{manifest}");
    manifest.replace(own, &format!("topics = {topics:?}"))
}

pub(super) fn publish(host: &Host, topic: &str, events: &[String]) {
    wait::until("the events to be taken", SETTLE, || {
        let answer = host.client().publish(topic, events)?;
        anyhow::ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        Ok(Some(()))
    })
    .unwrap();
}

/// Orders to do nothing but tell it, of keys all over the topic.
pub(super) fn orders(prefix: &str, count: usize) -> Vec<String> {
    let orders = (0..count).map(|n| order(&format!("{prefix}-{n}"), &format!("k-{n}"), &json!({})));
    orders.collect()
}

/// Waits until a handler serves all partitions and has given these fates to events since the host started, and no other.
pub(super) fn wait_for_fates(host: &Host, handler: &str, wanted: &Value) {
    wait::until(&format!("{handler}: {wanted}"), SETTLE, || {
        let status = host.client().status()?;
        let mut all = status["handlers"].as_array().into_iter().flatten();
        let entry = all.find(|entry| entry["name"] == handler);
        let entry = entry.with_context(|| format!("no {handler} in {status}"))?;
        let mut fates = entry["fates"].clone();
        if let Some(fates) = fates.as_object_mut() {
            fates.retain(|_, count| *count != 0);
        }
        let serves = entry["partitions"] == PARTITIONS && entry["state"] == "ready";
        anyhow::ensure!(
            serves && fates == *wanted,
            "{entry}, alarms {}",
            status["alarms"]
        );
        Ok(Some(()))
    })
    .unwrap();
}

/// The events that made a handler emit, each as often as it did.
fn causes(host: &Host, fleet: &Fleet, handler: &str) -> Vec<String> {
    let mut causes = Vec::new();
    let source = format!("/weir/{handler}");
    let told = host
        .client()
        .each_event(fleet.topic("public.deeds.v1"), |record| {
            let event = &record["event"];
            if event["source"] == source {
                causes.push(
                    event["causationid"]
                        .as_str()
                        .context("no cause")?
                        .to_owned(),
                );
            }
            Ok(())
        });
    told.unwrap();
    causes.sort();
    causes
}

/// The ids of events, as [`causes`] has them.
fn ids(events: &[&[String]]) -> Vec<String> {
    let id = |event: &String| {
        let event: Value = serde_json::from_str(event).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    let mut ids: Vec<_> = events.concat().iter().map(id).collect();
    ids.sort();
    ids
}

/// Until its first event a subscription has nothing but its start: one that is not committed with it would move on to what
/// is the latest when the host comes back, over all that was published meanwhile.
#[test]
fn a_new_subscription_starts_where_its_manifest_says_and_is_there_after_a_kill_before_its_first_event()
 {
    let Some(broker) = broker("the start of a subscription") else {
        return;
    };
    let fleet = Fleet::new(&broker, "starts");
    let made = "[[topics]]\nname = \"public.scripts.v1\"\npartitions = 12\n";
    let publisher = fleet.place_with("publisher", &[], made).start().unwrap();
    let scripts = fleet.topic("public.scripts.v1");
    let [before, after] = ["before", "after"].map(|prefix| orders(prefix, EVENTS));
    publish(&publisher, scripts, &before);

    let latest = fleet.handler("stateless", "latest", |manifest| {
        manifest.replace("[subscribe]\n", "[subscribe]\nfrom = \"latest\"\n")
    });
    let earliest = fleet.handler("stateless", "earliest", |manifest| manifest);
    let place = fleet.place_with("a", &[latest, earliest], "");
    let host = place.start().unwrap();
    wait_for_fates(&host, "earliest", &json!({ "handled": EVENTS }));
    wait_for_fates(&host, "latest", &json!({}));
    host.kill().unwrap();

    publish(&publisher, scripts, &after);
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
    assert_eq!(causes(&host, &fleet, "latest"), ids(&[&after]));
    assert_eq!(causes(&host, &fleet, "earliest"), ids(&[&before, &after]));
}

/// An event that waits for its next attempt holds up those behind it of its key: in its own topic, and in others where it
/// is asked for.
#[test]
fn a_key_waits_over_topics_where_that_is_asked_for_and_then_only_over_equal_partition_counts() {
    let Some(broker) = broker("a key in two topics") else {
        return;
    };
    let fleet = Fleet::new(&broker, "across");
    let over = |manifest: &str, more: &str| {
        let manifest = manifest.replace("long_ms = [200]", "long_ms = [600_000]");
        reading(&manifest, &["public.scripts.v1", more])
    };
    let joining = "ordering = { across_topics = true }\n";
    let apart = fleet.handler("stateless", "apart", |manifest| {
        over(&manifest, "public.fewer.v1")
    });
    let joined = fleet.handler("stateless", "joined", |manifest| {
        format!("{joining}{}", over(&manifest, "public.equal.v1"))
    });
    let place = fleet.place_with("a", &[apart, joined], FEWER);
    let host = place.start().unwrap();
    let of_key = |id: &str, attempts: u32| order(id, "k", &json!({ "attempts": attempts }));
    let scripts = fleet.topic("public.scripts.v1");
    publish(
        &host,
        scripts,
        &[of_key("fails", 1_000), of_key("waits", 0)],
    );
    for handler in ["apart", "joined"] {
        wait_for_fates(&host, handler, &json!({ "parked": 2 }));
    }
    for topic in ["public.fewer.v1", "public.equal.v1"] {
        publish(&host, fleet.topic(topic), &[of_key("other", 0)]);
    }
    wait_for_fates(&host, "apart", &json!({ "parked": 2, "handled": 1 }));
    wait_for_fates(&host, "joined", &json!({ "parked": 3 }));
    drop(host);

    // By what the broker has, as nothing of it is written here.
    let uneven = fleet.handler("stateless", "uneven", |manifest| {
        format!("{joining}{}", over(&manifest, "public.fewer.v1"))
    });
    let stateful = fleet.handler("scripted", "stateful", |manifest| {
        over(&manifest, "public.fewer.v1")
    });
    let place = fleet.place_with("b", &[uneven, stateful], "");
    let said = place.start().unwrap_err().to_string();
    for handler in ["uneven", "stateful"] {
        let counts = format!(
            "{handler}/handler.toml: subscribe.topics: {scripts} has 12 partitions, {} has 6 partitions",
            fleet.topic("public.fewer.v1")
        );
        assert!(said.contains(&counts), "{said}");
    }
}

#[test]
fn an_event_without_a_key_is_a_duplicate_when_it_is_published_again() {
    let Some(broker) = broker("events without a key") else {
        return;
    };
    let fleet = Fleet::new(&broker, "keyless");
    let host = fleet.place("a", &["stateless"]).start().unwrap();
    let keyless = |event: &String| {
        let mut event: Value = serde_json::from_str(event).unwrap();
        event.as_object_mut().unwrap().remove("partitionkey");
        event.to_string()
    };
    let events: Vec<_> = orders("keyless", KEYLESS).iter().map(keyless).collect();
    let scripts = fleet.topic("public.scripts.v1");
    publish(&host, scripts, &events);
    wait_for_fates(&host, "stateless", &json!({ "handled": KEYLESS }));
    publish(&host, scripts, &events);
    let both = json!({ "handled": KEYLESS, "duplicate": KEYLESS });
    wait_for_fates(&host, "stateless", &both);
    assert_eq!(causes(&host, &fleet, "stateless"), ids(&[&events]));

    let mut partitions = BTreeSet::new();
    let told = host.client().each_event(scripts, |record| {
        anyhow::ensure!(record["key"].is_null(), "a key was made up: {record}");
        partitions.insert(record["partition"].as_u64());
        Ok(())
    });
    told.unwrap();
    assert!(partitions.len() > 1, "all in {partitions:?}");
}
