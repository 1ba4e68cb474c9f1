//! Where a subscription begins, which events it keeps in order, and which it knows again, on the broker's own topics.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::{Value, json};
use weir_tests::host::Host;
use weir_tests::scripted::order;

use super::{Fleet, broker, orders, publish, reading, wait_for_fates};

/// Half as many partitions as other topics have.
const FEWER: &str = "[[topics]]\nname = \"public.fewer.v1\"\npartitions = 6\n";
const EVENTS: usize = 48;
/// Enough that not all of them come to the same partitions by chance.
const KEYLESS: usize = 8;

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
