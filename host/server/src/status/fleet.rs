//! What a host tells the others of itself, and what it shows of them.

use serde_json::{Value, json};
use weir_core::time::Millis;

use super::HostStatus;
use super::subscription::Summary;
use crate::fleet::{HandlerRecord, HostRecord, Member};
use crate::http::{StatusSource, View};

impl HostStatus {
    /// What this host says of itself; `secret` is what the others have to send.
    pub(crate) fn record(&self, secret: &str) -> HostRecord {
        self.record_of(secret, &self.summaries())
    }

    fn record_of(&self, secret: &str, summaries: &[Summary<'_>]) -> HostRecord {
        let url = self.url.get().cloned();
        let mut record = HostRecord::new(url, secret.to_owned(), self.since.0);
        record.ready = self.readiness().is_ready();
        record.handlers = summaries.iter().map(Summary::to_record).collect();
        record
    }

    /// The partitions of each handler that this host has: whenever they change the others are told soon.
    pub(crate) fn given(&self) -> Vec<Vec<u32>> {
        self.subscriptions.iter().map(|one| one.given()).collect()
    }

    /// The hosts of the fleet, this one as it is at this moment.
    pub(super) fn members(&self, own: &[Summary<'_>]) -> Vec<Member> {
        let mut members = self.fleet.members();
        if let Some(secret) = self.fleet.secret() {
            members.retain(|member| member.id != self.host_id);
            members.push(Member {
                id: self.host_id.clone(),
                record: self.record_of(secret, own),
                age: std::time::Duration::ZERO,
            });
            members.sort_by(|a, b| a.id.cmp(&b.id));
        }
        members
    }
}

/// All hosts that may be shown, without what others must not know of them.
pub(super) fn hosts_to_json(members: &[Member], own: &str, view: &View) -> Vec<Value> {
    let handler = |one: &HandlerRecord| {
        json!({
            "name": one.name,
            "tenant": one.tenant,
            "version": one.version,
            "digest": one.digest,
            "state": one.state,
            "partitions": one.partitions,
            "lag": one.lag,
            "open": one.open,
            "parked_events": one.parked_events,
            "held_sequences": one.held_sequences,
        })
    };
    let host = |member: &Member| {
        let record = &member.record;
        let seen = record.handlers.iter().filter(|one| view.sees(&one.tenant));
        json!({
            "host_id": member.id,
            "own": member.id == own,
            "url": record.url.as_ref().filter(|_| view.is_whole()),
            "version": record.version,
            "started": Millis(record.started).to_rfc3339(),
            "ready": record.ready,
            "age_s": member.age.as_secs(),
            "silent": member.is_silent(),
            "handlers": seen.map(handler).collect::<Vec<_>>(),
        })
    };
    members.iter().map(host).collect()
}

/// A handler on all hosts that are not silent; null where there are no others to know of.
pub(super) fn sums(members: &[Member], group: &str) -> Value {
    let live = members.iter().filter(|member| !member.is_silent());
    let records = live.flat_map(|member| &member.record.handlers);
    let records: Vec<_> = records.filter(|one| one.group == group).collect();
    if records.is_empty() {
        return Value::Null;
    }
    let sum = |of: fn(&HandlerRecord) -> u64| records.iter().map(|one| of(one)).sum::<u64>();
    json!({
        "hosts": records.len(),
        "partitions": sum(|one| one.partitions.len() as u64),
        "of": records.iter().map(|one| one.of).max(),
        "lag": records.iter().map(|one| one.lag).sum::<Option<u64>>(),
        "open": sum(|one| one.open),
        "parked_events": sum(|one| one.parked_events),
        "held_sequences": sum(|one| one.held_sequences),
    })
}

#[cfg(test)]
mod tests;
