//! Transactions whose end nobody heard of, and transactions that stay open.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::host::{self, Host, Place};
use weir_tests::kafka::Cluster;
use weir_tests::kafka::proxy::{
    END_TXN, INIT_PRODUCER_ID, Loss, Proxy, TXN_OFFSET_COMMIT, WRITE_TXN_MARKERS,
};
use weir_tests::purchases;
use weir_tests::scripted::{deeds_in, order};
use weir_tests::wait;

use super::{
    Fleet, PARTITIONS, SETTLE, alarm, assert_payments, assert_totals, broker, publish_at_once,
    started,
};
use crate::fixture::root;

const HANDLERS: [&str; 2] = ["billing", "notification"];
/// Kafka's own program that copies a partition in transactions.
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
/// Where its transaction is open, in a line of the host's log.
const HELD: &str = " partition=0";
/// One proxy stands before the broker at a time.
pub(super) static PROXY: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Fleet {
    /// A place for a host that reaches the cluster through a proxy.
    fn behind(&self, proxy: &Proxy, built: &[&str]) -> Place {
        let handlers = host::handlers(root(), built).unwrap();
        self.place_at("a", &handlers, &proxy.address(), "")
    }
}

/// The broker commits, and the host waits for an answer until its time is up. Staged again, each event would have its
/// effect twice.
#[test]
fn a_transaction_that_was_committed_and_not_answered_is_not_staged_again() {
    let Some(broker) = broker("a commit that was not answered") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "unheard");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let place = fleet.behind(&proxy, &HANDLERS);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");

    let (before, after) = lines.split_at(lines.len() / 2);
    publish_at_once(&host, invoices, before);
    fleet.settle(&[&host]);
    proxy.lose(END_TXN, Loss::Answers);
    // Nor can it be asked what became of it.
    proxy.lose(INIT_PRODUCER_ID, Loss::Requests);
    publish_at_once(&host, invoices, after);
    wait::until("an answer to be lost", Duration::from_secs(60), || {
        Ok((proxy.lost() > 0).then_some(()))
    })
    .unwrap();
    notices(&place, Duration::from_secs(60));
    let why = alarm(&host, "commit-failing");
    assert!(why.contains("what became of a transaction"), "{why}");
    proxy.lose(END_TXN, Loss::Nothing);
    proxy.lose(INIT_PRODUCER_ID, Loss::Nothing);
    fleet.settle(&[&host]);
    assert_eq!(host.client().status().unwrap()["alarms"], json!([]));
    assert_totals(&host, &fleet, &right);
}

/// Waits until the log tells of a transaction that may or may not be committed.
fn notices(place: &Place, patience: Duration) {
    wait::until("the host to notice", patience, || {
        let log = fs::read_to_string(place.log())?;
        Ok(log
            .contains("the outcome of a transaction is unknown")
            .then_some(()))
    })
    .unwrap();
}

/// The client waits for the group's coordinator as long as that takes, and longer than anybody has asked it to. Who waits
/// for the client commits nothing any more.
#[test]
fn positions_that_are_never_added_are_given_up_and_added_by_the_next_producer() {
    let Some(broker) = broker("positions that are never added") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "unadded");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let place = fleet.behind(&proxy, &HANDLERS);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");

    proxy.lose(TXN_OFFSET_COMMIT, Loss::Requests);
    publish_at_once(&host, invoices, &lines);
    // A request may take 60 s by the client's own settings.
    notices(&place, Duration::from_secs(45));
    let log = fs::read_to_string(place.log()).unwrap();
    assert!(
        log.contains("add the positions: "),
        "{}",
        place.end_of_log()
    );
    assert!(proxy.lost() > 0);
    proxy.lose(TXN_OFFSET_COMMIT, Loss::Nothing);
    fleet.settle(&[&host]);
    assert_totals(&host, &fleet, &right);
}

/// The request to commit is on its way for so long that its producer is given up for it, and it comes when its successor, who
/// has the same name, has a transaction of its own open: both are of the same events. Taken for the end of either it would be
/// that of records which are not there, or which are there twice.
#[test]
fn a_commit_that_comes_late_commits_neither_what_it_was_sent_for_nor_what_followed() {
    let Some(broker) = broker("a commit that comes late") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "late");
    let place = fleet.behind(&proxy, &["scripted"]);
    let host = place.start().unwrap();
    let scripts = fleet.topic("public.scripts.v1");
    let publish = |events: &[(&str, &str)]| {
        let events = events.iter().map(|(id, key)| order(id, key, &json!({})));
        let events: Vec<_> = events.collect();
        assert_eq!(host.client().publish(scripts, &events).unwrap().status, 202);
    };
    let sent = |what: &str, count: usize| {
        wait::until(what, SETTLE, || Ok((proxy.lost() >= count).then_some(()))).unwrap();
    };
    // One producer has both.
    let (one, other) = ("key-1", "key-2");
    publish(&[("first", one), ("second", other)]);
    fleet.settle(&[&host]);

    proxy.lose(END_TXN, Loss::Late);
    publish(&[("third", one)]);
    sent("a commit to be on its way", 1);
    publish(&[("fourth", other)]);
    sent("its successor's to be on its way too", 2);
    let log = fs::read_to_string(place.log()).unwrap();
    assert!(log.contains("the outcome of a transaction is unknown"));
    proxy.lose(END_TXN, Loss::Nothing);
    proxy.deliver().unwrap();

    fleet.settle(&[&host]);
    let told = deeds_in(host.client(), fleet.topic("public.deeds.v1")).unwrap();
    let ids = |key: &str| {
        let deeds = told[key].iter();
        let ids = deeds.map(|deed| (&*deed.id, deed.count));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(one), [("first", 1), ("third", 2)]);
    assert_eq!(ids(other), [("second", 1), ("fourth", 2)]);
}

/// A revoke waits for no answer that does not come: what is staged is forgotten, and the next owner reads with the positions
/// whether it is committed. Staged again there, each event would have its effect twice.
#[test]
fn a_unit_that_is_undecided_when_its_partition_is_revoked_is_decided_by_what_the_next_owner_reads()
{
    let Some(broker) = broker("a revoke of what is undecided") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "undecided");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let place = fleet.behind(&proxy, &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let mut batches = lines.chunks(64);
    let mut published = 0;
    let mut publish = |count: usize| {
        for batch in batches.by_ref().take(count) {
            assert_eq!(host.client().publish(invoices, batch).unwrap().status, 202);
            published += batch.len();
        }
        published
    };
    publish(10);
    fleet.settle(&[&host]);

    proxy.lose(END_TXN, Loss::Answers);
    publish(10);
    wait::until("an answer to be lost", SETTLE, || {
        Ok((proxy.lost() > 0).then_some(()))
    })
    .unwrap();
    let joins = fleet.place("b", &["billing"]).start().unwrap();
    wait::until("a revoke to end without an answer", SETTLE, || {
        publish(1);
        let log = fs::read_to_string(place.log())?;
        Ok(log.contains("not all was committed in time").then_some(()))
    })
    .unwrap();
    proxy.lose(END_TXN, Loss::Nothing);
    let published = publish(10);
    fleet.settle(&[&host, &joins]);
    let right = purchases::totals(&lines[..published]).unwrap();
    assert_payments(&joins, &fleet, &right);
}

/// Another process has taken over the name of this host's producers. Whose partitions are the host's it cannot know any more: it
/// gives up its membership by itself, and what it has done last is done once.
#[test]
fn a_host_whose_producers_are_fenced_gives_up_its_membership_and_makes_it_anew() {
    let Some(broker) = broker("producers that are fenced") else {
        return;
    };
    let fleet = Fleet::new(&broker, "fenced");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let place = fleet.place_as("host-1", "a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let publish = |lines: &[String]| {
        publish_at_once(&host, invoices, lines);
        fleet.settle(&[&host]);
    };
    let (before, after) = lines.split_at(lines.len() / 2);
    publish(before);
    for number in 0..2 {
        let name = format!("weir.fenced.default.billing.host-1.{number}");
        take_name(&broker.cluster, &name, invoices);
    }
    let renewed = |log: &str| {
        let lines = log.lines();
        let renewed: Vec<_> = lines
            .filter(|line| line.contains("the membership is made anew"))
            .map(str::to_owned)
            .collect();
        renewed
    };
    assert_eq!(renewed(&fs::read_to_string(place.log()).unwrap()), [""; 0]);
    publish(after);
    let renewed = renewed(&fs::read_to_string(place.log()).unwrap());
    let [told] = &renewed[..] else {
        panic!("{renewed:?}");
    };
    assert!(told.contains("its producer was fenced"), "{told}");
    assert_payments(&host, &fleet, &purchases::totals(&lines).unwrap());
}

/// The end of a transaction is decided before it is written to where it counts: until then its partitions are as they were
/// before it, and what reads them then misses what is committed.
#[test]
fn a_new_owner_waits_for_the_open_transaction_of_the_owner_before_it() {
    let test = "an open transaction of another host";
    let Some(broker) = started(test, Cluster::start_between) else {
        return;
    };
    let fleet = Fleet::new(&broker, "open");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let [first, second] = ["a", "b"].map(|name| fleet.place(name, &["billing"]));
    let host = first.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let publish = |lines: &[String]| publish_at_once(&host, invoices, lines);
    let (before, after) = lines.split_at(lines.len() / 2);
    publish(before);
    fleet.settle(&[&host]);
    let handled = || host.client().fate("billing", "handled");
    let settled = handled().unwrap();

    // Its transactions are committed, as it knows, and nobody sees that.
    let between = broker.cluster.between();
    between.lose(WRITE_TXN_MARKERS, Loss::Requests);
    publish(after);
    wait::until("a transaction to be committed", SETTLE, || {
        Ok((handled()? > settled).then_some(()))
    })
    .unwrap();
    assert!(between.lost() > 0);
    host.kill().unwrap();
    let mut command = second.run_command();
    command.env("WEIR_LOG", "info,weir=debug");
    let host = second.spawn_command(command).unwrap();
    wait::until("the second host to wait", SETTLE, || {
        let log = fs::read_to_string(second.log())?;
        let restored = log.matches("ledger restored").count() as u64;
        assert!(restored < PARTITIONS, "it has not waited for what was open");
        let waits = |line: &str| line.contains("cannot restore yet") && line.contains("stable");
        Ok(log.lines().any(waits).then_some(()))
    })
    .unwrap();
    between.lose(WRITE_TXN_MARKERS, Loss::Nothing);
    between.cut();
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right);
}

/// That program, which copies the first partition of a topic behind its end, in one transaction under this name, as this
/// group.
fn copier(cluster: &Cluster, bootstrap: &str, (name, group): (&str, &str), topic: &str) -> Command {
    let mut command = cluster.tool(COPIER);
    command.args(["--broker-list", bootstrap, "--transactional-id", name]);
    command.args(["--consumer-group", group]);
    command.args(["--input-topic", topic, "--output-topic", topic]);
    command.args(["--input-partition", "0", "--transaction-size", "100000"]);
    // Nothing ends it but a test.
    command.args(["--transaction-timeout", "600000"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// From here on the cluster takes nothing of any other program that has this name.
fn take_name(cluster: &Cluster, name: &str, topic: &str) {
    let names = (name, &*format!("ends-{name}"));
    let mut command = copier(cluster, &cluster.bootstrap(), names, topic);
    command.args(["--max-messages", "0"]);
    assert!(command.status().unwrap().success());
}

/// Transactions of others, under the name of the environment: by another test's name that one would end them.
impl Fleet {
    /// Leaves one open in the first partition of a topic, whose program is gone.
    pub(super) fn leave_open(&self, topic: &str) {
        let cluster = &self.broker.cluster;
        let _alone = PROXY.lock();
        let proxy = cluster.proxy().unwrap();
        // All of it is written before it is to be committed.
        proxy.lose(END_TXN, Loss::Requests);
        let names = (self.environment, &*format!("copies-{}", self.environment));
        let mut copies = copier(cluster, &proxy.address(), names, topic);
        let mut copies = copies.spawn().unwrap();
        let open = wait::until("a transaction of others to be open", SETTLE, || {
            let ended = copies.try_wait()?;
            Ok((proxy.lost() > 0 || ended.is_some()).then_some(ended))
        });
        copies.kill().unwrap();
        copies.wait().unwrap();
        assert_eq!(open.unwrap(), None, "it has ended");
    }

    /// Whoever has the same name ends it, and has nothing to copy.
    pub(super) fn end_open(&self, topic: &str) {
        take_name(&self.broker.cluster, self.environment, topic);
    }
}

/// What is committed behind a transaction of others is not to be read while that is open, and the positions are stable all
/// the while: a restore that takes the last stable offset for the end misses it.
#[test]
fn a_new_owner_waits_for_a_transaction_of_others_that_is_open_in_its_ledger() {
    let Some(broker) = broker("a transaction of others in a ledger") else {
        return;
    };
    let fleet = Fleet::new(&broker, "others");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let [first, second] = ["a", "b"].map(|name| fleet.place(name, &["billing"]));
    let invoices = fleet.topic("public.invoices.v1");
    let publish = |host: &Host, lines: &[String]| publish_at_once(host, invoices, lines);
    let thirds: Vec<_> = lines.chunks(lines.len().div_ceil(3)).collect();
    let host = first.start().unwrap();
    publish(&host, thirds[0]);
    fleet.settle(&[&host]);
    let ledger = "_weir.weir.others.default.billing.ledger";
    fleet.leave_open(ledger);
    publish(&host, thirds[1]);
    fleet.settle(&[&host]);
    host.kill().unwrap();

    let mut command = second.run_command();
    command.env("WEIR_LOG", "info,weir=debug");
    let host = second.spawn_command(command).unwrap();
    let waits = format!("ask how far {ledger} reaches: ");
    let restored = |log: &str| {
        assert!(!log.contains("was it made anew?"), "it has not waited");
        let lines = log.lines().filter(|line| line.contains("ledger restored"));
        let (held, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(HELD));
        (held.len() as u64, others.len() as u64)
    };
    wait::until("the second host to wait", SETTLE, || {
        let log = fs::read_to_string(second.log())?;
        let (held, others) = restored(&log);
        assert_eq!(held, 0, "it has not waited for what was open");
        let says = |line: &str| {
            line.contains("cannot restore yet") && line.contains(HELD) && line.contains(&waits)
        };
        Ok((log.lines().any(says) && others >= PARTITIONS - 1).then_some(()))
    })
    .unwrap();
    let said = alarm(&host, "read-failing");
    assert!(said.contains(&waits), "{said}");
    fleet.end_open(ledger);
    fleet.settle(&[&host]);
    let (held, _) = restored(&fs::read_to_string(second.log()).unwrap());
    assert!(held > 0);
    // What it restored is what the totals go on from.
    publish(&host, thirds[2]);
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right);
}

/// The unit that a partition handed over last stands behind another's transaction, which takes its time. Were the ledger read
/// before that unit is in it, all that is in it would be done again, and committed after it.
#[test]
fn a_partition_goes_on_after_it_has_stopped_when_its_last_unit_is_decided() {
    let Some(broker) = broker("a partition that goes on while its unit waits") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "halted");
    let place = fleet.place_at("a", &[fleet.letterless()], &proxy.address(), "");
    let host = place.start().unwrap();
    let scripts = fleet.topic("public.scripts.v1");
    let publish = |events: &[(&str, &str, Value)]| {
        let events: Vec<_> = events
            .iter()
            .map(|(id, key, what)| order(id, key, what))
            .collect();
        assert_eq!(host.client().publish(scripts, &events).unwrap().status, 202);
    };
    // These keys are of the partitions 0 and 2, which have one producer.
    let (one, two, other) = ("key-1", "key-17", "key-2");
    publish(&[("first", one, json!({})), ("second", other, json!({}))]);
    fleet.settle(&[&host]);

    proxy.lose(END_TXN, Loss::Requests);
    publish(&[("hangs", other, json!({}))]);
    wait::until("a transaction to hang", SETTLE, || {
        Ok((proxy.lost() > 0).then_some(()))
    })
    .unwrap();
    let dies = json!({ "fail": "permanent" });
    publish(&[("waits", one, json!({})), ("dies", two, dies)]);
    alarm(&host, "dead-letter-stopped");
    let url = host.client().url();
    let resumed = place.weir(&["resume", "scripted", "--url", &url]).output();
    assert!(resumed.unwrap().status.success());
    wait::until("nobody to wait for the unit", SETTLE, || {
        let log = fs::read_to_string(place.log())?;
        Ok(log.contains("not all was committed in time").then_some(()))
    })
    .unwrap();
    proxy.lose(END_TXN, Loss::Nothing);

    let deeds = fleet.topic("public.deeds.v1");
    wait::until("all but the event that dies", SETTLE, || {
        let handler = &host.client().status()?["handlers"][0];
        let stands = handler["open"] == 1 && handler["state"] == "stopped";
        let told = deeds_in(host.client(), deeds)?;
        let told = told.values().flatten().count();
        anyhow::ensure!(stands && told >= 4, "{handler}, {told} deeds");
        Ok(Some(()))
    })
    .unwrap();
    let told = deeds_in(host.client(), deeds).unwrap();
    let ids = |key: &str| {
        let deeds = told[key].iter();
        let ids = deeds.map(|deed| (deed.id.clone(), deed.count));
        ids.collect::<Vec<_>>()
    };
    let deed = |id: &str, count| (id.to_owned(), count);
    assert_eq!(ids(one), [deed("first", 1), deed("waits", 2)]);
    assert_eq!(ids(other), [deed("second", 1), deed("hangs", 2)]);
}

/// A client is not told a broker's version. What it is told it describes: as one of Kafka 3.5 it lacks the setting that
/// came with what exactly once rests on.
#[test]
fn a_broker_that_cannot_keep_transactions_apart_is_refused_for_exactly_once_alone() {
    let Some(broker) = broker("a broker that is too old") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    proxy.replace(
        "transaction.partition.verification.enable",
        "transaction.partition.verification.absent",
    );
    let fleet = Fleet::new(&broker, "old");
    let place = fleet.behind(&proxy, &["stateless"]);
    let refused = place.start().unwrap_err().to_string();
    assert!(
        refused.contains("is older than Kafka 3.6") && refused.contains("at-least-once"),
        "{refused}"
    );
    let once = "[kafka]\n";
    let text = std::fs::read_to_string(place.config()).unwrap();
    let text = text.replace(once, &format!("{once}delivery = \"at-least-once\"\n"));
    std::fs::write(place.config(), text).unwrap();
    let host = place.start().unwrap();
    assert!(host.drain().unwrap().success());
}
