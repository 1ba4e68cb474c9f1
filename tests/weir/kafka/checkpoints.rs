//! Hosts that come back to a ledger of which they have a copy: they read on where that is, unless it cannot be trusted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::publisher::Publisher;
use weir_tests::purchases;
use weir_tests::scripted::{deeds_in, order};
use weir_tests::wait;

use super::drain::drain;
use super::{Fleet, PARTITIONS, SETTLE, TAKEN, alarm, assert_payments, broker, publish};
use crate::fixture::root;

const COMMANDS: &str = "org.apache.kafka.tools.TopicCommand";
/// So many that each partition has some.
const KEYS: usize = 60;
/// Of them, those that wait for a retry; fewer than what opens a breaker.
const PARKED: usize = 2;
/// Long enough that no timer of a test fires.
const NEVER_MS: u64 = 3_600_000;

/// A ledger of one partition that was restored.
struct Restored {
    from_checkpoint: bool,
    entries: u64,
}

/// What a place's hosts have restored since its log was so long.
fn restored(place: &Place, since: usize) -> Vec<Restored> {
    let log = std::fs::read_to_string(place.log()).unwrap();
    let lines = log[since..].lines();
    let lines = lines.filter(|line| line.contains("ledger restored"));
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
        let value = rest.split(' ').next().unwrap();
        value.trim_matches('"').to_owned()
    };
    let one = |line: &str| Restored {
        from_checkpoint: field(line, "from") == "checkpoint",
        entries: field(line, "entries").parse().unwrap(),
    };
    lines.map(one).collect()
}

fn log_length(place: &Place) -> usize {
    std::fs::read_to_string(place.log()).map_or(0, |log| log.len())
}

/// A host that says what it restores; every copy is too old to it where that is wanted.
fn start(place: &Place, fail_point: Option<&str>) -> Host {
    let mut command = place.run_command();
    command.env("WEIR_LOG", "info,weir=debug");
    if let Some(point) = fail_point {
        command.env("WEIR_FAIL_POINT", point);
    }
    place.start_command(command).unwrap()
}

#[test]
fn a_host_that_starts_again_after_a_kill_reads_its_ledgers_on_from_their_checkpoints() {
    let Some(broker) = broker("a checkpoint after a kill") else {
        return;
    };
    let fleet = Fleet::new(&broker, "resumed");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let half = lines.len() / 2;
    let place = fleet.place("a", &["billing"]);
    let host = start(&place, None);
    fleet.settle(&[&host]);
    let first = restored(&place, 0);
    assert!(first.len() as u64 >= PARTITIONS);
    assert!(first.iter().all(|one| !one.from_checkpoint));

    // In the middle of its work.
    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(place.client(), invoices, Arc::new(lines), 64);
    publisher.wait_for(half).unwrap();
    host.kill().unwrap();
    let since = log_length(&place);
    let host = start(&place, None);
    publisher.finish().unwrap();
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right);
    let after_kill = restored(&place, since);
    assert!(after_kill.len() as u64 >= PARTITIONS);
    assert!(after_kill.iter().all(|one| one.from_checkpoint));

    // Nothing has happened since: there is nothing to read.
    assert!(host.drain().unwrap().success());
    let since = log_length(&place);
    let host = start(&place, None);
    fleet.settle(&[&host]);
    let after_drain = restored(&place, since);
    let entries = |all: &[Restored]| all.iter().map(|one| one.entries).sum::<u64>();
    assert!(after_drain.len() as u64 >= PARTITIONS);
    assert!(after_drain.iter().all(|one| one.from_checkpoint));
    assert_eq!(entries(&after_drain), 0);
    assert_payments(&host, &fleet, &right);
    assert!(host.drain().unwrap().success());

    // The copy may be deleted while no host runs.
    std::fs::remove_dir_all(place.data().join("copy")).unwrap();
    let since = log_length(&place);
    let host = start(&place, None);
    fleet.settle(&[&host]);
    let whole = restored(&place, since);
    assert!(whole.len() as u64 >= PARTITIONS);
    assert!(whole.iter().all(|one| !one.from_checkpoint));
    assert!(entries(&whole) > entries(&after_kill));
    assert_payments(&host, &fleet, &right);
}

/// Another host has the partitions meanwhile, and removes what the copy has: timers and parked events. First the copy is
/// young, and the removals are read; then it is too old for them to be there, and none of it is used.
#[test]
fn nothing_that_was_removed_meanwhile_comes_back_with_an_old_copy() {
    let Some(broker) = broker("an old checkpoint") else {
        return;
    };
    let fleet = Fleet::new(&broker, "aged");
    let (first, second) = (
        fleet.place("a", &["scripted"]),
        fleet.place("b", &["scripted"]),
    );
    let mut counts = Counts::default();
    let host = start(&first, None);
    fleet.settle(&[&host]);
    let set = json!({ "timer": "t", "afterMs": NEVER_MS });
    counts.order(&fleet, &host, "set", 0..KEYS, &set);
    let until = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(60);
    let until_ms = u64::try_from(until.as_millis()).unwrap();
    let fails = json!({ "fail": "unavailable", "untilMs": until_ms });
    counts.order(&fleet, &host, "fails", 0..PARKED, &fails);
    wait::until("two keys to be parked", SETTLE, || {
        Ok((held(&host)? == (KEYS as u64, PARKED as u64)).then_some(()))
    })
    .unwrap();
    // One that comes back: it is a member until its session ends.
    assert!(host.drain().unwrap().success());

    let cancel = json!({ "cancel": "t" });
    let mut left = KEYS;
    for (round, point) in [("young", None), ("old", Some("checkpoints-old"))] {
        let removes = second.start().unwrap();
        let some = left - KEYS / 3..left;
        left = some.start;
        counts.order(&fleet, &removes, round, some, &cancel);
        counts.wait(&fleet, &removes);
        fleet.settle(&[&removes]);
        assert_eq!(held(&removes).unwrap(), (left as u64, 0), "{round}");
        leave(&second, removes);

        let since = log_length(&first);
        let host = start(&first, point);
        fleet.settle(&[&host]);
        assert_eq!(held(&host).unwrap(), (left as u64, 0), "{round}");
        let back = restored(&first, since);
        assert!(back.len() as u64 >= PARTITIONS, "{round}");
        let expected = |one: &Restored| one.from_checkpoint == point.is_none();
        assert!(back.iter().all(expected), "{round}");
        // And the state is what the other host has left.
        counts.order(&fleet, &host, &format!("{round}-back"), 0..KEYS, &json!({}));
        counts.wait(&fleet, &host);
        leave(&first, host);
    }
}

/// Stops a host whose partitions are the next one's at once: a member that is only gone is one until its session ends.
fn leave(place: &Place, host: Host) {
    let said = drain(place);
    assert_eq!(said["handlers"][0]["left"], true, "{said}");
    assert!(host.drain().unwrap().success());
}

/// Timers, and parked events.
fn held(host: &Host) -> anyhow::Result<(u64, u64)> {
    let page = host.client().get("/metrics")?.body;
    let line = page.lines().find(|line| line.starts_with("weir_timers{"));
    let timers = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    let timers = timers.ok_or_else(|| anyhow::anyhow!("no weir_timers"))?;
    let status = host.client().status()?;
    let parked = status["handlers"][0]["parked_events"].as_u64();
    Ok((timers, parked.unwrap_or_default()))
}

/// Events of each key that were ordered: its state counts those that were handled.
#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn order(
        &mut self,
        fleet: &Fleet,
        host: &Host,
        id: &str,
        keys: std::ops::Range<usize>,
        what: &Value,
    ) {
        let keys = keys.map(|key| format!("key-{key}"));
        let orders: Vec<_> = keys
            .map(|key| {
                *self.0.entry(key.clone()).or_default() += 1;
                order(&format!("{id}-{key}"), &key, what)
            })
            .collect();
        let taken = host
            .client()
            .publish(fleet.topic("public.scripts.v1"), &orders);
        assert_eq!(taken.unwrap().status, 202);
    }

    /// Waits until each key has counted all of its events, one after the other.
    fn wait(&self, fleet: &Fleet, host: &Host) {
        let topic = fleet.topic("public.deeds.v1");
        let told = wait::until("all to be told", SETTLE, || {
            let told = deeds_in(host.client(), topic)?;
            let found = told.values().map(Vec::len).sum::<usize>() as u64;
            let all = self.0.values().sum::<u64>();
            anyhow::ensure!(found >= all, "{found} of {all}");
            Ok(Some(told))
        })
        .unwrap();
        for (key, count) in &self.0 {
            let counted: Vec<_> = told[key].iter().map(|deed| deed.count).collect();
            assert_eq!(counted, (1..=*count).collect::<Vec<_>>(), "{key}");
        }
    }
}

/// A ledger topic that is another one has nothing of what the positions tell of. The copy has it, and is not asked: other
/// hosts have none of it.
#[test]
fn a_ledger_that_was_made_anew_is_refused_by_a_host_that_has_a_copy_too() {
    let Some(broker) = broker("a ledger that was made anew") else {
        return;
    };
    let fleet = Fleet::new(&broker, "remade");
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(200);
    let place = fleet.place("a", &["billing"]);
    let host = start(&place, None);
    let invoices = fleet.topic("public.invoices.v1");
    assert_eq!(host.client().publish(invoices, &lines).unwrap().status, 202);
    fleet.settle(&[&host]);
    assert!(host.drain().unwrap().success());

    delete(&fleet, "_weir.weir.remade.default.billing.ledger");
    // The next host makes it, as if it were new.
    let host = place.spawn().unwrap();
    let said = alarm(&host, "handler-stopped");
    assert!(said.contains("was it made anew?"), "{said}");
    wait_until_all_have_stopped(&host);
}

/// Deletes a topic, and waits until it is gone.
fn delete(fleet: &Fleet, topic: &str) {
    fleet.tool(COMMANDS, &["--delete", "--topic", topic]);
    wait::until("the topic to be gone", SETTLE, || {
        let bytes = fleet.broker.cluster.topic_bytes(topic)?;
        Ok((bytes == 0).then_some(()))
    })
    .unwrap();
}

fn wait_until_all_have_stopped(host: &Host) {
    wait::until("no partition to be served", SETTLE, || {
        let status = host.client().status()?;
        let alarms = status["alarms"].as_array().into_iter().flatten();
        let stopped = alarms.filter(|alarm| alarm["alarm"] == "handler-stopped");
        let stopped = stopped.count() as u64;
        anyhow::ensure!(stopped == PARTITIONS, "{stopped} have stopped");
        Ok(Some(()))
    })
    .unwrap();
}

/// The host goes on into the new topic, which so ends with its last unit, and has nothing of what was before: totals that are
/// counted from there would be wrong. It sees by the place of that unit that the topic is another one.
#[test]
fn a_ledger_that_was_made_anew_under_a_running_host_is_refused_by_it_and_the_next() {
    let Some(broker) = broker("a ledger that is made anew under its host") else {
        return;
    };
    let fleet = Fleet::new(&broker, "refilled");
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(600);
    let place = fleet.place("a", &["billing"]);
    let host = start(&place, None);
    let invoices = fleet.topic("public.invoices.v1");
    publish(&host, invoices, &lines[..400]);
    fleet.settle(&[&host]);

    let ledger = "_weir.weir.refilled.default.billing.ledger";
    delete(&fleet, ledger);
    let make = ["--create", "--topic", ledger, "--partitions", "12"];
    let settings = [
        "cleanup.policy=compact",
        "delete.retention.ms=604800000",
        "max.message.bytes=4000000",
    ];
    let settings = settings.iter().flat_map(|setting| ["--config", setting]);
    let make: Vec<_> = make.into_iter().chain(settings).collect();
    fleet.tool(COMMANDS, &make);
    publish(&host, invoices, &lines[400..420]);
    wait_until_all_have_stopped(&host);
    let stopped = alarm(&host, "handler-stopped");
    let payments = fleet.topic("public.payments.v1");
    // Each total is one purchase further than the one before it.
    let paid = purchases::emitted(host.client(), payments).unwrap();
    host.kill().unwrap();

    let host = place.spawn().unwrap();
    wait_until_all_have_stopped(&host);
    assert!(stopped.contains("was it made anew?"), "{stopped}");
    // Of those that have a unit in the new one.
    let alarms = host.client().status().unwrap()["alarms"].to_string();
    assert!(alarms.contains("lacks the first"), "{alarms}");
    publish(&host, invoices, &lines[420..]);
    wait::pause(TAKEN);
    assert_payments(&host, &fleet, &paid);
}

/// What is parked lies in a topic of its own. The ledger says how much that is.
#[test]
fn parked_events_whose_topic_was_made_anew_are_counted_and_nothing_of_their_key_starts() {
    let Some(broker) = broker("parked events that are gone") else {
        return;
    };
    let fleet = Fleet::new(&broker, "vanished");
    let place = fleet.place("a", &["scripted"]);
    let host = start(&place, None);
    let (scripts, deeds) = fleet.scripted();
    let until = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3_600);
    let until_ms = u64::try_from(until.as_millis()).unwrap();
    let fails = json!({ "fail": "unavailable", "untilMs": until_ms });
    let lost = (0..3).map(|n| order(&format!("lost-{n}"), "lost", &fails));
    publish(&host, scripts, &lost.collect::<Vec<_>>());
    wait::until("three events to be parked", SETTLE, || {
        Ok((held(&host)? == (0, 3)).then_some(()))
    })
    .unwrap();
    assert!(host.drain().unwrap().success());

    delete(&fleet, "_weir.weir.vanished.default.scripted.park");
    let host = place.spawn().unwrap();
    let said = alarm(&host, "handler-stopped");
    let counted = "3 parked event(s) of 1 sequence(s)";
    assert!(said.contains(counted), "{said}");
    publish(&host, scripts, &[order("after", "lost", &json!({}))]);
    publish(&host, scripts, &super::orders("other", KEYS));
    let told = wait::until("others to be handled", SETTLE, || {
        let told = deeds_in(host.client(), deeds)?;
        Ok((told.len() > KEYS / 2).then_some(told))
    })
    .unwrap();
    assert!(!told.contains_key("lost"), "{told:?}");
    let alarms = host.client().status().unwrap()["alarms"].clone();
    let stopped = alarms.as_array().into_iter().flatten();
    let stopped = stopped.filter(|alarm| alarm["alarm"] == "handler-stopped");
    assert_eq!(stopped.count(), 1, "no other partition: {alarms}");
}
