//! What the bare loop makes of an event: what the handler `stateless` makes of it, natively; or it calls the handler's component
//! with nothing around the call, which is what a host can reach at best.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use weir_core::binding;
use weir_core::event::Record;
use weir_core::time::Millis;
use weir_wasm::{
    Attempt, BareCall, Grants, Isolation, Limits, LoadOptions, Sandbox, SandboxConfig,
};

use self::deed::Orders;

#[path = "../../../../tests/guests/stateless/src/deed.rs"]
mod deed;

/// Of the data of what is emitted.
const OUT_BYTES: usize = 600;

/// How an event is made of an event.
pub(crate) enum Transform {
    Native,
    Component(Box<Called>),
}

/// A component and what it is called with.
pub(crate) struct Called {
    bare: BareCall,
    name: Arc<str>,
    /// What it returns is dropped: to take it out is a host's work.
    data: Vec<u8>,
}

impl Transform {
    /// Loads it as the host does.
    pub(crate) async fn component(file: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let examples = std::env::current_exe()?;
        let programs = examples
            .ancestors()
            .nth(2)
            .context("a folder of programs")?;
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir: folder.path().to_owned(),
            cache_key: [1; 32],
            compiler: programs.join("weir"),
            compiler_args: vec!["compile-component".into()],
            component_bytes_max: SandboxConfig::COMPONENT_BYTES_MAX,
            memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
            threads: 1,
        })?;
        let options = LoadOptions {
            handler: "bare".into(),
            grants: Grants::default(),
            limits: Limits::default(),
            isolation: Isolation::default(),
        };
        let component = sandbox.load(std::fs::read(file)?, &options).await?;
        Ok(Self::Component(Box::new(Called {
            bare: BareCall::new(&component),
            name: "bare".into(),
            data: vec![b'n'; OUT_BYTES],
        })))
    }

    /// The data of what is emitted, and the headers that any producer gives it.
    pub(crate) fn of(
        &mut self,
        message: &BorrowedMessage<'_>,
    ) -> anyhow::Result<(Vec<u8>, OwnedHeaders)> {
        match self {
            Self::Native => native(message),
            Self::Component(called) => called.call(message),
        }
    }
}

impl Called {
    fn call(&mut self, message: &BorrowedMessage<'_>) -> anyhow::Result<(Vec<u8>, OwnedHeaders)> {
        let event = Arc::new(binding::from_record(&record(message))?);
        let attempt = Attempt {
            event: Arc::clone(&event),
            number: 1,
            tenant: Arc::clone(&self.name),
            topic: Arc::clone(&self.name),
            partition: 0,
            position: u64::try_from(message.offset())?,
            key: message.key().map(Bytes::copy_from_slice),
            now: Millis(1),
            state: None,
            timers: None,
        };
        let called = self.bare.call(attempt).now_or_never();
        let called = called.context("the handler waits for nothing")?;
        called.map_err(anyhow::Error::msg)?;
        let correlation = event.extension("correlationid").unwrap_or(&event.id);
        Ok((self.data.clone(), written(&event.id, correlation)))
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|all| all.iter());
    let headers = headers.map(|header| {
        let value = header.value.map(Bytes::copy_from_slice);
        (binding::header_name(header.key), value)
    });
    Record {
        key: None,
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.collect(),
        timestamp_ms: 0,
    }
}

/// What the handler does, without a sandbox.
fn native(message: &BorrowedMessage<'_>) -> anyhow::Result<(Vec<u8>, OwnedHeaders)> {
    let headers = message.headers().context("events have headers")?;
    let mut read = HashMap::with_capacity(headers.count());
    for header in headers.iter() {
        read.insert(header.key, str::from_utf8(header.value.unwrap_or(b""))?);
    }
    let of = |name: &'static str| read.get(name).copied().context(name);
    let (id, _source, _ty) = (of("ce_id")?, of("ce_source")?, of("ce_type")?);
    let correlation = read.get("ce_correlationid").copied().unwrap_or(id);
    let orders: Orders = serde_json::from_slice(message.payload().context("events have data")?)?;
    anyhow::ensure!(orders.attempts == 0, "{id} is to fail");
    Ok((
        serde_json::to_vec(&orders.done(id, 1))?,
        written(id, correlation),
    ))
}

/// The headers of what is emitted.
fn written(id: &str, correlation: &str) -> OwnedHeaders {
    let all: [(&str, &str); 8] = [
        ("ce_specversion", binding::SPEC_VERSION),
        ("ce_id", &format!("{id}-done")),
        ("ce_source", "/loop"),
        ("ce_type", "Done"),
        ("ce_time", &jiff::Timestamp::now().to_string()),
        ("content-type", "application/json"),
        ("ce_correlationid", correlation),
        ("ce_causationid", id),
    ];
    let headers = OwnedHeaders::new_with_capacity(all.len());
    all.into_iter().fold(headers, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}
