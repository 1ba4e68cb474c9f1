//! One attempt: an event in, an outcome out.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::event::{Effects, Emission, EmissionKey, Event, Failure, FailureKind, Outcome};
use weir_core::time::Millis;

use crate::bindings::FullEventHandlerPre;
use crate::bindings::weir::handler::types as wit;
use crate::classify::{classify, failure};
use crate::engine::Runtime;
use crate::govern::govern;
use crate::host::{Changes, Host, Shared};
use crate::instance::{Idle, Instance};
use crate::limits::{Isolation, Limits};

/// The state of a sequence as an attempt may see it: what is committed, and what earlier events of the sequence have
/// staged. The attempt's own writes are laid over it.
pub trait StateView: Send + Sync {
    /// The value of this name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read; the attempt then ends as unavailable.
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable>;

    /// All names that have a value.
    ///
    /// # Errors
    ///
    /// As `get`.
    fn names(&self) -> Result<Vec<String>, StateUnavailable>;

    /// Bytes of all names and values together. Asked at most once in an attempt, and only when it makes the state grow.
    ///
    /// # Errors
    ///
    /// As `get`.
    fn total_bytes(&self) -> Result<usize, StateUnavailable> {
        self.names()?.iter().try_fold(0, |total, name| {
            let value = self.get(name)?;
            Ok(total + value.map_or(0, |value| name.len() + value.len()))
        })
    }
}

/// The timers of a sequence as an attempt may see them: those that are committed, and those that earlier events of the
/// sequence have staged.
pub trait TimersView: Send + Sync {
    /// Names of the timers that are pending. Asked at most once in an attempt, and only when it sets a timer.
    ///
    /// # Errors
    ///
    /// When the store cannot be read; the attempt then ends as unavailable.
    fn names(&self) -> Result<Vec<String>, StateUnavailable>;
}

/// The state or the timers of a sequence cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateUnavailable(pub String);

/// What a handler is called with.
pub struct Attempt {
    /// The event.
    pub event: Arc<Event>,
    /// 1 for the first attempt.
    pub number: u32,
    /// Owner of the event.
    pub tenant: Arc<str>,
    /// Full name of the source topic.
    pub topic: Arc<str>,
    /// Source partition.
    pub partition: u32,
    /// Offset in the source partition.
    pub position: u64,
    /// Record key of the event.
    pub key: Option<Bytes>,
    /// What the handler sees as the time.
    pub now: Millis,
    /// State of the event's sequence; none for an event without a key, or without the grant.
    pub state: Option<Box<dyn StateView>>,
    /// Timers of the event's sequence; none for an event without a key, or without the grant.
    pub timers: Option<Box<dyn TimersView>>,
}

/// A loaded component. Cloning shares it.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    digest: String,
    pre: FullEventHandlerPre<Host>,
    shared: Arc<Shared>,
    isolation: Isolation,
    idle: Arc<Idle>,
    /// Keeps the epoch ticking.
    _runtime: Arc<Runtime>,
}

impl Component {
    pub(crate) fn new(
        digest: String,
        pre: FullEventHandlerPre<Host>,
        shared: Arc<Shared>,
        isolation: Isolation,
        idle: Idle,
        runtime: Arc<Runtime>,
    ) -> Self {
        let idle = Arc::new(idle);
        let weak = Arc::downgrade(&idle);
        runtime.ticker.sweep(weak);
        Self(Arc::new(Inner {
            digest,
            pre,
            shared,
            isolation,
            idle,
            _runtime: runtime,
        }))
    }

    /// BLAKE3 of the component's file, hexadecimal: its identity.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Instances that wait for their next attempt.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.0.idle.len()
    }

    /// Whether it has so much at work that another attempt would wait and not run: attempts that wait for a turn of
    /// CPU, or instances. Attempts that start nevertheless are served, and fail only when the host has no instance left.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.0.shared.crowd.is_full()
    }

    /// Waits until it is not crowded.
    pub async fn relieved(&self) {
        self.0.shared.crowd.relieved().await;
    }

    /// Log lines of the handler that were dropped, beyond what an attempt or all attempts may write, since the last call.
    #[must_use]
    pub fn take_dropped_lines(&self) -> u64 {
        self.0.shared.log.take_dropped()
    }

    /// A new instance, in which nothing has run yet.
    pub(crate) fn instance(&self) -> Instance {
        Instance::new(self.0.pre.instance_pre(), &self.0.shared)
    }

    pub(crate) fn pre(&self) -> &FullEventHandlerPre<Host> {
        &self.0.pre
    }

    /// Calls the handler with one event, under all limits.
    ///
    /// Must run within a tokio runtime with time enabled. Dropping the future abandons the attempt and its instance.
    pub async fn call(&self, attempt: Attempt) -> Outcome {
        let Inner {
            pre,
            shared,
            isolation,
            idle,
            ..
        } = &*self.0;
        let event = Arc::clone(&attempt.event);
        let mut instance = match isolation {
            Isolation::Event => None,
            Isolation::Reuse { .. } => idle.take(),
        }
        .unwrap_or_else(|| self.instance());
        instance.store.data_mut().begin(attempt);
        instance.store.set_epoch_deadline(1);
        let turn = Arc::clone(&instance.turn);
        let returned = govern(handle(&mut instance, pre, &event), &turn, shared).await;
        let host = instance.store.data_mut();
        let changes = host.end();
        let returned = match returned {
            Ok(Ok(returned)) => returned,
            // After a trap or a stop the instance is in no known state: it is dropped with this scope.
            Ok(Err(error)) => return Outcome::Failed(classify(&error)),
            Err(stop) => return Outcome::Failed(stop.into_failure()),
        };
        let Changes { state, timers } = match changes {
            Ok(changes) => changes,
            Err(stop) => return Outcome::Failed(stop.into_failure()),
        };
        instance.uses += 1;
        if let Isolation::Reuse { uses_max } = isolation
            && instance.uses < *uses_max
            && !instance.store.data().memory.is_high()
        {
            idle.put(instance, shared.clock.now());
        }
        match returned {
            Ok(emissions) => match check(&emissions, &shared.limits) {
                Ok(()) => {
                    let emissions = emissions.into_iter().map(emission).collect();
                    Outcome::Done(Effects {
                        emissions,
                        state,
                        timers,
                    })
                }
                Err(failure) => Outcome::Failed(failure),
            },
            Err(failed) => Outcome::Failed(guest_failure(failed)),
        }
    }
}

/// Lends the event to the guest and takes back what it returned.
pub(crate) async fn handle(
    instance: &mut Instance,
    pre: &FullEventHandlerPre<Host>,
    event: &Event,
) -> Result<Result<Vec<wit::Emission>, wit::Failure>, wasmtime::Error> {
    let (store, bindings) = instance.start(pre).await?;
    let extensions: Vec<(&str, &str)> = event
        .extensions
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let event = wit::Event {
        id: &event.id,
        source: &event.source,
        type_: &event.ty,
        subject: event.subject.as_deref(),
        time: event.time.as_deref(),
        datacontenttype: event.datacontenttype.as_deref(),
        dataschema: event.dataschema.as_deref(),
        extensions: &extensions,
        data: event.data.as_deref(),
    };
    bindings
        .weir_handler_handler()
        .call_handle(store, event)
        .await
}

/// Emissions beyond the limits fail the event for good: another attempt would emit the same.
fn check(emissions: &[wit::Emission], limits: &Limits) -> Result<(), Failure> {
    let refuse = |message: String| Err(failure(FailureKind::Permanent, "emission-limit", &message));
    if emissions.len() > limits.emissions_max {
        return refuse(format!(
            "{} emissions; at most {} are allowed",
            emissions.len(),
            limits.emissions_max
        ));
    }
    let mut total = 0;
    for (index, emission) in emissions.iter().enumerate() {
        let bytes = emission_bytes(emission);
        total += bytes;
        let extensions = emission.extensions.len();
        if extensions > limits.extensions_max {
            return refuse(format!(
                "emission {index} has {extensions} extension attributes, more than {}",
                limits.extensions_max
            ));
        }
        if bytes > limits.emission_bytes_max {
            return refuse(format!(
                "emission {index} has {bytes} bytes, more than {}",
                limits.emission_bytes_max
            ));
        }
    }
    if total > limits.emissions_bytes_max {
        return refuse(format!(
            "the emissions have {total} bytes, more than {}",
            limits.emissions_bytes_max
        ));
    }
    Ok(())
}

fn emission_bytes(emission: &wit::Emission) -> usize {
    let texts = [
        &emission.topic,
        &emission.id,
        &emission.subject,
        &emission.time,
        &emission.datacontenttype,
    ];
    let key = match &emission.key {
        wit::EmissionKey::Inherit | wit::EmissionKey::Keyless => 0,
        wit::EmissionKey::Text(text) => text.len(),
        wit::EmissionKey::Binary(bytes) => bytes.len(),
    };
    emission.type_.len()
        + key
        + texts
            .iter()
            .filter_map(|text| text.as_ref())
            .map(String::len)
            .sum::<usize>()
        + emission.dataschema.as_ref().map_or(0, String::len)
        + emission
            .extensions
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
        + emission.data.as_ref().map_or(0, Vec::len)
}

/// Moves what the guest returned; no payload is copied.
fn emission(emission: wit::Emission) -> Emission {
    Emission {
        ty: emission.type_,
        topic: emission.topic,
        key: match emission.key {
            wit::EmissionKey::Inherit => EmissionKey::Inherit,
            wit::EmissionKey::Keyless => EmissionKey::Keyless,
            wit::EmissionKey::Text(text) => EmissionKey::Key(text.into()),
            wit::EmissionKey::Binary(bytes) => EmissionKey::Key(bytes.into()),
        },
        id: emission.id,
        subject: emission.subject,
        time: emission.time,
        datacontenttype: emission.datacontenttype,
        dataschema: emission.dataschema,
        extensions: emission.extensions,
        data: emission.data.map(Bytes::from),
        delay_ms: emission.delay_ms,
    }
}

fn guest_failure(failed: wit::Failure) -> Failure {
    let kind = match failed.kind {
        wit::FailureKind::Transient => FailureKind::Transient,
        wit::FailureKind::Unavailable => FailureKind::Unavailable,
        wit::FailureKind::Permanent => FailureKind::Permanent,
    };
    Failure {
        retry_after_ms: failed.retry_after_ms,
        ..failure(kind, &failed.code, &failed.message)
    }
}
