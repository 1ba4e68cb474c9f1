//! What the sandbox costs on top of the bare component call, in one run: `host_overhead_us` and `fresh_instance_us`; and how
//! late it kills: `kill_overshoot_ms`.
//!
//! `cargo bench -p weir-wasm --bench overhead -- GUEST.wasm HOSTILE.wasm` prints one line of JSON. The bare
//! call uses the same engine settings and the same typed function, without epochs' callback, limits, pool of instances
//! or conversion of what comes back. Both take turns in short rounds, because the clock of a machine drifts; the
//! medians of the rounds are compared. Criterion measures one function after the other, so that the drift would be taken for
//! a difference between them, and a difference of half a microsecond is what is asked for here.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use weir_core::event::{Event, Outcome};
use weir_core::time::Millis;
use weir_wasm::{
    Attempt, BareCall, Component, Grants, Isolation, Limits, LoadOptions, Sandbox, SandboxConfig,
};

const ROUNDS: usize = 200;
const CALLS_PER_ROUND: u32 = 200;
const KILLS: u64 = 10;

fn main() -> ExitCode {
    // cargo passes `--bench` first.
    let paths: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let [guest, hostile] = &paths[..] else {
        println!(
            "usage: overhead GUEST.wasm HOSTILE.wasm (a handler that needs no grant but `state`, and `hostile`)"
        );
        return ExitCode::SUCCESS;
    };
    let read = |path: &String| std::fs::read(path).expect("the guest");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(measure(&read(guest), &read(hostile)));
    ExitCode::SUCCESS
}

async fn measure(guest: &[u8], hostile: &[u8]) {
    let cache = tempfile::tempdir().expect("a scratch directory");
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: cache.path().to_owned(),
        cache_key: [1; 32],
        compiler: env!("CARGO_BIN_EXE_weir-compile").into(),
        compiler_args: Vec::new(),
        component_bytes_max: SandboxConfig::COMPONENT_BYTES_MAX,
        memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
        threads: 1,
    })
    .expect("a sandbox");
    let warm = load(&sandbox, guest, Isolation::default()).await;
    let fresh = load(&sandbox, guest, Isolation::Event).await;
    let mut bare = BareCall::new(&warm);
    let event = event();

    let (mut bare_us, mut warm_us, mut fresh_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for position in 0..CALLS_PER_ROUND {
            bare.call(attempt(&event, position.into()))
                .await
                .expect("the bare call succeeds");
        }
        bare_us.push(per_call(started.elapsed()));
        warm_us.push(round(&warm, &event).await);
        fresh_us.push(round(&fresh, &event).await);
    }
    let (bare, warm, fresh) = (median(bare_us), median(warm_us), median(fresh_us));
    let overshoot = overshoot_ms(&load(&sandbox, hostile, Isolation::default()).await).await;
    println!(
        "{{\"bare_us\":{bare:.3},\"warm_us\":{warm:.3},\"fresh_us\":{fresh:.3},\"host_overhead_us\":{:.3},\
         \"fresh_instance_us\":{:.3},\"kill_overshoot_ms\":{overshoot:.1}}}",
        warm - bare,
        fresh - bare,
    );
}

/// How much more CPU than its limit an attempt takes at most, from the call to its outcome, the instance's end included: an
/// endless loop, and one whose every instruction fills most of the memory that it may have.
async fn overshoot_ms(hostile: &Component) -> f64 {
    let mut most: f64 = 0.0;
    for misdeed in ["spin", "fill"] {
        let data = format!("{{\"misdeed\":\"{misdeed}\"}}");
        let order = Arc::new(Event {
            id: misdeed.into(),
            source: "/bench".into(),
            ty: "Order".into(),
            datacontenttype: Some("application/json".into()),
            data: Some(data.into()),
            ..Event::default()
        });
        for position in 0..KILLS {
            let started = thread_cpu_time();
            let outcome = hostile.call(attempt(&order, position)).await;
            let lived = thread_cpu_time().saturating_sub(started);
            assert!(
                matches!(&outcome, Outcome::Failed(failure) if failure.code == "cpu-limit"),
                "{outcome:?}"
            );
            let beyond = lived.saturating_sub(Limits::default().cpu);
            most = most.max(beyond.as_secs_f64() * 1e3);
        }
    }
    most
}

async fn load(sandbox: &Sandbox, guest: &[u8], isolation: Isolation) -> Component {
    let options = LoadOptions {
        handler: "bench".into(),
        grants: Grants {
            state: true,
            timers: true,
            ..Grants::default()
        },
        limits: Limits::default(),
        isolation,
    };
    sandbox
        .load(guest.to_vec(), &options)
        .await
        .expect("a handler")
}

async fn round(component: &Component, event: &Arc<Event>) -> f64 {
    let started = Instant::now();
    for position in 0..CALLS_PER_ROUND {
        let outcome = component.call(attempt(event, position.into())).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    per_call(started.elapsed())
}

/// As the pipeline makes it: names are shared, the state is a view of its own.
fn attempt(event: &Arc<Event>, position: u64) -> Attempt {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| "bench".into());
    Attempt {
        event: Arc::clone(event),
        number: 1,
        tenant: Arc::clone(&NAME),
        topic: Arc::clone(&NAME),
        partition: 0,
        position,
        key: Some(Bytes::from_static(b"c-1")),
        now: Millis(1),
        state: Some(Box::new(Empty)),
        timers: None,
    }
}

/// A sequence without state.
struct Empty;

impl weir_wasm::StateView for Empty {
    fn get(&self, _name: &str) -> Result<Option<Bytes>, weir_wasm::StateUnavailable> {
        Ok(None)
    }

    fn names(&self) -> Result<Vec<String>, weir_wasm::StateUnavailable> {
        Ok(Vec::new())
    }
}

/// An invoice of about 1 kB, as the example handler `billing` takes it.
fn event() -> Arc<Event> {
    let note = "x".repeat(900);
    let data = format!(
        r#"{{"invoiceId":"i-1","customerId":"c-1","amount":"11.77","currency":"USD","note":"{note}"}}"#
    );
    Arc::new(Event {
        id: "invoice-1".into(),
        source: "/shop".into(),
        ty: "InvoiceCreated".into(),
        subject: Some("c-1".into()),
        time: Some("1997-01-01T00:00:00Z".into()),
        datacontenttype: Some("application/json".into()),
        extensions: vec![("correlationid".into(), "order-1".into())],
        data: Some(data.into()),
        ..Event::default()
    })
}

/// Of this thread, on which the whole runtime works.
fn thread_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a clock that runs forward")
}

fn per_call(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(CALLS_PER_ROUND)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
