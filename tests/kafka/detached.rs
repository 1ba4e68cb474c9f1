//! Brokers that outlive the process that starts them, known by what it leaves in their folders.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Cluster, STOP};
use crate::wait;

/// For all of them to stop: longer than those of a quorum take that still find one another.
const STOP_TOGETHER: Duration = Duration::from_secs(20);

impl Cluster {
    /// Starts a broker that outlives this process; its process id is in `broker.pid`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_detached(&self, node: usize) -> anyhow::Result<()> {
        let child = self.spawn(node)?;
        fs::write(self.pid_file(node), child.id().to_string())?;
        Ok(())
    }

    /// Whether a broker that [`Self::start_detached`] started here is there.
    #[must_use]
    pub fn is_running(&self, node: usize) -> bool {
        let pid = fs::read_to_string(self.pid_file(node)).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok());
        pid.is_some_and(|pid| runs(pid, &self.home(node).display().to_string()))
    }

    /// Stops the brokers that [`Self::start_detached`] started here, all at once; answers how many there were. The last ones
    /// of a quorum wait for a controller that is gone: what has not ended after a while is killed.
    ///
    /// # Errors
    /// One did not end all the same.
    pub fn stop_detached(&self) -> anyhow::Result<usize> {
        let running: Vec<_> = (1..=self.brokers())
            .filter(|node| self.is_running(*node))
            .collect();
        let signal = |signal| -> anyhow::Result<()> {
            for node in running.iter().filter(|node| self.is_running(**node)) {
                let text = fs::read_to_string(self.pid_file(*node))?;
                let pid = text.trim().parse().context("read broker.pid")?;
                let process = rustix::process::Pid::from_raw(pid).context("read broker.pid")?;
                rustix::process::kill_process(process, signal)?;
            }
            Ok(())
        };
        let gone = |within| {
            wait::until("the brokers to stop", within, || {
                let left = running.iter().any(|node| self.is_running(*node));
                Ok((!left).then_some(()))
            })
        };
        signal(rustix::process::Signal::TERM)?;
        if gone(STOP_TOGETHER).is_err() {
            signal(rustix::process::Signal::KILL)?;
            gone(STOP)?;
        }
        for node in 1..=self.brokers() {
            // That of one that was killed is there, too.
            match fs::remove_file(self.pid_file(node)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(running.len())
    }

    fn pid_file(&self, node: usize) -> PathBuf {
        self.home(node).join("broker.pid")
    }
}

/// Whether the process is there and was started with this in its command line.
fn runs(pid: i32, word: &str) -> bool {
    let output = Command::new("ps")
        .args(["-ww", "-o", "stat=,args=", "-p", &pid.to_string()])
        .output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains(word) && !text.trim_start().starts_with('Z')
    })
}
