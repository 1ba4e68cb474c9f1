//! Does what its events say, so that everything that the host promises can be tried from the command line. The manual
//! in `docs/` does that.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use weir_sdk::{Emission, Event, Failure, Raw, Result, State, Timer, context};

const COUNT: State<u64> = State::new("count");
const REMINDER: Timer<String> = Timer::new("reminder");
const SOON: Duration = Duration::from_secs(5);

#[weir_sdk::handler]
fn handle(event: Event<Raw>) -> Result<Option<Emission>> {
    if let Some(note) = REMINDER.fired(&event)? {
        return Emission::new("Reminded").json(&note).map(Some);
    }
    match event.ty.as_str() {
        "Count" => {
            let count = COUNT.get()?.unwrap_or(0) + 1;
            COUNT.set(&count)?;
            return Emission::new("Counted").json(&count).map(Some);
        }
        "Remind" => REMINDER.set_after(SOON, &event.data.json()?)?,
        "Forget" => REMINDER.cancel(),
        "Later" => return Ok(Some(Emission::new("Late").delay(SOON))),
        "Fail" => return Err(Failure::transient("told-to", "its event says so")),
        "Refuse" => return Err(Failure::permanent("told-to", "its event says so")),
        // As if something that it needs were down until that time.
        "FailUntil" if before(event.data.json()?) => {
            return Err(Failure::transient("not-yet", "its event says so"));
        }
        "DownUntil" if before(event.data.json()?) => {
            return Err(Failure::unavailable("not-yet", "its event says so"));
        }
        "Panic" => panic!("its event says so"),
        "Spin" => loop {
            std::hint::spin_loop();
        },
        "Grow" => drop(std::hint::black_box(vec![1_u8; 128 << 20])),
        "EmitElsewhere" => return Ok(Some(Emission::new("Lost").topic("public.elsewhere.v1"))),
        _ => {}
    }
    Ok(None)
}

/// Whether it is earlier than this Unix time in seconds.
fn before(seconds: u64) -> bool {
    context::now() < SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
