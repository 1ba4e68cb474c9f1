//! `cargo xtask kafka`: Apache Kafka on loopback, to try the host on it by hand. Its data lies in `target/kafka/cluster`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use weir_tests::kafka::{self, Cluster};

/// Where the first broker of a new cluster listens: what clients take for granted.
const PORT: u16 = 9092;

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Kafka {
    /// Start it, with the data of the last time; prints where clients find it.
    Up {
        /// How many brokers, else one; fixed while its data is kept.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
        brokers: Option<u16>,
        /// The port of the first broker, else 9092; the others follow. Fixed while its data is kept.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65_527))]
        port: Option<u16>,
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
    match *command {
        Kafka::Up { brokers, port } => up(root, &folder, brokers, port),
        Kafka::Down { wipe } => down(&folder, wipe),
        Kafka::Status => status(&folder),
    }
}

fn up(root: &Path, folder: &Path, brokers: Option<u16>, port: Option<u16>) -> anyhow::Result<bool> {
    let libraries = kafka::libraries(root).map_err(|kafka::Missing(why)| anyhow::anyhow!(why))?;
    let kept = stored(folder)?;
    let ports = match &kept {
        Some(ports) => {
            let is_same = brokers.is_none_or(|count| usize::from(count) == ports.len())
                && port.is_none_or(|port| Some(&port) == ports.first());
            anyhow::ensure!(
                is_same,
                "the data of a cluster on the ports {ports:?} is kept: start that one with `cargo xtask kafka up`, or delete \
                 it with `cargo xtask kafka down --wipe`"
            );
            ports.clone()
        }
        None => {
            let first = port.unwrap_or(PORT);
            (first..first + brokers.unwrap_or(1)).collect()
        }
    };
    let before = Cluster::made(folder, &ports);
    let stopped: Vec<_> = (1..=ports.len())
        .filter(|node| !before.is_running(*node))
        .collect();
    // Before anything is made or started.
    for node in &stopped {
        let port = ports[node - 1];
        let remedy = match kept {
            Some(_) => {
                "end what listens there, or delete the cluster and its data with `cargo xtask kafka down --wipe`"
            }
            None => "name another one with --port",
        };
        // What was never finished has ports of its own, and is made anew.
        let controller = kept.as_ref().and_then(|_| before.controller_port(*node));
        for port in std::iter::once(port).chain(controller) {
            TcpListener::bind(("127.0.0.1", port))
                .map(drop)
                .with_context(|| format!("broker {node} cannot have port {port}: {remedy}"))?;
        }
    }
    if kept.is_none() && folder.exists() {
        // What is left of one that was not finished fits no other.
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let cluster = Cluster::new(&libraries, folder, &ports)?;
    std::fs::write(known(folder), serde_json::to_string(&ports)?)?;
    stopped
        .iter()
        .try_for_each(|node| cluster.start_detached(*node))?;
    // The brokers of a quorum wait for one another.
    for node in stopped {
        cluster
            .wait_ready(node)
            .context("`cargo xtask kafka down` stops what has started")?;
    }
    println!("Apache Kafka {} at {}", kafka::VERSION, cluster.bootstrap());
    Ok(true)
}

fn down(folder: &Path, wipe: bool) -> anyhow::Result<bool> {
    let Some(ports) = stored(folder)? else {
        println!("there is no cluster");
        return Ok(true);
    };
    let stopped = Cluster::made(folder, &ports).stop_detached()?;
    println!("{stopped} of {} brokers stopped", ports.len());
    if wipe {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    } else {
        println!("the data stays: --wipe deletes it");
    }
    Ok(true)
}

fn status(folder: &Path) -> anyhow::Result<bool> {
    let Some(ports) = stored(folder)? else {
        println!("there is no cluster: `cargo xtask kafka up` makes one");
        return Ok(false);
    };
    let cluster = Cluster::made(folder, &ports);
    let (mut all, mut stopped) = (true, false);
    for (node, port) in (1..).zip(&ports) {
        let (runs, answers) = (cluster.is_running(node), cluster.answers(node));
        let state = match (runs, answers) {
            (true, true) => "answers",
            (true, false) => "runs and does not answer",
            (false, true) => "does not run, and something else has its port",
            (false, false) => "does not run",
        };
        println!(
            "broker {node} 127.0.0.1:{port} {state}, log {}",
            cluster.log(node).display()
        );
        all &= runs && answers;
        stopped |= !runs;
    }
    if stopped {
        println!("`cargo xtask kafka up` starts what does not run");
    }
    Ok(all)
}

/// Where the ports of its brokers are kept.
fn known(folder: &Path) -> PathBuf {
    folder.join("ports")
}

fn stored(folder: &Path) -> anyhow::Result<Option<Vec<u16>>> {
    let known = known(folder);
    if !known.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&known)?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("read {}", known.display()))
}

#[cfg(test)]
mod tests;
