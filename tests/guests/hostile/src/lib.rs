//! Misbehaves as its event says, or answers honestly, so that a test of the host decides which of its handlers is which.

use std::time::Duration;

use serde::Deserialize;
use weir_sdk::{Emission, Event, Raw, Result, State, info, timers};

/// What to do; an event without any of it is answered.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Orders {
    /// `spin`, `fill`, `trap`, `log`, `state` or `timers`; none: answers.
    misdeed: Option<String>,
    /// Topic of the answer.
    topic: Option<String>,
    /// Id of the answer.
    id: Option<String>,
    /// Bytes of the key of the answer.
    key_bytes: Option<usize>,
    /// Bytes of one more extension attribute of the answer.
    extension_bytes: Option<usize>,
    /// Extension attributes of the answer.
    extensions: Vec<(String, String)>,
    /// `datacontenttype` of the answer.
    content_type: Option<String>,
    /// How often it is given.
    times: Option<usize>,
    /// Publishes it so much later.
    delay_ms: Option<u64>,
}

#[weir_sdk::handler]
fn handle(event: Event<Raw>) -> Result<Vec<Emission>> {
    let orders: Orders = if event.ty == "Order" {
        event.data.json()?
    } else {
        // Its own answer came back.
        Orders::default()
    };
    match orders.misdeed.as_deref() {
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        Some("fill") => {
            // Most of the memory that it may have, in one instruction.
            let mut memory = vec![0_u8; 60 << 20];
            loop {
                std::hint::black_box(&mut memory).fill(7);
            }
        }
        Some("trap") => panic!("as the event wants it"),
        Some("log") => (0..9_000).for_each(|_| info!("{}", "flood ".repeat(100))),
        Some("state") => (0..1_000).try_for_each(flood)?,
        Some("timers") => (0..1_000)
            .for_each(|n| timers::set_after(&n.to_string(), Duration::from_secs(3_600), None)),
        Some(_) | None => {}
    }
    Ok((0..orders.times.unwrap_or(1))
        .map(|_| orders.answer())
        .collect())
}

/// Under ever longer names, because a name is constant for those who are honest.
fn flood(n: usize) -> Result<()> {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    State::<String>::new(NAMES[n % NAMES.len()]).set(&"flood ".repeat(n * 100))
}

impl Orders {
    fn answer(&self) -> Emission {
        let mut answer = Emission::new("Answered");
        if let Some(topic) = &self.topic {
            answer = answer.topic(topic);
        }
        if let Some(id) = &self.id {
            answer = answer.id(id);
        }
        if let Some(content_type) = &self.content_type {
            answer = answer.data(content_type, "data");
        }
        if let Some(delay) = self.delay_ms {
            answer = answer.delay(Duration::from_millis(delay));
        }
        if let Some(bytes) = self.key_bytes {
            answer = answer.key("k".repeat(bytes));
        }
        if let Some(bytes) = self.extension_bytes {
            answer = answer.extension("long", "x".repeat(bytes));
        }
        for (name, value) in &self.extensions {
            answer = answer.extension(name, value);
        }
        answer
    }
}
