//! Hosts that share the work of their handlers on a real Kafka cluster.

mod at_least_once;
mod backfill;
mod checkpoints;
mod commands;
mod drain;
mod fleet;
mod fleet_admin;
mod frozen;
mod full_disk;
mod handover;
mod held;
mod kcat;
mod large;
mod letters;
mod made;
mod mapping;
mod outcomes;
mod peers;
mod proof;
mod put_out;
mod resuming;
mod same_id;
mod secure;
mod stalls;
mod starts;
mod suspects;
mod topics;
mod undeploying;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::host::{self, Host, Place};
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::purchases::Totals;
use weir_tests::scripted::order;
use weir_tests::wait;

use crate::fixture::{root, skip};

/// For a fleet to finish after a member died: his session of 30 s, what may have killed him, one event a transaction, and
/// what was left to do.
const SETTLE: Duration = Duration::from_secs(300);
/// Of each topic, by default.
const PARTITIONS: u64 = 12;
/// A fleet with nothing open for so long has seen all that its own handlers have published.
const IDLE: Duration = Duration::from_secs(3);
/// A handler that goes on would have taken an event within this time.
const TAKEN: Duration = Duration::from_secs(2);

/// A broker that all tests share that run at the time.
struct Broker {
    cluster: Cluster,
    _folder: TempDir,
}

/// None where Kafka cannot run, which is said.
fn broker(test: &str) -> Option<Arc<Broker>> {
    static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(broker) = shared.upgrade() {
        return Some(broker);
    }
    let broker = broker_alone(test)?;
    *shared = Arc::downgrade(&broker);
    Some(broker)
}

/// One that no other test has.
fn broker_alone(test: &str) -> Option<Arc<Broker>> {
    started(test, Cluster::start_one)
}

fn started(test: &str, start: fn(&Path, &Path) -> anyhow::Result<Cluster>) -> Option<Arc<Broker>> {
    let libraries = match kafka::libraries(root()) {
        Ok(libraries) => libraries,
        Err(Missing(why)) => {
            skip(test, &format!("no Kafka: {why}"));
            return None;
        }
    };
    let folder = TempDir::with_prefix("weir-kafka-").unwrap();
    let cluster = start(&libraries, folder.path()).unwrap();
    Some(Arc::new(Broker {
        cluster,
        _folder: folder,
    }))
}

/// Hosts of one environment, which no other test has.
struct Fleet {
    broker: Arc<Broker>,
    environment: &'static str,
    folder: TempDir,
}

impl Fleet {
    fn new(broker: &Arc<Broker>, environment: &'static str) -> Self {
        Self {
            broker: Arc::clone(broker),
            environment,
            folder: TempDir::with_prefix("weir-").unwrap(),
        }
    }

    /// A place for a host of the fleet.
    fn place(&self, name: &str, built: &[&str]) -> Place {
        self.place_with(name, &host::handlers(root(), built).unwrap(), "")
    }

    /// The same for a host of this id.
    fn place_as(&self, id: &str, name: &str, built: &[&str]) -> Place {
        let place = self.place(name, built);
        let text = fs::read_to_string(place.config()).unwrap();
        fs::write(place.config(), format!("host_id = \"{id}\"\n{text}")).unwrap();
        place
    }

    /// As [`Self::place`] with the handlers of these folders; `config` follows what it has of Kafka.
    fn place_with(&self, name: &str, handlers: &[PathBuf], config: &str) -> Place {
        let bootstrap = self.broker.cluster.bootstrap();
        self.place_at(name, handlers, &bootstrap, config)
    }

    /// The same for one that reaches the cluster there.
    fn place_at(&self, name: &str, handlers: &[PathBuf], bootstrap: &str, config: &str) -> Place {
        let config = format!("[kafka]\nbootstrap = \"{bootstrap}\"\n{config}");
        let home = self.folder.path().join(name);
        let binary = host::binary().unwrap();
        Place::in_environment(&binary, &home, handlers, self.environment, &config).unwrap()
    }

    /// A handler that is built, under this name and with its manifest changed.
    fn handler(&self, built: &str, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
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

    /// The handler that does what it is told, without dead letters: an event that dies stops its partition.
    fn letterless(&self) -> PathBuf {
        self.handler("scripted", "scripted", |manifest| {
            format!("dead_letter = \"stop\"\n{manifest}")
        })
    }

    /// Waits until these hosts serve all partitions of all handlers and have given a fate to every event.
    fn settle(&self, hosts: &[&Host]) {
        let mut idle_since = None;
        wait::until("the fleet to have nothing open", SETTLE, || {
            let since = idle_since.take();
            let mut served = BTreeMap::<String, u64>::new();
            for host in hosts {
                let status = host.client().status()?;
                for entry in status["handlers"].as_array().context("no handlers")? {
                    let idle = entry["lag"] == 0 && entry["open"] == 0 && entry["state"] == "ready";
                    anyhow::ensure!(idle, "{entry}, alarms {}", status["alarms"]);
                    *served.entry(entry["name"].to_string()).or_default() +=
                        entry["partitions"].as_u64().unwrap_or_default();
                }
            }
            let all = served.values().all(|partitions| *partitions == PARTITIONS);
            anyhow::ensure!(all, "{}: {served:?}", self.environment);
            // How far a topic reaches is known to each host as of a second ago.
            let since = *idle_since.insert(since.unwrap_or_else(Instant::now));
            Ok((since.elapsed() > IDLE).then_some(()))
        })
        .unwrap();
    }

    /// Runs one of Kafka's tools until it succeeds.
    fn tool(&self, class: &str, arguments: &[&str]) {
        let bootstrap = self.broker.cluster.bootstrap();
        wait::until(&format!("{arguments:?}"), SETTLE, || {
            let mut command: Command = self.broker.cluster.tool(class);
            command.args(["--bootstrap-server", &bootstrap]);
            let output = command.args(arguments).output()?;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            // The tool for groups reports what it could not do, and succeeds.
            anyhow::ensure!(
                output.status.success() && !said.contains("Error: "),
                "{said}"
            );
            Ok(Some(()))
        })
        .unwrap();
    }

    /// Sets this of a topic.
    fn alter(&self, topic: &str, setting: &str) {
        let entity = ["--entity-type", "topics", "--entity-name", topic];
        let change = ["--alter", "--add-config", setting];
        self.tool(
            "kafka.admin.ConfigCommand",
            &[entity.as_slice(), &change].concat(),
        );
    }

    /// A topic's full name here.
    fn topic(&self, short: &str) -> &'static str {
        // Publishers keep a name as long as they live, and a test has a handful.
        Box::leak(format!("{}.local.{short}", self.environment).into_boxed_str())
    }

    /// Where the handler `scripted` takes its orders, and where it tells what it did.
    fn scripted(&self) -> (&'static str, &'static str) {
        (
            self.topic("public.scripts.v1"),
            self.topic("public.deeds.v1"),
        )
    }
}

/// The manifest of a fixture that reads these topics in place of its own.
fn reading(manifest: &str, topics: &[&str]) -> String {
    let own = "topics = [\"public.scripts.v1\"]";
    assert!(manifest.contains(own), "{manifest}");
    manifest.replace(own, &format!("topics = {topics:?}"))
}

fn publish(host: &Host, topic: &str, events: &[String]) {
    wait::until("the events to be taken", SETTLE, || {
        let answer = host.client().publish(topic, events)?;
        anyhow::ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        Ok(Some(()))
    })
    .unwrap();
}

/// Publishes them to a cluster that takes each batch when it is asked to.
fn publish_at_once(host: &Host, topic: &str, events: &[String]) {
    for batch in events.chunks(256) {
        assert_eq!(host.client().publish(topic, batch).unwrap().status, 202);
    }
}

/// Orders to do nothing but tell it, of keys all over the topic.
fn orders(prefix: &str, count: usize) -> Vec<String> {
    let orders = (0..count).map(|n| order(&format!("{prefix}-{n}"), &format!("k-{n}"), &json!({})));
    orders.collect()
}

/// Waits until a handler serves all partitions and has given these fates to events since the host started, and no other.
fn wait_for_fates(host: &Host, handler: &str, wanted: &Value) {
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

/// Waits for an alarm of this code, and gives what it says.
fn alarm(host: &Host, code: &str) -> String {
    wait::until(&format!("the alarm {code}"), SETTLE, || {
        let status = host.client().status()?;
        let alarms = status["alarms"].as_array().into_iter().flatten();
        let mut alarms = alarms;
        let found = alarms.find(|alarm| alarm["alarm"] == code);
        Ok(found.map(|alarm| alarm["detail"].to_string()))
    })
    .unwrap()
}

/// What both handlers of the purchases have emitted comes to the right totals, each event once and in order.
fn assert_totals(host: &Host, fleet: &Fleet, right: &Totals) {
    assert_emitted(host, fleet, "public.payments.v1", right);
    assert_emitted(host, fleet, "public.notifications.v1", right);
}

/// The same of the first of them alone.
fn assert_payments(host: &Host, fleet: &Fleet, right: &Totals) {
    assert_emitted(host, fleet, "public.payments.v1", right);
}

fn assert_emitted(host: &Host, fleet: &Fleet, short: &str, right: &Totals) {
    let emitted = weir_tests::purchases::emitted(host.client(), fleet.topic(short)).unwrap();
    assert_eq!(emitted.best(), right.best(), "{short}");
    assert!(
        emitted == *right,
        "{short}: {} events, {} cents",
        emitted.events,
        emitted.cents()
    );
}
