//! `cargo xtask kafka`: Apache Kafka on loopback, to try the host on it by hand. Its data lies in `target/kafka/cluster`.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;
use weir_tests::kafka::{self, Cluster};

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Kafka {
    /// Start it, with the data of the last time; prints where clients find it.
    Up {
        /// How many brokers; fixed while its data is kept.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
        brokers: u16,
        /// The port of the first broker; the others follow.
        #[arg(long, default_value_t = 9092)]
        port: u16,
    },
    /// Stop it.
    Down {
        /// And delete its data.
        #[arg(long)]
        wipe: bool,
    },
    /// Say whether it runs.
    Status,
}

/// Does it; true when the cluster is as asked for, and for `status`, when all brokers answer.
pub(crate) fn run(root: &Path, command: &Kafka) -> anyhow::Result<bool> {
    let folder = root.join("target/kafka/cluster");
    let known = folder.join("ports");
    match *command {
        Kafka::Up { brokers, port } => up(root, &folder, brokers, port),
        Kafka::Down { wipe } => {
            let stopped = match stored(&known)? {
                Some(ports) => {
                    Cluster::new(&root.join("target/kafka"), &folder, &ports)?.stop_detached()?
                }
                None => 0,
            };
            println!("{stopped} brokers stopped");
            if wipe && folder.exists() {
                std::fs::remove_dir_all(&folder)
                    .with_context(|| format!("remove {}", folder.display()))?;
            }
            Ok(true)
        }
        Kafka::Status => {
            let Some(ports) = stored(&known)? else {
                println!("there is no cluster: `cargo xtask kafka up` makes one");
                return Ok(false);
            };
            let cluster = Cluster::new(&root.join("target/kafka"), &folder, &ports)?;
            let mut all = true;
            for (node, port) in (1..).zip(&ports) {
                let answers = cluster.is_running(node) && cluster.answers(node);
                let state = if answers {
                    "answers"
                } else {
                    "does not answer"
                };
                println!(
                    "broker {node} 127.0.0.1:{port} {state}, log {}",
                    cluster.log(node).display()
                );
                all &= answers;
            }
            Ok(all)
        }
    }
}

fn up(root: &Path, folder: &Path, brokers: u16, port: u16) -> anyhow::Result<bool> {
    let libraries = kafka::libraries(root).map_err(|kafka::Missing(why)| anyhow::anyhow!(why))?;
    let known = folder.join("ports");
    let wanted: Vec<u16> = (0..brokers)
        .map(|index| port.saturating_add(index))
        .collect();
    let ports = stored(&known)?.unwrap_or_else(|| wanted.clone());
    anyhow::ensure!(
        ports == wanted,
        "the data of a cluster on ports {ports:?} is kept: name the same, or delete it with `cargo xtask kafka down --wipe`"
    );
    let cluster = Cluster::new(&libraries, folder, &ports)?;
    std::fs::write(&known, serde_json::to_string(&ports)?)?;
    let mut started = Vec::new();
    for (node, port) in (1..).zip(&ports) {
        if cluster.is_running(node) {
            continue;
        }
        TcpListener::bind(("127.0.0.1", *port))
            .map(drop)
            .with_context(|| format!("port {port} is taken: name another with --port"))?;
        cluster.start_detached(node)?;
        started.push(node);
    }
    // The brokers of a quorum wait for one another.
    for node in started {
        cluster.wait_ready(node)?;
    }
    println!("Apache Kafka {} at {}", kafka::VERSION, cluster.bootstrap());
    Ok(true)
}

fn stored(known: &Path) -> anyhow::Result<Option<Vec<u16>>> {
    if !known.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(known)?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("read {}", known.display()))
}
