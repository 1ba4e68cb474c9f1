//! The fleet in `weir status`: handlers on all hosts together, and the hosts with what each of them serves.

use std::io::Write;

use serde::Deserialize;

use super::{CliError, Status, figure, table};
use crate::names::printable;

/// A handler on all hosts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sums {
    hosts: u64,
    /// Served by one of them.
    partitions: u64,
    of: u64,
    lag: Option<u64>,
    open: u64,
    parked_events: u64,
    held_sequences: u64,
}

/// A host of the fleet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Host {
    host_id: String,
    /// The one that was asked.
    own: bool,
    version: String,
    age_s: u64,
    silent: bool,
    handlers: Vec<Served>,
}

/// A handler on one host.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Served {
    name: String,
    version: String,
    digest: String,
    state: String,
    partitions: Vec<u32>,
    lag: Option<u64>,
    open: u64,
}

pub(super) fn write(status: &Status, out: &mut dyn Write) -> Result<(), CliError> {
    if let Some(why) = &status.alone {
        let why = printable(why);
        writeln!(
            out,
            "other hosts are not known here, and not steered: {why}"
        )?;
        return Ok(writeln!(out)?);
    }
    if status.hosts.is_empty() {
        return Ok(());
    }
    write_sums(status, out)?;
    writeln!(out)?;
    write_hosts(&status.hosts, out)?;
    Ok(writeln!(out)?)
}

fn write_sums(status: &Status, out: &mut dyn Write) -> Result<(), CliError> {
    let head = [
        "on all hosts",
        "hosts",
        "partitions",
        "lag",
        "open",
        "parked",
        "held",
    ];
    let row = |(name, sums): (&String, &Sums)| {
        vec![
            name.clone(),
            sums.hosts.to_string(),
            format!("{} of {}", sums.partitions, sums.of),
            figure(sums.lag),
            sums.open.to_string(),
            sums.parked_events.to_string(),
            sums.held_sequences.to_string(),
        ]
    };
    let handlers = status.handlers.iter();
    let sums = handlers.filter_map(|one| Some((&one.name, one.fleet.as_ref()?)));
    let rows: Vec<_> = sums.map(row).collect();
    Ok(table::write(out, &head, &rows)?)
}

fn write_hosts(hosts: &[Host], out: &mut dyn Write) -> Result<(), CliError> {
    let head = [
        "host",
        "weir",
        "seen",
        "handler",
        "version",
        "digest",
        "state",
        "partitions",
        "lag",
        "open",
    ];
    let mut rows = Vec::new();
    for host in hosts {
        let seen = match (host.own, host.silent) {
            (true, _) => "this one".to_owned(),
            (false, true) => format!("silent for {} s", host.age_s),
            (false, false) => format!("{} s ago", host.age_s),
        };
        let mut begin = vec![host.host_id.clone(), host.version.clone(), seen];
        for one in &host.handlers {
            let own = [
                one.name.clone(),
                one.version.clone(),
                short(&one.digest),
                one.state.clone(),
                ranges(&one.partitions),
                figure(one.lag),
                one.open.to_string(),
            ];
            rows.push(begin.iter().cloned().chain(own).collect());
            begin = vec![String::new(); begin.len()];
        }
        if host.handlers.is_empty() {
            rows.push(begin);
        }
    }
    Ok(table::write(out, &head, &rows)?)
}

/// The beginning of a digest tells components apart.
fn short(digest: &str) -> String {
    const SHOWN: usize = 8;
    let digits = digest.rsplit(':').next().unwrap_or(digest);
    digits.chars().take(SHOWN).collect()
}

/// Numbers that follow one another as their first and last.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some(_) | None => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    let shown: Vec<_> = ranges.iter().map(range).collect();
    if shown.is_empty() {
        "none".to_owned()
    } else {
        shown.join(",")
    }
}

#[cfg(test)]
mod tests;
