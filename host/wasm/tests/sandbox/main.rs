//! One hostile guest per way to misbehave, and the good ones beside them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its guest has failed"
)]

mod behaviour;
mod fairness;
mod guests;
mod hostile;
mod interfaces;
mod lines;
mod loading;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use weir_core::event::{Effects, Event, Failure, Outcome};
use weir_core::time::Millis;
use weir_wasm::{
    Attempt, Component, Grants, Isolation, Limits, LoadError, LoadOptions, Sandbox, SandboxConfig,
    StateUnavailable, StateView, TimersView,
};

/// Threads of tests that run many attempts at once.
const THREADS: usize = 2;

/// A sandbox over a scratch cache.
struct Fixture {
    sandbox: Sandbox,
    cache: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::over(TempDir::new().unwrap())
    }

    fn over(cache: TempDir) -> Self {
        let sandbox = Sandbox::new(config(&cache)).unwrap();
        Self { sandbox, cache }
    }

    async fn load(&self, wasm: Vec<u8>) -> Result<Component, LoadError> {
        self.sandbox.load(wasm, &options()).await
    }

    async fn load_with(
        &self,
        wasm: Vec<u8>,
        change: impl FnOnce(&mut LoadOptions),
    ) -> Result<Component, LoadError> {
        let mut options = options();
        change(&mut options);
        self.sandbox.load(wasm, &options).await
    }
}

fn config(cache: &TempDir) -> SandboxConfig {
    SandboxConfig {
        cache_dir: cache.path().join("code"),
        cache_key: [7; 32],
        compiler: env!("CARGO_BIN_EXE_weir-compile").into(),
        compiler_args: Vec::new(),
        component_bytes_max: 1 << 20,
        memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
        threads: THREADS,
    }
}

fn options() -> LoadOptions {
    LoadOptions {
        handler: "tester".into(),
        grants: Grants::default(),
        limits: Limits::default(),
        isolation: Isolation::default(),
    }
}

fn event() -> Event {
    Event {
        id: "1".into(),
        source: "/tests".into(),
        ty: "Tested".into(),
        subject: Some("subject".into()),
        extensions: vec![("one".into(), "1".into()), ("two".into(), "2".into())],
        data: Some(Bytes::from_static(b"{\"hello\":\"world\"}")),
        ..Event::default()
    }
}

fn attempt() -> Attempt {
    Attempt {
        event: Arc::new(event()),
        number: 1,
        tenant: "default".into(),
        topic: "topic".into(),
        partition: 0,
        position: 0,
        key: Some(Bytes::from_static(b"key")),
        now: Millis(1_000),
        state: None,
        timers: None,
    }
}

fn with_state(view: impl StateView + 'static) -> Attempt {
    Attempt {
        state: Some(Box::new(view)),
        ..attempt()
    }
}

fn with_timers(view: impl TimersView + 'static) -> Attempt {
    Attempt {
        timers: Some(Box::new(view)),
        ..attempt()
    }
}

struct Values(BTreeMap<String, Bytes>);

impl StateView for Values {
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Ok(self.0.keys().cloned().collect())
    }
}

/// Names of pending timers.
struct Names(Vec<String>);

impl TimersView for Names {
    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Ok(self.0.clone())
    }
}

struct Down;

impl TimersView for Down {
    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Err(StateUnavailable("the store is closed".into()))
    }
}

impl StateView for Down {
    fn get(&self, _name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        Err(StateUnavailable("the store is closed".into()))
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Err(StateUnavailable("the store is closed".into()))
    }
}

#[track_caller]
fn done(outcome: Outcome) -> Effects {
    match outcome {
        Outcome::Done(effects) => effects,
        Outcome::Failed(failure) => panic!("failed: {failure:?}"),
    }
}

#[track_caller]
fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Done(effects) => panic!("succeeded: {effects:?}"),
        Outcome::Failed(failure) => failure,
    }
}
