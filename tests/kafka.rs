//! Apache Kafka on this machine's loopback: fetched with Maven, run with Java, in a folder that holds all of it.
//!
//! Used by the tests of the Kafka bus, and by xtask for `cargo xtask kafka`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::{ports, wait};

pub mod chaos;
mod detached;
mod libraries;
pub mod proxy;
pub mod secure;

pub use self::libraries::{Missing, libraries, libraries_of};

/// The current release whose server is published.
pub const VERSION: &str = "4.3.1";
/// The broker is ready 4 s after its start on an idle machine.
const START: Duration = Duration::from_secs(120);
/// A clean stop writes its snapshots.
const STOP: Duration = Duration::from_secs(60);
/// Of each broker: enough for some million small records, little enough for three of them on a laptop.
const HEAP: &str = "-Xmx768m";
/// For what works some minutes at most: Java's second compiler would take a quarter of the machine and never have it back.
const SHORT: &str = "-XX:TieredStopAtLevel=1";
/// What a broker, or Java before it, writes when it does not come up.
const ENDS: [&str; 3] = [
    "Exiting Kafka due to fatal exception",
    "Error: Could not",
    "Error occurred during initialization of VM",
];
/// The same for all clusters that are formatted here: each is alone in its folder.
const CLUSTER: &str = "d2Vpci10ZXN0LWNsdXN0ZQ";

/// Brokers in a folder; those that this process started are stopped when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    libraries: PathBuf,
    folder: PathBuf,
    /// The ports of the brokers, for clients.
    ports: Vec<u16>,
    /// Where the first broker listens for a proxy, and where that listens: clients that come through it stay with it. None
    /// where it listens for none.
    proxied: Option<(u16, u16)>,
    /// Between the brokers.
    between: Option<proxy::Proxy>,
    /// It works some minutes at most.
    short: bool,
    /// By number of the broker.
    children: BTreeMap<usize, Child>,
}

impl Cluster {
    /// A cluster in `folder` with a broker for each port; formatted where it is new.
    ///
    /// # Errors
    /// The folder cannot be written, or the storage tool failed.
    pub fn new(libraries: &Path, folder: &Path, ports: &[u16]) -> anyhow::Result<Self> {
        let mut cluster = Self::made(folder, ports);
        cluster.libraries = libraries.to_path_buf();
        let mut controllers = Vec::new();
        while controllers.len() < ports.len() {
            let free = ports::next()?;
            // Those of the brokers are free too until they start.
            if !ports.contains(&free) {
                controllers.push(free);
            }
        }
        for node in 1..=ports.len() {
            let home = cluster.home(node);
            if home.join("server.properties").is_file() {
                continue;
            }
            fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
            fs::write(
                home.join("server.properties"),
                cluster.properties(node, &controllers),
            )?;
            cluster.format(node)?;
        }
        Ok(cluster)
    }

    /// The same of one that was made before, to see and to stop it: nothing can be started by it.
    #[must_use]
    pub fn made(folder: &Path, ports: &[u16]) -> Self {
        Self {
            libraries: PathBuf::new(),
            folder: folder.to_path_buf(),
            ports: ports.to_vec(),
            proxied: None,
            between: None,
            short: false,
            children: BTreeMap::new(),
        }
    }

    /// One broker for a test on a free port in `folder`, ready, that can be reached through a proxy too.
    ///
    /// # Errors
    /// It did not start; the end of its log is told.
    pub fn start_one(libraries: &Path, folder: &Path) -> anyhow::Result<Self> {
        let [port, behind, proxied] = ports::free()?;
        let mut cluster = Self::new(libraries, folder, &[port])?;
        cluster.short = true;
        cluster.proxied = Some((behind, proxied));
        let advertised = format!("127.0.0.1:{proxied}");
        cluster.listen(("PROXIED", "PLAINTEXT"), behind, &advertised, "PLAINTEXT")?;
        cluster.start(1)?;
        Ok(cluster)
    }

    /// One broker as [`Self::start_one`], which reaches itself through a proxy.
    ///
    /// # Errors
    /// It did not start; the end of its log is told.
    pub fn start_between(libraries: &Path, folder: &Path) -> anyhow::Result<Self> {
        let [port, inner, proxy] = ports::free()?;
        let mut cluster = Self::new(libraries, folder, &[port])?;
        cluster.short = true;
        cluster.between = Some(proxy::Proxy::start(proxy, inner)?);
        let advertised = format!("127.0.0.1:{proxy}");
        cluster.listen(("BETWEEN", "PLAINTEXT"), inner, &advertised, "BETWEEN")?;
        cluster.start(1)?;
        Ok(cluster)
    }

    /// Another listener of the only broker, with its name and protocol, which tells where it is to be reached, and by which of
    /// its listeners the broker reaches itself.
    fn listen(
        &self,
        (name, protocol): (&str, &str),
        port: u16,
        advertised: &str,
        inner: &str,
    ) -> anyhow::Result<()> {
        let properties = self.home(1).join("server.properties");
        let text = fs::read_to_string(&properties)?
            .replace(
                ",CONTROLLER://",
                &format!(",{name}://127.0.0.1:{port},CONTROLLER://"),
            )
            .replace(
                "advertised.listeners=",
                &format!("advertised.listeners={name}://{advertised},"),
            )
            .replace("protocol.map=", &format!("protocol.map={name}:{protocol},"));
        let text = format!("{text}inter.broker.listener.name={inner}\n");
        Ok(fs::write(&properties, text)?)
    }

    /// What stands between the broker of [`Self::start_between`] and itself.
    ///
    /// # Panics
    /// The cluster was made otherwise.
    #[must_use]
    pub fn between(&self) -> &proxy::Proxy {
        self.between
            .as_ref()
            .expect("a broker that reaches itself through a proxy")
    }

    /// A proxy that clients may take for this broker.
    ///
    /// # Errors
    /// The cluster was made without one, or its port is taken: there is one at a time.
    pub fn proxy(&self) -> anyhow::Result<proxy::Proxy> {
        let (behind, port) = self.proxied.context("the broker listens for no proxy")?;
        proxy::Proxy::start(port, behind)
    }

    /// Where clients find it.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let address = |port: &u16| format!("127.0.0.1:{port}");
        self.ports.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// The port of the first broker.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port by which the brokers of a quorum find this one, which is fixed; none of one that is not made yet.
    #[must_use]
    pub fn controller_port(&self, node: usize) -> Option<u16> {
        let text = fs::read_to_string(self.home(node).join("server.properties")).ok()?;
        let (_, address) = text.split_once(",CONTROLLER://127.0.0.1:")?;
        address.lines().next()?.parse().ok()
    }

    /// The process of a broker that this process started; they are numbered from 1.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.children.get(&node).map(Child::id)
    }

    /// Starts a broker and waits until it serves.
    ///
    /// # Errors
    /// It ended, or was not ready in time; the end of its log is told.
    pub fn start(&mut self, node: usize) -> anyhow::Result<()> {
        let child = self.spawn(node)?;
        self.children.insert(node, child);
        self.wait_ready(node)
    }

    /// Starts all brokers: those of a quorum wait for one another.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for node in 1..=self.brokers() {
            let child = self.spawn(node)?;
            self.children.insert(node, child);
        }
        (1..=self.brokers()).try_for_each(|node| self.wait_ready(node))
    }

    /// Waits until a broker serves clients.
    ///
    /// # Errors
    /// It was not ready in time; the end of its log is told.
    pub fn wait_ready(&self, node: usize) -> anyhow::Result<()> {
        let ready = wait::until("the broker to be ready", START, || {
            let log = fs::read_to_string(self.log(node))?;
            let has_ended = ENDS.into_iter().any(|end| log.contains(end));
            let is_ready = log.contains("Kafka Server started");
            Ok((has_ended || is_ready).then_some(is_ready))
        });
        let ready = ready.and_then(|is_ready| {
            anyhow::ensure!(is_ready, "it ended");
            Ok(())
        });
        ready.with_context(|| format!("broker {node}: {}", self.end_of_log(node)))
    }

    /// Whether the broker's port answers.
    #[must_use]
    pub fn answers(&self, node: usize) -> bool {
        TcpStream::connect(("127.0.0.1", self.ports[node - 1])).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn brokers(&self) -> usize {
        self.ports.len()
    }

    /// Ends a broker that this process started: in order, or by SIGKILL.
    ///
    /// # Errors
    /// It is not there, or did not end in time.
    pub fn stop(&mut self, node: usize, in_order: bool) -> anyhow::Result<()> {
        let signal = if in_order {
            rustix::process::Signal::TERM
        } else {
            rustix::process::Signal::KILL
        };
        self.signal(node, signal)?;
        let child = self.children.get_mut(&node);
        let child = child.with_context(|| format!("broker {node} does not run"))?;
        wait::until("the broker to stop", STOP, || Ok(child.try_wait()?))?;
        self.children.remove(&node);
        Ok(())
    }

    /// Stops a broker that this process started where it stands, until [`Self::thaw`]: its connections stay, and nothing is
    /// answered.
    ///
    /// # Errors
    /// It is not there.
    pub fn freeze(&self, node: usize) -> anyhow::Result<()> {
        self.signal(node, rustix::process::Signal::STOP)
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// It is not there.
    pub fn thaw(&self, node: usize) -> anyhow::Result<()> {
        self.signal(node, rustix::process::Signal::CONT)
    }

    fn signal(&self, node: usize, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let child = self.children.get(&node);
        let child = child.with_context(|| format!("broker {node} does not run"))?;
        let process = rustix::process::Pid::from_child(child);
        Ok(rustix::process::kill_process(process, signal)?)
    }

    /// Waits until every broker has all that it is to have, so that another one may go.
    ///
    /// # Errors
    /// They had not in time.
    pub fn wait_in_sync(&self) -> anyhow::Result<()> {
        let bootstrap = self.bootstrap();
        wait::until("the brokers to be in sync", START, || {
            let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
            command.args(["--bootstrap-server", &bootstrap, "--describe"]);
            let output = command.arg("--under-replicated-partitions").output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            anyhow::ensure!(output.status.success(), "it does not say");
            Ok(said.trim().is_empty().then_some(()))
        })
    }

    /// One of Kafka's own tools, such as `org.apache.kafka.tools.TopicCommand`.
    #[must_use]
    pub fn tool(&self, class: &str) -> Command {
        let mut command = self.java(class);
        command.stdin(Stdio::null());
        command
    }

    /// The last lines of a broker's log, for messages.
    #[must_use]
    pub fn end_of_log(&self, node: usize) -> String {
        last_lines(&fs::read_to_string(self.log(node)).unwrap_or_default(), 20)
    }

    /// What a topic takes on the disk of the first broker: its records in all of their batches, without what finds them.
    ///
    /// # Errors
    /// The broker's folder cannot be read.
    pub fn topic_bytes(&self, topic: &str) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for partition in fs::read_dir(self.home(1).join("data"))? {
            let partition = partition?;
            let name = partition.file_name();
            let name = name.to_str().and_then(|name| name.rsplit_once('-'));
            if name.is_none_or(|(name, _number)| name != topic) {
                continue;
            }
            for segment in fs::read_dir(partition.path())? {
                let segment = segment?;
                if segment.path().extension().is_some_and(|end| end == "log") {
                    bytes += segment.metadata()?.len();
                }
            }
        }
        Ok(bytes)
    }

    /// What a broker writes.
    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.home(node).join("broker.log")
    }

    fn spawn(&self, node: usize) -> anyhow::Result<Child> {
        if self.log(node).exists() {
            // Whether it is ready is read of this start alone.
            fs::rename(self.log(node), self.home(node).join("broker.before.log"))?;
        }
        let log = File::create(self.log(node)).context("make the broker's log")?;
        let mut options = vec![HEAP, "-Xms256m"];
        options.extend(self.short.then_some(SHORT));
        self.java_with(&options, "kafka.Kafka")
            .arg(self.home(node).join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start java")
    }

    fn format(&self, node: usize) -> anyhow::Result<()> {
        let output = self
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", CLUSTER, "-c"])
            .arg(self.home(node).join("server.properties"))
            .stdin(Stdio::null())
            .output()
            .context("start java")?;
        anyhow::ensure!(
            output.status.success(),
            "format the storage of broker {node}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn properties(&self, node: usize, controllers: &[u16]) -> String {
        let voters: Vec<_> = controllers
            .iter()
            .enumerate()
            .map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1))
            .collect();
        let replicas = self.ports.len();
        let in_sync = replicas.div_ceil(2);
        format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             num.partitions=12\n\
             default.replication.factor={replicas}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={replicas}\n\
             offsets.topic.num.partitions=10\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\n\
             transaction.state.log.num.partitions=10\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n",
            voters.join(","),
            self.home(node).join("data").display(),
            port = self.ports[node - 1],
            controller = controllers[node - 1],
        )
    }

    fn java(&self, class: &str) -> Command {
        self.java_with(&["-Xmx256m", "-XX:+UseSerialGC", SHORT], class)
    }

    fn java_with(&self, options: &[&str], class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(options)
            .arg("-cp")
            .arg(self.libraries.join("*"))
            .arg(class);
        command
    }

    fn home(&self, node: usize) -> PathBuf {
        self.folder.join(format!("broker-{node}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // Either may fail because the process is gone, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
