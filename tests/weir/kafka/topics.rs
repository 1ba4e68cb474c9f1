//! Topics that change under a handler, and positions that are gone: nothing is passed over in silence.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::purchases::{self, Totals};
use weir_tests::wait;

use super::drain::{GROUPS, members};
use super::kcat::{Kcat, header, kcat};
use super::{
    Fleet, PARTITIONS, SETTLE, TAKEN, alarm, assert_payments, broker, orders, publish, reading,
    wait_for_fates,
};
use crate::fixture::{root, untried};

const COMMANDS: &str = "org.apache.kafka.tools.TopicCommand";
const RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
/// Events that a handler has before the change, after it, and after another one.
const BEFORE: usize = 200;
const AFTER: usize = 100;
const LATER: usize = 100;
/// Less than the session of a member, 30 s.
const SESSION: Duration = Duration::from_secs(25);
/// A broker holds a request for records back no longer than 100 ms when there are none.
const HELD_BACK: Duration = Duration::from_secs(1);

const A: &str = "public.scripts.v1";
const B: &str = "public.more-scripts.v1";
/// Handlers with the topics that each has at its first start, and at the next.
const RELISTED: [(&str, [&[&str]; 2]); 4] = [
    ("longer", [&[A], &[A, B]]),
    ("shorter", [&[A, B], &[A]]),
    ("turned", [&[A, B], &[B, A]]),
    ("other", [&[A], &[B]]),
];

/// Purchases and their totals.
fn purchases() -> (Vec<String>, impl Fn(usize) -> Totals) {
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(BEFORE + AFTER + LATER);
    let all = lines.clone();
    let right = move |count: usize| purchases::totals(&all[..count]).unwrap();
    (lines, right)
}

impl Fleet {
    fn publish(&self, host: &Host, lines: &[String]) {
        for batch in lines.chunks(50) {
            publish(host, self.topic("public.invoices.v1"), batch);
        }
    }

    /// Deletes the records of a topic, as retention does: in each of these partitions those before the offset, or all where it
    /// is -1.
    fn delete_records(&self, topic: &str, partitions: impl IntoIterator<Item = (u64, i64)>) {
        let file = self.folder.path().join("offsets.json");
        let until = |(partition, offset)| json!({ "topic": topic, "partition": partition, "offset": offset });
        let all: Vec<_> = partitions.into_iter().map(until).collect();
        let offsets = json!({ "version": 1, "partitions": all });
        std::fs::write(&file, offsets.to_string()).unwrap();
        self.tool(RECORDS, &["--offset-json-file", file.to_str().unwrap()]);
    }
}

/// All partitions are found at once or in two looks: each is resumed as it stops.
pub(super) fn resume_all(place: &Place, host: &Host, handler: &str) {
    resume_until(place, host, handler, || {
        Ok(host.client().get("/readyz")?.status == 200)
    });
}

fn resume_until(
    place: &Place,
    host: &Host,
    handler: &str,
    is_resumed: impl Fn() -> anyhow::Result<bool>,
) {
    wait::until("all partitions to be resumed", SETTLE, || {
        if is_resumed()? {
            return Ok(Some(()));
        }
        let url = host.client().url();
        let arguments = ["resume", handler, "--from", "earliest", "--url", &url];
        place.weir(&arguments).output()?;
        Ok(None)
    })
    .unwrap();
}

#[test]
fn a_topic_that_was_made_anew_or_has_grown_stops_its_handler_until_an_operator_chooses() {
    let Some(broker) = broker("topics that change") else {
        return;
    };
    let fleet = Fleet::new(&broker, "changed");
    let (lines, right) = purchases();
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    fleet.publish(&host, &lines[..BEFORE]);
    fleet.settle(&[&host]);

    fleet.tool(COMMANDS, &["--delete", "--topic", invoices]);
    let create = ["--create", "--topic", invoices, "--partitions", "12"];
    fleet.tool(COMMANDS, &create);
    let said = alarm(&host, "position-lost");
    assert!(said.contains("made anew since"), "{said}");
    resume_all(&place, &host, "billing");
    fleet.publish(&host, &lines[BEFORE..BEFORE + AFTER]);
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right(BEFORE + AFTER));

    fleet.tool(
        COMMANDS,
        &["--alter", "--topic", invoices, "--partitions", "13"],
    );
    let said = alarm(&host, "topic-grown");
    assert!(said.contains("has 13 partitions, and had 12"), "{said}");
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);
    // What comes now is of keys that have moved, some of them into the new partition.
    wait_for_partitions(&host, invoices, 13);
    publish_at_once(&host, invoices, &lines[BEFORE + AFTER..]);
    assert!(has_events(&host, invoices, 12));
    wait::pause(TAKEN);
    assert_payments(&host, &fleet, &right(BEFORE + AFTER));

    // What the alarm says.
    fleet.tool(COMMANDS, &["--delete", "--topic", invoices]);
    fleet.tool(COMMANDS, &create);
    let url = host.client().url();
    let resume = place.weir(&["resume", "billing", "--url", &url]).output();
    assert!(resume.unwrap().status.success());
    let said = alarm(&host, "position-lost");
    assert!(said.contains("made anew since"), "{said}");
    resume_all(&place, &host, "billing");
    fleet.publish(&host, &lines[BEFORE + AFTER..]);
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right(BEFORE + AFTER + LATER));
}

/// A producer hears of a topic's new partitions by itself within five minutes: an event whose emission goes into one of them
/// would be a dead letter until then, and what is published there refused.
#[test]
fn a_topic_that_grows_under_those_who_write_into_it_takes_everything_at_once() {
    let Some(broker) = broker("an output topic that grows") else {
        return;
    };
    let fleet = Fleet::new(&broker, "grown");
    let (scripts, deeds) = fleet.scripted();
    let place = fleet.place("a", &["scripted"]);
    let host = place.start().unwrap();
    publish(&host, scripts, &orders("before", BEFORE));
    publish(&host, deeds, &orders("before", BEFORE));
    wait_for_fates(&host, "scripted", &json!({ "handled": BEFORE }));

    let grow = ["--alter", "--topic", deeds, "--partitions", "24"];
    fleet.tool(COMMANDS, &grow);
    wait_for_partitions(&host, deeds, 24);
    publish_at_once(&host, scripts, &orders("after", AFTER));
    let all = json!({ "handled": BEFORE + AFTER });
    wait_for_fates(&host, "scripted", &all);
    assert!((12..24).any(|partition| has_events(&host, deeds, partition)));
    publish_at_once(&host, deeds, &orders("after", AFTER));
    assert!((12..24).all(|partition| has_events(&host, deeds, partition)));
}

/// Waits until a host knows that a topic has so many partitions.
fn wait_for_partitions(host: &Host, topic: &str, count: u32) {
    wait::until(&format!("{count} partitions of {topic}"), SETTLE, || {
        let topics = host.client().get("/v1/topics")?.json()?;
        let mut topics = topics["topics"].as_array().into_iter().flatten();
        let found = topics.find(|entry| entry["name"] == topic);
        let found = found.with_context(|| format!("no {topic}"))?;
        Ok((found["partitions"] == count).then_some(()))
    })
    .unwrap();
}

/// Publishes what is to be taken at the first try.
fn publish_at_once(host: &Host, topic: &str, events: &[String]) {
    let answer = host.client().publish(topic, events).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn has_events(host: &Host, topic: &str, partition: u32) -> bool {
    let path = format!("/v1/topics/{topic}/events?partition={partition}&limit=1");
    let answer = host.client().get(&path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    !answer.body.is_empty()
}

#[test]
fn offsets_that_a_quiet_topic_has_lost_are_known_and_those_of_a_whole_group_are_asked_for() {
    let Some(broker) = broker("offsets that are gone") else {
        return;
    };
    let fleet = Fleet::new(&broker, "forgotten");
    let (lines, right) = purchases();
    let place = fleet.place("a", &["billing"]);
    let invoices = fleet.topic("public.invoices.v1");
    let group = "weir.forgotten.default.billing";
    let host = place.start().unwrap();
    fleet.publish(&host, &lines[..BEFORE]);
    fleet.settle(&[&host]);

    // As Kafka does with those of a topic that the group is not subscribed to, when nothing was committed for a week.
    let forget = ["--delete-offsets", "--group", group, "--topic", invoices];
    fleet.tool(GROUPS, &forget);
    assert!(host.drain().unwrap().success());
    let host = place.start().unwrap();
    fleet.publish(&host, &lines[BEFORE..BEFORE + AFTER]);
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right(BEFORE + AFTER));

    // A member that is gone is one until its session ends.
    assert!(host.drain().unwrap().success());
    fleet.tool(GROUPS, &["--delete", "--group", group]);
    let host = place.spawn().unwrap();
    let client = host.client();
    wait::until("every position to be missed", SETTLE, || {
        let status = client.status()?;
        let alarms = status["alarms"].as_array().into_iter().flatten();
        let missing = |alarm: &&Value| {
            let detail = alarm["detail"].as_str().unwrap_or_default();
            detail.starts_with("there is no position any more")
        };
        anyhow::ensure!(alarms.filter(missing).count() == 12, "{status}");
        Ok(Some(()))
    })
    .unwrap();
    let url = client.url();
    let arguments = ["resume", "billing", "--from", "earliest", "--url", &url];
    assert!(place.weir(&arguments).status().unwrap().success());
    wait::until("the inbox to know all of it", SETTLE, || {
        let known = client.fate("billing", "duplicate")? == (BEFORE + AFTER) as u64;
        Ok(known.then_some(()))
    })
    .unwrap();
    assert_payments(&host, &fleet, &right(BEFORE + AFTER));
}

/// As retention does while nobody reads: a consumer that goes on at the first record that is left passes over the others
/// in silence.
#[test]
fn records_that_were_deleted_before_they_were_read_are_counted_and_an_operator_chooses() {
    let Some(broker) = broker("an offset out of range") else {
        return;
    };
    let Some(kcat) = kcat("an offset out of range", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "deleted");
    let place = fleet.place("a", &["billing"]);
    let invoices = fleet.topic("public.invoices.v1");
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
    assert!(host.drain().unwrap().success());

    lose_three_of_five(&fleet, &kcat, invoices);
    let host = place.spawn().unwrap();
    choose_after_loss(&fleet, &kcat, &place, &host);
}

/// The same while a host reads: it asks for records of which the broker has none any more.
#[test]
fn records_that_are_deleted_before_a_running_host_has_read_them_are_counted_too() {
    let Some(broker) = broker("an offset that goes out of range") else {
        return;
    };
    let Some(kcat) = kcat("an offset that goes out of range", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "overtaken");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
    let frozen = Instant::now();
    host.freeze().unwrap();
    // What it has asked for before is answered without the records.
    wait::pause(HELD_BACK);
    let invoices = fleet.topic("public.invoices.v1");
    lose_three_of_five(&fleet, &kcat, invoices);
    host.resume().unwrap();
    let frozen = frozen.elapsed();
    choose_after_loss(&fleet, &kcat, &place, &host);
    // By then its group would have forgotten it, and what is lost be found as at a start.
    if frozen > SESSION {
        return untried("a position that goes out of range while its owner is a member");
    }
    let log = std::fs::read_to_string(place.log()).unwrap();
    let mut renewed = log.lines().filter(|line| line.contains("made anew"));
    let is_gone = |line: &str| line.contains("is gone; the first kept one is");
    assert!(renewed.any(is_gone), "{}", place.end_of_log());
}

/// Writes five records of one key, of which only the last two are left.
fn lose_three_of_five(fleet: &Fleet, kcat: &Kcat, invoices: &str) {
    let headers = [
        "ce_specversion=1.0",
        "ce_source=/tests",
        "ce_type=InvoiceCreated",
    ];
    let data = json!({ "invoiceId": "i", "customerId": "c", "quantity": 1, "amount": "7.50", "currency": "USD" });
    for number in 0..5 {
        let id = format!("ce_id={number}");
        let headers = [headers.as_slice(), &[&id]].concat();
        kcat.write(invoices, "c", &headers, Some(data.to_string().as_bytes()));
    }
    let partition = kcat.read(invoices, 5)[0]["partition"].as_u64().unwrap();
    fleet.delete_records(invoices, [(partition, 3)]);
}

/// The host says what is lost, and goes on with what is left when it is told to.
fn choose_after_loss(fleet: &Fleet, kcat: &Kcat, place: &Place, host: &Host) {
    let said = alarm(host, "position-lost");
    assert!(
        said.contains("the position is 0") && said.contains("3 records are lost"),
        "{said}"
    );
    resume_all(place, host, "billing");
    let payments = kcat.read(fleet.topic("public.payments.v1"), 2);
    let causes = payments.iter().map(|payment| {
        let cause = header(payment, "ce_causationid");
        cause.unwrap_or_default().to_owned()
    });
    assert_eq!(causes.collect::<Vec<_>>(), ["3", "4"]);
}

/// What is written in transactions ends with a marker, which is no record and has an offset. A topic that is quiet for longer
/// than its retention begins behind it.
#[test]
fn a_quiet_topic_of_which_retention_has_taken_everything_has_lost_nothing() {
    let Some(broker) = broker("a topic that is quiet") else {
        return;
    };
    let fleet = Fleet::new(&broker, "quiet");
    let (lines, _) = purchases();
    let place = fleet.place("a", &["billing", "notification"]);
    let publish = |host: &Host, lines: &[String]| {
        fleet.publish(host, lines);
        wait_for_fates(host, "notification", &json!({ "handled": lines.len() }));
    };
    let payments = fleet.topic("public.payments.v1");
    let delete_all = || {
        let all = (0..PARTITIONS).map(|partition| (partition, -1));
        fleet.delete_records(payments, all);
    };
    let host = place.start().unwrap();
    publish(&host, &lines[..BEFORE]);
    // The host tells its group of the markers when nothing has come for 10 s.
    wait::until("the group to be at the end of the topic", SETTLE, || {
        let said = fleet.describe("notification", "--offsets");
        let rows = said.lines().map(|line| line.split_whitespace());
        // Group, topic, partition, position, end, and how far they are from one another.
        let rows: Vec<Vec<_>> = rows.map(Iterator::collect).collect();
        let own = rows.iter().filter(|row| row.get(1) == Some(&payments));
        let at_end = own.filter(|row| row.get(5) == Some(&"0")).count() as u64;
        anyhow::ensure!(at_end == PARTITIONS, "{said}");
        Ok(Some(()))
    })
    .unwrap();
    host.kill().unwrap();
    delete_all();

    let host = place.start().unwrap();
    publish(&host, &lines[BEFORE..BEFORE + AFTER]);
    // What was not told yet goes with the last unit.
    assert!(host.drain().unwrap().success());
    delete_all();
    let host = place.start().unwrap();
    publish(&host, &lines[BEFORE + AFTER..]);
}

/// librdkafka says nothing of a topic that is gone, and gives all partitions back where it is the one that the group divides:
/// each host would be well and serve nothing.
#[test]
fn topics_that_are_deleted_are_told_and_gone_on_with_when_they_are_there_again() {
    let Some(broker) = broker("topics that are deleted") else {
        return;
    };
    let fleet = Fleet::new(&broker, "gone");
    let (lines, right) = purchases();
    let place = fleet.place("a", &["billing", "scripted"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let (scripts, _) = fleet.scripted();
    fleet.publish(&host, &lines[..BEFORE]);
    publish(&host, scripts, &orders("before", BEFORE));
    fleet.settle(&[&host]);

    let commands = "_weir.weir.gone.default.scripted.commands";
    for topic in [invoices, commands] {
        fleet.tool(COMMANDS, &["--delete", "--topic", topic]);
    }
    wait::until("what is missing to be told", SETTLE, || {
        let said = alarm_of(&host, "billing");
        let detail = said["detail"].as_str().unwrap_or_default();
        let told = detail.contains("there is no topic") && detail.contains(invoices);
        Ok((said["alarm"] == "read-failing" && told).then_some(()))
    })
    .unwrap();
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);
    // The host makes its own anew.
    wait::until("the commands to be there again", SETTLE, || {
        let said = alarm_of(&host, "scripted");
        Ok((said["alarm"] == "position-lost").then_some(()))
    })
    .unwrap();
    resume_until(&place, &host, "scripted", || {
        let status = host.client().status()?;
        let mut all = status["handlers"].as_array().into_iter().flatten();
        Ok(all.any(|entry| entry["name"] == "scripted" && entry["state"] == "ready"))
    });

    let create = ["--create", "--topic", invoices, "--partitions", "12"];
    fleet.tool(COMMANDS, &create);
    let said = alarm(&host, "position-lost");
    assert!(said.contains("made anew since"), "{said}");
    resume_all(&place, &host, "billing");
    fleet.publish(&host, &lines[BEFORE..BEFORE + AFTER]);
    publish(&host, scripts, &orders("after", AFTER));
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right(BEFORE + AFTER));
    let handled = json!(BEFORE + AFTER);
    assert_eq!(host.client().fate("scripted", "handled").unwrap(), handled);
}

/// A group without a protocol that all its members have takes no other: nobody would serve the handler, and nothing say why.
#[test]
fn a_group_that_does_not_take_a_host_is_told_and_joined_when_it_does() {
    let Some(broker) = broker("a group that refuses a host") else {
        return;
    };
    let Some(kcat) = kcat("a group that refuses a host", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "refused");
    let place = fleet.place("a", &["billing"]);
    let invoices = fleet.topic("public.invoices.v1");
    let create = ["--create", "--topic", invoices, "--partitions", "12"];
    fleet.tool(COMMANDS, &create);
    let join = || kcat.join("weir.refused.default.billing", invoices, "range");
    let mut other = join();
    wait::until("the other to be a member", SETTLE, || {
        // It gives up where a broker has not heard of the topic yet.
        if other.try_wait()?.is_some() {
            other = join();
        }
        let members = members(&fleet, "billing");
        anyhow::ensure!(members.contains("rdkafka"), "{members}");
        Ok(Some(()))
    })
    .unwrap();

    let host = place.spawn().unwrap();
    let said = alarm(&host, "read-failing");
    assert!(said.contains("the group does not take this host"), "{said}");
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);
    other.kill().unwrap();
    other.wait().unwrap();
    fleet.settle(&[&host]);
    let status = host.client().status().unwrap();
    assert_eq!(status["alarms"], json!([]), "{status}");
}

/// Positions stand in the order of the list: under another one, they would be those of other topics.
#[test]
fn a_handler_with_other_topics_than_at_its_first_start_is_refused_until_they_are_written_back() {
    let Some(broker) = broker("a list of topics that changes") else {
        return;
    };
    let fleet = Fleet::new(&broker, "relisted");
    let write = |at: usize| {
        RELISTED.map(|(name, lists)| {
            fleet.handler("stateless", name, |manifest| reading(&manifest, lists[at]))
        })
    };
    let place = fleet.place_with("a", &write(0), "");
    let handle = |events: &[String], waiting: usize| {
        let host = place.start().unwrap();
        publish(&host, fleet.topic(A), events);
        let handled = json!({ "handled": events.len() + waiting });
        for (name, _) in RELISTED {
            wait_for_fates(&host, name, &handled);
        }
        assert!(host.drain().unwrap().success());
    };
    handle(&orders("before", BEFORE), 0);

    write(1);
    let host = place.spawn().unwrap();
    publish(&host, fleet.topic(A), &orders("between", 1));
    wait::pause(TAKEN);
    for (name, lists) in RELISTED {
        let [was, is] = lists.map(|list| {
            let names: Vec<_> = list.iter().map(|short| fleet.topic(short)).collect();
            names.join(", ")
        });
        let said = alarm_of(&host, name);
        assert_eq!(said["alarm"], "setting-changed", "{said}");
        let says = format!("subscribe.topics ({is}, and was {was})");
        assert!(said["detail"].to_string().contains(&says), "{said}");
        assert_eq!(host.client().fate(name, "handled").unwrap(), 0);
    }
    assert!(host.drain().unwrap().success());

    write(0);
    handle(&orders("after", AFTER), 1);
}

/// Waits for whatever alarm of this handler.
fn alarm_of(host: &Host, handler: &str) -> Value {
    wait::until(&format!("an alarm of {handler}"), SETTLE, || {
        let status = host.client().status()?;
        let mut alarms = status["alarms"].as_array().into_iter().flatten();
        Ok(alarms.find(|alarm| alarm["handler"] == handler).cloned())
    })
    .unwrap()
}
