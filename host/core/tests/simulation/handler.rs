//! The simulated handler: counts the events of its sequence, and remembers their order and who ran them.

use bytes::Bytes;
use weir_core::event::{Effects, Emission, Outcome, StateWrite};

use crate::ledger::next_digest;
use crate::plan::{Item, Temper};

/// What an attempt reads of its sequence.
#[derive(Clone, Copy, Default)]
pub(crate) struct Read {
    count: u64,
    digest: u64,
}

impl Read {
    pub(crate) fn new(get: impl Fn(&str) -> Option<Bytes>) -> Self {
        let number = |name: &str| {
            let bytes = get(name);
            let head = bytes.as_ref().and_then(|bytes| bytes.first_chunk::<8>());
            head.map_or(0, |head| u64::from_le_bytes(*head))
        };
        Self {
            count: number("count"),
            digest: number("digest"),
        }
    }
}

/// What a successful attempt wants to change; `runner` is its epoch and serial.
pub(crate) fn effects(item: &Item, read: Read, runner: (u64, u64)) -> Effects {
    let count = read.count + 1;
    let odd = (count % 2 == 1).then(|| Bytes::from_static(b"odd"));
    let emission = |_| Emission {
        ty: "Counted".into(),
        topic: (item.temper == Temper::Invalid).then(|| "elsewhere".into()),
        data: Some(number(count)),
        ..Emission::default()
    };
    let emissions = match item.temper {
        Temper::Invalid => item.emissions.max(1),
        Temper::Steady | Temper::Permanent | Temper::Traps => item.emissions,
    };
    Effects {
        emissions: (0..emissions).map(emission).collect(),
        state: vec![
            write("count", Some(number(count))),
            write(
                "digest",
                Some(number(next_digest(read.digest, item.position))),
            ),
            write("odd", odd),
            write("epoch", Some(number(runner.0))),
            write("serial", Some(number(runner.1))),
        ],
        ..Effects::default()
    }
}

/// Epoch and serial of the attempt that ended so.
pub(crate) fn runner(outcome: &Outcome) -> (u64, u64) {
    let Outcome::Done(effects) = outcome else {
        return (0, 0);
    };
    let read = |name: &str| {
        let write = effects.state.iter().find(|write| write.name == name);
        let head = write.and_then(|write| write.value.as_ref()?.first_chunk::<8>());
        head.map_or(0, |head| u64::from_le_bytes(*head))
    };
    (read("epoch"), read("serial"))
}

/// For the trace.
pub(crate) fn name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(effects) => format!("done, {} emissions", effects.emissions.len()),
        Outcome::Failed(failure) => format!("{:?}", failure.kind),
    }
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn write(name: &str, value: Option<Bytes>) -> StateWrite {
    StateWrite {
        name: name.into(),
        value,
        ttl_ms: None,
    }
}
