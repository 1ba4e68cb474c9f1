//! The whole host from Kafka to Kafka, beside what else does the same work on the same broker: the bare loop of a careful
//! program, with transactions as large as the host's, also with the bare component call in it, and without; and Kafka Streams
//! with an inbox.
//!
//! The input is written before. Then they take turns, each as a consumer group of its own, watched by its committed offsets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::{self, Host, Place};
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::ports;
use weir_tests::purchases::{INVOICES, PAYMENTS};
use weir_tests::wait;

use super::{Budget, Figure, figures_of, host::copies, limits};
use crate::{cargo, guests};

mod delay;
mod many;
mod restoring;

/// Some seconds of work for the fastest.
const EVENTS: u64 = 300_000;
/// What the peer on a virtual machine does before it is counted, so that its compiler does not count.
const PEERS_WARM_UP: u64 = 2 * EVENTS;
/// Where it reads that, and then as much as others; and the host that is compared with it, which has as many ids then.
const PEERS_INPUT: &str = "dev.local.public.peers.v1";
/// Of `billing` under its name in a benchmark.
const GROUP: &str = "weir.dev.default.billing-0";
/// The environments of the hosts whose handler keeps nothing of an event, as the peers keep nothing but its id.
const EXACTLY: &str = "exactly";
const LEAST: &str = "least";
const BESIDE_STREAMS: &str = "beside";
const AT_LEAST_ONCE: &str = "delivery = \"at-least-once\"\n";
/// Where their handler is built, and its component there.
const STATELESS: &str = "target/fixtures/stateless";
const COMPONENT: &str = "stateless.wasm";
/// The broker is warm when its compiler takes this part of a core, or after so many rounds.
const WARM: f64 = 0.1;
const ROUNDS_MAX: u32 = 8;
/// For a host whose positions are committed to say what became of all events.
const COUNTED: Duration = Duration::from_secs(10);
const POM: &str = include_str!("kafka/pom.xml");

/// A broker with its input, and the program that measures on it.
struct Bench<'a> {
    root: &'a Path,
    cluster: Cluster,
    rate: PathBuf,
}

/// The threads of a host that do the work, by a part of their names: handlers and the pipeline, commits, and the client of the
/// brokers.
const THREADS: [(&str, &str); 3] = [
    ("handlers", "weir-handler"),
    ("committers", "weir-commit"),
    ("librdkafka", "rdk:"),
];

/// What a host took for all events.
struct Used {
    /// For each of them.
    cpu_us: f64,
    /// The part of each of [`THREADS`].
    by_thread_us: [f64; THREADS.len()],
    /// What it had at the end.
    memory_mib: f64,
    /// By so much that grew for each event since it was ready.
    memory_bytes: f64,
}

/// A peer that is killed when it is dropped: it works for ever.
struct Peer(Child);

pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let streams = root.join("target/kafka/streams");
    let streams_libraries = kafka::libraries_of(&streams, POM).map_err(missing)?;
    // Told now and not after all that is measured before it.
    let java = compiled(&streams, &streams_libraries)?;
    let folder = root.join("target/bench-kafka");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let mut bench = Bench::start(root, &folder)?;
    bench.warm(&folder)?;
    let (weir, used) = bench.stateless(&folder, EXACTLY, "")?;
    let size = mean_transaction(&weir)?;
    let bare = bench.bare_loops(size)?;
    let (least, least_used) = bench.stateless(&folder, LEAST, AT_LEAST_ONCE)?;
    let at_least_once = events_per_s(&least)?;
    let (stateful, stateful_used) = bench.billing(&folder.join("billing"))?;
    let with_state = events_per_s(&stateful)?;
    let restoring = restoring::measure(&bench, &folder.join("restored"))?;
    bench.fill_for_peers()?;
    let streams = bench.streams(java)?;
    let beside = bench.beside_streams(&folder)?;
    let ours = events_per_s(&weir)?;
    let ids = bench.changelog_bytes(&stateless_group(EXACTLY))?;
    let states = bench.changelog_bytes(GROUP)?;
    let rates = delay::Rates {
        exactly: ours,
        with_state,
        at_least: at_least_once,
    };
    let delays = delay::measure(&bench, &folder, &rates)?;
    let many = many::measure(&bench, &folder)?;
    bench.cluster.stop(1, true)?;
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;

    let own = [
        ratio("kafka_streams_ratio", beside / streams, 1.2),
        rate("kafka_events_per_s", ours),
        Figure::limit("kafka_cpu_us", used.cpu_us, "us"),
        rate("kafka_core_events_per_s", 1e6 / used.cpu_us),
        Figure::limit("kafka_memory_mib", used.memory_mib, "MiB"),
        Figure::limit("kafka_memory_bytes_per_event", used.memory_bytes, "bytes"),
        Figure::limit("kafka_changelog_bytes_per_event", ids, "bytes"),
        rate("kafka_state_events_per_s", with_state),
        Figure::limit("kafka_state_ratio", with_state / bare.transactions, "ratio"),
        Figure::limit("kafka_state_cpu_us", stateful_used.cpu_us, "us"),
        Figure::limit("kafka_state_memory_mib", stateful_used.memory_mib, "MiB"),
        Figure::limit("kafka_state_changelog_bytes_per_event", states, "bytes"),
        rate("kafka_alo_events_per_s", at_least_once),
        Figure::limit("kafka_alo_cpu_us", least_used.cpu_us, "us"),
        Figure::limit("kafka_alo_memory_mib", least_used.memory_mib, "MiB"),
        Figure::limit("kafka_transaction", f64::from(size), "events"),
        rate("kafka_streams_per_s", streams),
        rate("kafka_beside_streams_per_s", beside),
    ];
    let profile = [used.profile("kafka"), stateful_used.profile("kafka_state")].concat();
    Ok([
        bare.ratios(ours, at_least_once),
        own.to_vec(),
        bare.figures(),
        profile,
        restoring,
        delays,
        many,
    ]
    .concat())
}

/// Events a second of the loops that call no host.
struct Bare {
    transactions: f64,
    acknowledged: f64,
    /// With nothing but the bare component call in place of the loop's own work.
    transactions_calls: f64,
    acknowledged_calls: f64,
}

impl Bare {
    /// What a host reaches of them, exactly and at least once.
    fn ratios(&self, exactly: f64, least: f64) -> Vec<Figure> {
        let of_calls = |name, ours, peer| Figure::limit(name, ours / peer, "ratio");
        vec![
            ratio("kafka_eos_ratio", exactly / self.transactions, 0.8),
            ratio("kafka_alo_ratio", least / self.acknowledged, 0.8),
            of_calls("kafka_eos_calls_ratio", exactly, self.transactions_calls),
            of_calls("kafka_alo_calls_ratio", least, self.acknowledged_calls),
        ]
    }

    fn figures(&self) -> Vec<Figure> {
        vec![
            rate("bare_transactions_per_s", self.transactions),
            rate("bare_transactions_calls_per_s", self.transactions_calls),
            rate("bare_loop_per_s", self.acknowledged),
            rate("bare_loop_calls_per_s", self.acknowledged_calls),
        ]
    }
}

impl Used {
    /// Where the CPU went.
    fn profile(&self, name: &str) -> Vec<Figure> {
        let threads = THREADS.iter().zip(self.by_thread_us);
        threads
            .map(|((of, _), us)| Figure::limit(&format!("{name}_cpu_{of}_us"), us, "us"))
            .collect()
    }
}

fn ratio(name: &str, value: f64, least: f64) -> Figure {
    Figure::new(name, value, "ratio", &Budget::AtLeast(least), None)
}

fn rate(name: &str, events_per_s: f64) -> Figure {
    Figure::limit(name, events_per_s, "events/s")
}

fn missing(Missing(why): Missing) -> anyhow::Error {
    anyhow::anyhow!("there is no Kafka to measure on: {why}")
}

impl<'a> Bench<'a> {
    /// A broker with its input.
    fn start(root: &'a Path, folder: &Path) -> anyhow::Result<Self> {
        let libraries = kafka::libraries(root).map_err(missing)?;
        let mut cluster = Cluster::new(&libraries, folder, &ports::free::<1>()?)?;
        cluster.start(1)?;
        let bench = Self {
            root,
            cluster,
            rate: host::binary()?.with_file_name("examples/kafka_rate"),
        };
        let events = EVENTS.to_string();
        eprintln!("writing {events} events");
        cargo::run(bench.command(&[
            "fill",
            &events,
            INVOICES,
            PAYMENTS,
            "bare-transactions",
            "bare-transactions-calls",
            "bare",
            "bare-calls",
            "streams",
            &deeds(EXACTLY),
            &deeds(LEAST),
            &deeds(BESIDE_STREAMS),
        ]))?;
        guests::build_fixtures(root)?;
        Ok(bench)
    }

    /// Lets the broker work until it is compiled. In the first minutes its compiler takes as much of the machine as all that is
    /// measured, and whoever comes first would pay for those who follow.
    fn warm(&self, folder: &Path) -> anyhow::Result<()> {
        for round in 1..=ROUNDS_MAX {
            let (started, before) = (Instant::now(), self.compiling());
            let (environment, bare) = (format!("warm{round}"), format!("bare{round}"));
            let output = format!("{environment}.local.public.payments.v1");
            cargo::run(self.command(&["fill", "0", &output, &bare]))?;
            let billing = copies(self.root, 1)?.remove(0);
            let own = ("billing.wasm", "public.invoices.v1");
            let home = folder.join(&environment);
            let place = self.reader_of(INVOICES, &home, &environment, (&billing, own), "")?;
            let group = format!("weir.{environment}.default.billing-0");
            self.handled(&place, EVENTS, &["watch", &group, INVOICES, &output])?;
            self.bare(&bare, &["--transaction", "1000"])?;
            let compiling = self.compiling().saturating_sub(before).as_secs_f64();
            let share = compiling / started.elapsed().as_secs_f64();
            let percent = share * 100.0;
            eprintln!("warming the broker: its compiler took {percent:.0} % of a core");
            if share < WARM {
                break;
            }
        }
        Ok(())
    }

    /// What the compilers of the broker's machine have used.
    fn compiling(&self) -> Duration {
        let broker = self.cluster.pid(1);
        let threads = |pid| limits::cpu_of_threads(pid, "CompilerThre");
        broker.map(threads).unwrap_or_default()
    }

    /// A host in an environment of its own, whose handler reads what is there under the names of another.
    fn reader_of(
        &self,
        input: &str,
        folder: &Path,
        environment: &str,
        (built, (component, own_topic)): (&Path, (&str, &str)),
        config: &str,
    ) -> anyhow::Result<Place> {
        let handler = folder.join("handler");
        fs::create_dir_all(&handler)?;
        fs::copy(built.join(component), handler.join(component)).context("copy the handler")?;
        let manifest = fs::read_to_string(built.join("handler.toml")).context("read a manifest")?;
        let manifest = manifest.replace(own_topic, input);
        fs::write(handler.join("handler.toml"), manifest)?;
        let config = self.config() + config;
        let home = folder.join("host");
        Place::in_environment(&host::binary()?, &home, &[handler], environment, &config)
    }

    /// The measuring program on this broker.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.rate);
        command
            .arg(self.cluster.bootstrap())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// The figures of a host whose handler adds up a total for each of 10,000 keys, and what it took.
    fn billing(&self, folder: &Path) -> anyhow::Result<(BTreeMap<String, f64>, Used)> {
        let handlers = copies(self.root, 1)?;
        let place = Place::new(&host::binary()?, folder, &handlers, &self.config())?;
        self.handled(&place, EVENTS, &["watch", GROUP, INVOICES, PAYMENTS])
    }

    /// Starts a host, and waits until it has handled everything, which is so much.
    fn handled(
        &self,
        place: &Place,
        events: u64,
        watch: &[&str],
    ) -> anyhow::Result<(BTreeMap<String, f64>, Used)> {
        let watch = self.command(watch);
        let watched = std::thread::spawn(move || figures_of(watch));
        let running = place.start()?;
        let at_first = limits::resident_kib(running.pid())?;
        let figures = watched.join().expect("it does not panic");
        let figures = figures.with_context(|| place.end_of_log())?;
        let cpu = limits::cpu_time(running.pid()).unwrap_or_default();
        let memory = limits::resident_kib(running.pid())?;
        let each = |total: f64| total / events as f64;
        let each_us = |cpu: Duration| each(cpu.as_secs_f64() * 1e6);
        let by_thread = THREADS.map(|(_, name)| limits::cpu_of_threads(running.pid(), name));
        all_handled(&running, events)?;
        running.drain()?;
        let used = Used {
            cpu_us: each_us(cpu),
            by_thread_us: by_thread.map(each_us),
            memory_mib: memory as f64 / 1024.0,
            memory_bytes: each((memory as f64 - at_first as f64) * 1024.0),
        };
        Ok((figures, used))
    }

    /// What the host has written to its changelog for each event.
    fn changelog_bytes(&self, group: &str) -> anyhow::Result<f64> {
        let mut bytes = 0;
        for log in ["ledger", "park"] {
            bytes += self.cluster.topic_bytes(&format!("_weir.{group}.{log}"))?;
        }
        Ok(bytes as f64 / EVENTS as f64)
    }

    /// The same of a host whose handler does what the peers do: it makes another event of each.
    fn stateless(
        &self,
        folder: &Path,
        environment: &str,
        config: &str,
    ) -> anyhow::Result<(BTreeMap<String, f64>, Used)> {
        let place = self.stateless_of(INVOICES, folder, environment, config)?;
        let (group, output) = (stateless_group(environment), deeds(environment));
        self.handled(&place, EVENTS, &["watch", &group, INVOICES, &output])
    }

    fn stateless_of(
        &self,
        input: &str,
        folder: &Path,
        environment: &str,
        config: &str,
    ) -> anyhow::Result<Place> {
        let built = self.root.join(STATELESS);
        let own = (&*built, (COMPONENT, "public.scripts.v1"));
        self.reader_of(input, &folder.join(environment), environment, own, config)
    }

    /// The rate of that host over what the peer on a virtual machine is measured over: an inbox that has more ids is slower.
    fn beside_streams(&self, folder: &Path) -> anyhow::Result<f64> {
        let place = self.stateless_of(PEERS_INPUT, folder, BESIDE_STREAMS, "")?;
        let group = stateless_group(BESIDE_STREAMS);
        let (output, after) = (deeds(BESIDE_STREAMS), PEERS_WARM_UP.to_string());
        let watch = ["watch", &group, PEERS_INPUT, &output, "--after", &after];
        let (figures, _) = self.handled(&place, PEERS_WARM_UP + EVENTS, &watch)?;
        events_per_s(&figures)
    }

    /// Of a host on this broker.
    fn config(&self) -> String {
        format!("[kafka]\nbootstrap = \"{}\"\n", self.cluster.bootstrap())
    }

    /// All of them; transactions are as large as the host's.
    fn bare_loops(&self, transaction: u32) -> anyhow::Result<Bare> {
        let transaction = transaction.to_string();
        let transactions = ["--transaction", &transaction];
        let component = self.root.join(STATELESS).join(COMPONENT);
        let component = component.display().to_string();
        let calls = ["--component", &component];
        Ok(Bare {
            transactions: self.bare("bare-transactions", &transactions)?,
            acknowledged: self.bare("bare", &[])?,
            transactions_calls: self
                .bare("bare-transactions-calls", &[transactions, calls].concat())?,
            acknowledged_calls: self.bare("bare-calls", &calls)?,
        })
    }

    fn bare(&self, output: &str, more: &[&str]) -> anyhow::Result<f64> {
        let mut command = self.command(&["loop", output, INVOICES, output]);
        command.args(more);
        self.watched(command, &["watch", output, INVOICES, output])
    }

    fn fill_for_peers(&self) -> anyhow::Result<()> {
        let all = (PEERS_WARM_UP + EVENTS).to_string();
        eprintln!("writing {all} events");
        cargo::run(self.command(&["fill", &all, PEERS_INPUT]))
    }

    fn streams(&self, mut java: Command) -> anyhow::Result<f64> {
        let (name, after) = ("streams", PEERS_WARM_UP.to_string());
        java.arg(self.cluster.bootstrap())
            .args([name, PEERS_INPUT, name]);
        self.watched(java, &["watch", name, PEERS_INPUT, name, "--after", &after])
    }

    /// Runs a peer until it has handled everything.
    fn watched(&self, mut peer: Command, watch: &[&str]) -> anyhow::Result<f64> {
        let _peer = Peer(peer.spawn().context("start a peer")?);
        let figures = figures_of(self.command(watch));
        events_per_s(&figures.with_context(|| watch.join(" "))?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Either may fail because the process is gone, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// That the only handler of a host has handled so many events, and dropped none and let none die: positions are committed
/// for those too, and the markers of transactions stand in their places.
fn all_handled(host: &Host, events: u64) -> anyhow::Result<()> {
    wait::until("a fate of all events", COUNTED, || {
        let status = host.client().status()?;
        let fates = &status["handlers"][0]["fates"];
        let mut others = fates.as_object().context("no fates")?.clone();
        others.retain(|fate, count| fate != "handled" && *count != 0);
        anyhow::ensure!(
            fates["handled"] == events && others.is_empty(),
            "{fates} of {events} events"
        );
        Ok(Some(()))
    })
}

/// The consumer group of the handler without state.
fn stateless_group(environment: &str) -> String {
    format!("weir.{environment}.default.stateless")
}

/// Where that handler emits to.
fn deeds(environment: &str) -> String {
    format!("{environment}.local.public.deeds.v1")
}

fn events_per_s(figures: &BTreeMap<String, f64>) -> anyhow::Result<f64> {
    let rate = figures.get("events_per_s").copied();
    rate.context("the watcher printed no events_per_s")
}

/// Events in one of the host's transactions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousand events"
)]
fn mean_transaction(figures: &BTreeMap<String, f64>) -> anyhow::Result<u32> {
    let figure = |name| {
        figures
            .get(name)
            .with_context(|| format!("the watcher printed no {name}"))
    };
    let (events, transactions) = (figure("events")?, figure("transactions")?);
    anyhow::ensure!(*transactions > 0.0, "the host committed no transaction");
    Ok((events / transactions) as u32)
}

/// `java Inbox`, compiled.
fn compiled(folder: &Path, libraries: &Path) -> anyhow::Result<Command> {
    let source = folder.join("Inbox.java");
    fs::write(&source, include_str!("kafka/Inbox.java"))?;
    let jars = libraries.join("*").display().to_string();
    let classes = folder.join("classes");
    let output = Command::new("javac")
        .args(["-cp", &jars, "-d"])
        .arg(&classes)
        .arg(&source)
        .output()
        .context("start javac (Debian: `apt-get install default-jdk-headless`)")?;
    anyhow::ensure!(
        output.status.success(),
        "compile {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{jars}:{}", classes.display()))
        .arg("Inbox")
        .stdin(Stdio::null());
    Ok(java)
}
