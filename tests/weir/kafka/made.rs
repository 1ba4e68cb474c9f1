//! Topics that the host makes, and those that somebody else has to make as it says.

use std::collections::{BTreeMap, BTreeSet};

use weir_tests::host::{Host, Place};
use weir_tests::wait;

use super::{Fleet, PARTITIONS, SETTLE, alarm, broker};

const COMMANDS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// What is kept whole: an event of 1 MiB twice, and its headers.
const RECORD_BYTES: &str = "2359296";
const DAY_MS: u64 = 24 * 3_600_000;

type Settings = BTreeMap<String, String>;

fn settings<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Settings {
    let all = all.into_iter();
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The topics of a fleet with the handler `billing`, and how each has to be.
fn wanted(environment: &str) -> BTreeMap<String, Settings> {
    let (week, month) = ((7 * DAY_MS).to_string(), (30 * DAY_MS).to_string());
    let bytes = ("max.message.bytes", RECORD_BYTES);
    let compacted = settings([
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", &week),
        bytes,
    ]);
    // All hosts write it all the time, and each reads all of it when it starts.
    let soon = [
        ("segment.bytes", "16777216"),
        ("segment.ms", "600000"),
        ("min.cleanable.dirty.ratio", "0.1"),
    ];
    let mut control = compacted.clone();
    control.extend(settings(soon));
    let letters = settings([("retention.ms", month.as_str()), bytes]);
    let group = format!("weir.{environment}.default.billing");
    let [invoices, payments] =
        ["invoices", "payments"].map(|what| format!("{environment}.local.public.{what}.v1"));
    BTreeMap::from([
        (format!("_weir.{environment}.control"), control),
        (format!("_weir.{group}.ledger"), compacted.clone()),
        (format!("_weir.{group}.park"), compacted),
        (format!("_weir.{group}.commands"), settings([bytes])),
        (format!("dlq.{group}.{invoices}"), letters),
        (invoices, settings([bytes])),
        (payments, settings([bytes])),
    ])
}

impl Fleet {
    /// What was set of a topic when it was made, as Kafka's own tool tells it.
    fn settings(&self, topic: &str) -> Settings {
        let bootstrap = self.broker.cluster.bootstrap();
        let mut command = self.broker.cluster.tool(CONFIGS);
        command.args(["--bootstrap-server", &bootstrap, "--describe"]);
        command.args(["--entity-type", "topics", "--entity-name", topic]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines = said.lines().filter_map(|line| line.strip_prefix("  "));
        let set = lines.filter_map(|line| line.split(' ').next()?.split_once('='));
        settings(set)
    }

    /// Makes a topic with these settings.
    fn make(&self, topic: &str, partitions: u64, settings: &Settings) {
        let partitions = partitions.to_string();
        let mut make = vec!["--create", "--topic", topic, "--partitions", &partitions];
        let set: Vec<_> = settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        make.extend(set.iter().flat_map(|set| ["--config", set.as_str()]));
        self.tool(COMMANDS, &make);
    }
}

#[test]
fn topics_are_made_with_the_settings_that_the_host_needs() {
    let Some(broker) = broker("the settings of topics") else {
        return;
    };
    let fleet = Fleet::new(&broker, "made");
    let host = fleet.place("a", &["billing"]).start().unwrap();
    for (topic, wanted) in wanted("made") {
        assert_eq!(fleet.settings(&topic), wanted, "{topic}");
    }
    drop(host);
}

/// Whoever makes what a host asks for, all at once and as it says, has a host that works.
#[test]
fn a_host_that_may_make_no_topics_asks_for_each_with_its_settings() {
    let Some(broker) = broker("topics that others make") else {
        return;
    };
    let fleet = Fleet::new(&broker, "asked");
    let place = fleet.place("a", &["billing"]);
    let text = std::fs::read_to_string(place.config()).unwrap();
    let text = text.replace("[kafka]\n", "[kafka]\ncreate_topics = \"check\"\n");
    std::fs::write(place.config(), text).unwrap();

    let mut host = place.spawn().unwrap();
    let ended = wait::until("the host to ask", SETTLE, || host.ended());
    assert_eq!(ended.unwrap().code(), Some(2));
    let log = std::fs::read_to_string(place.log()).unwrap();
    let said = log.split("there is no topic ").skip(1);
    let asked: Vec<_> = said.map(read).collect();
    for (topic, partitions, settings) in &asked {
        fleet.make(topic, *partitions, settings);
    }
    let partitions = |topic: &str| match topic.ends_with(".control") {
        true => 1,
        false => PARTITIONS,
    };
    let wanted = wanted("asked").into_iter();
    let wanted: BTreeSet<_> = wanted
        .map(|(topic, settings)| (topic.clone(), partitions(&topic), settings))
        .collect();
    assert_eq!(asked.len(), wanted.len(), "{log}");
    assert_eq!(BTreeSet::from_iter(asked), wanted);
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
}

/// In topics of other settings what was committed would be gone with age, or too large to be kept, and what was removed
/// would come back.
#[test]
fn a_ledger_that_keeps_less_than_it_must_is_refused_until_its_topics_are_altered_as_the_alarm_says()
{
    let Some(broker) = broker("the topics of a ledger that others make") else {
        return;
    };
    let fleet = Fleet::new(&broker, "altered");
    let week = (7 * DAY_MS).to_string();
    let ledger = "_weir.weir.altered.default.billing.ledger";
    let park = "_weir.weir.altered.default.billing.park";
    let wrong = settings([
        ("cleanup.policy", "compact,delete"),
        ("delete.retention.ms", &week),
        ("max.message.bytes", "2000"),
    ]);
    fleet.make(ledger, PARTITIONS, &wrong);
    // As Kafka makes one that is compacted.
    let usual = settings([
        ("cleanup.policy", "compact"),
        ("max.message.bytes", RECORD_BYTES),
    ]);
    fleet.make(park, PARTITIONS, &usual);

    let place = fleet.place("a", &["billing"]);
    let host = place.spawn().unwrap();
    let (taken, kept, gone) = (
        format!("takes records of 2000 bytes at most: set its max.message.bytes to {RECORD_BYTES}"),
        "has cleanup.policy \"compact,delete\": set it to \"compact\"".to_owned(),
        format!("has delete.retention.ms 86400000: set it to {week}"),
    );
    for (topic, says, altered) in [
        (ledger, taken, format!("max.message.bytes={RECORD_BYTES}")),
        (ledger, kept, "cleanup.policy=compact".to_owned()),
        (park, gone, format!("delete.retention.ms={week}")),
    ] {
        resume_until(&place, &host, &says, || {
            let status = host.client().status()?;
            let alarms = status["alarms"].as_array().into_iter().flatten();
            let mut stopped = alarms.filter(|alarm| alarm["alarm"] == "handler-stopped");
            let says = format!("topic {topic:?} {says}");
            let found = stopped.any(|alarm| {
                let detail = alarm["detail"].as_str().unwrap_or_default();
                detail.contains(&says)
            });
            anyhow::ensure!(found, "{}", status["alarms"]);
            Ok(true)
        });
        assert_eq!(host.client().get("/readyz").unwrap().status, 503);
        fleet.alter(topic, &altered);
    }
    resume_until(&place, &host, "the host to be ready", || {
        Ok(host.client().get("/readyz")?.status == 200)
    });
}

/// A partition that has no place for its commands, its ledger or its letters would wait for one when it needs it.
#[test]
fn a_topic_of_a_handlers_own_that_has_too_few_partitions_is_refused_by_its_name() {
    let Some(broker) = broker("topics of a handler's own that are too small") else {
        return;
    };
    let fleet = Fleet::new(&broker, "small");
    let usual = [
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", &(7 * DAY_MS).to_string()),
        ("max.message.bytes", RECORD_BYTES),
    ];
    let group = "weir.small.default.billing";
    let [commands, ledger, park] =
        ["commands", "ledger", "park"].map(|what| format!("_weir.{group}.{what}"));
    let invoices = fleet.topic("public.invoices.v1");
    let letters = format!("dlq.{group}.{invoices}");
    let place = fleet.place("a", &["billing"]);
    fleet.make(&letters, 6, &settings(usual[2..].iter().copied()));
    // What is made, what is said of which, and what is deleted then.
    let steps = [
        (Some((&commands, 4)), (&*commands, 4, invoices), None),
        (
            Some((&ledger, 12)),
            (&*commands, 4, &*ledger),
            Some(&commands),
        ),
        (Some((&park, 6)), (&*park, 6, &*commands), Some(&park)),
        (None, (&*letters, 6, invoices), Some(&letters)),
    ];
    for (made, (topic, count, other), deleted) in steps {
        if let Some((topic, partitions)) = made {
            let kept = if topic == &commands { 2 } else { 0 };
            fleet.make(topic, partitions, &settings(usual[kept..].iter().copied()));
        }
        let host = place.spawn().unwrap();
        let said = alarm(&host, "handler-stopped");
        let named =
            format!("topic \\\"{topic}\\\" has {count} partitions, and \\\"{other}\\\" has ");
        assert!(said.contains(&named), "{said}");
        drop(host);
        if let Some(topic) = deleted {
            fleet.tool(COMMANDS, &["--delete", "--topic", topic]);
        }
    }
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
}

/// A broker may show for a moment what a topic was before it was altered.
fn resume_until(
    place: &Place,
    host: &Host,
    what: &str,
    mut is: impl FnMut() -> anyhow::Result<bool>,
) {
    let url = host.client().url();
    wait::until(what, SETTLE, || {
        let seen = is();
        if !matches!(seen, Ok(true)) {
            let mut resume = place.weir(&["resume", "billing", "--url", &url]);
            resume.output()?;
        }
        Ok(seen?.then_some(()))
    })
    .unwrap();
}

/// `"NAME": make it with N partitions and a=b and c=d, or ..`
fn read(said: &str) -> (String, u64, Settings) {
    let (topic, rest) = said.split_once(": make it with ").unwrap();
    let (partitions, rest) = rest.split_once(" partitions and ").unwrap();
    let (list, _) = rest.split_once(", or write").unwrap();
    let all = list.split(" and ").map(|one| one.split_once('=').unwrap());
    let topic = topic.trim_matches('"').to_owned();
    (topic, partitions.parse().unwrap(), settings(all))
}
