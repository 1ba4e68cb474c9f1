//! Hostile handlers on a whole host, beside honest ones. What a component alone can do is tried in the sandbox's own
//! tests; the table of all is `docs/hostile.md`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::host::{self, Host};
use weir_tests::http::Client;
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, root};

const MISDEEDS: &str = "dev.local.public.misdeeds.v1";
const ANSWERS: &str = "dev.local.public.answers.v1";
/// What only the honest handlers read.
const CALLS: &str = "dev.local.public.calls.v1";
/// How long an attempt runs before others have their turn.
const TICK: Duration = Duration::from_millis(10);

/// Folders of handlers, all with the same component.
struct Handlers(TempDir);

impl Handlers {
    fn new() -> Self {
        Self(TempDir::with_prefix("weir-").unwrap())
    }

    /// One more, under this name, that reads and emits these topics.
    fn add(&self, name: &str, reads: &str, emits: &str) -> PathBuf {
        let built = host::handlers(root(), &["hostile"]).unwrap().remove(0);
        let folder = self.0.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::copy(built.join("hostile.wasm"), folder.join("hostile.wasm")).unwrap();
        let manifest = fs::read_to_string(built.join("handler.toml")).unwrap();
        let manifest = manifest
            .replace("\"hostile\"", &format!("{name:?}"))
            .replace("public.answers.v1", emits)
            .replace("public.misdeeds.v1", reads);
        fs::write(folder.join("handler.toml"), manifest).unwrap();
        folder
    }
}

/// An event with orders, of a key of its own.
fn order(id: &str, what: &Value) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "Order", "partitionkey": id,
        "datacontenttype": "application/json", "data": what,
    })
    .to_string()
}

fn publish(client: &Client, topic: &str, events: &[String]) {
    let answer = client.publish(topic, events).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// A host with the one handler `hostile`.
fn start() -> (Scratch, Host) {
    let scratch = Scratch::new(&["hostile"], "");
    let host = scratch.place.start().unwrap();
    (scratch, host)
}

/// Why each event died: stage, class and code by the event's id.
fn causes(client: &Client, handler: &str, topic: &str) -> BTreeMap<String, [String; 3]> {
    let mut causes = BTreeMap::new();
    let letters = format!("=dlq.weir.dev.default.{handler}.{topic}");
    client
        .each_event(&letters, |record| {
            let header = |name: &str| {
                let headers = record["headers"].as_array().into_iter().flatten();
                let mut found = headers.filter(|header| header["name"] == name);
                let value = found.next().and_then(|header| header["value"].as_str());
                value.unwrap_or_default().to_owned()
            };
            let id = record["event"]["id"].as_str().unwrap_or_default();
            let cause = ["weir.dlq.stage", "weir.dlq.class", "weir.dlq.code"].map(header);
            causes.insert(id.to_owned(), cause);
            Ok(())
        })
        .unwrap();
    causes
}

/// Tells `hostile` to do this: its event dies so, while those of other keys are answered.
fn dies(what: &Value, stage: &str, class: &str, code: &str) {
    let (_scratch, host) = start();
    let client = host.client();
    let honest: Vec<_> = (0..20)
        .map(|n| order(&format!("honest-{n}"), &json!({})))
        .collect();
    publish(client, MISDEEDS, &honest[..10]);
    publish(client, MISDEEDS, &[order("hostile", what)]);
    publish(client, MISDEEDS, &honest[10..]);
    client.settle(SETTLE).unwrap();
    let causes = causes(client, "hostile", MISDEEDS);
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(causes["hostile"], [stage, class, code]);
    assert_eq!(client.fate("hostile", "handled").unwrap(), 20);
    assert_eq!(
        client.records(ANSWERS).unwrap(),
        20,
        "and nothing of the other"
    );
}

#[test]
fn an_emission_to_a_topic_that_was_not_granted() {
    let what = json!({ "topic": "public.salaries.v1" });
    dies(&what, "output", "invalid-emission", "topic-not-granted");
}

#[test]
fn an_emission_to_the_dead_letters_of_another() {
    let what = json!({ "topic": format!("=dlq.weir.dev.default.billing.{MISDEEDS}") });
    dies(&what, "output", "invalid-emission", "topic-not-granted");
}

#[test]
fn a_forged_cause() {
    let what = json!({ "extensions": [["causationid", "somebody-else"]] });
    dies(&what, "output", "invalid-emission", "forged-attribute");
}

#[test]
fn a_forged_tenant() {
    let what = json!({ "extensions": [["tenantid", "somebody-else"]] });
    dies(&what, "output", "invalid-emission", "forged-attribute");
}

#[test]
fn a_forged_count_of_hops() {
    let what = json!({ "extensions": [["weirhops", "0"]] });
    dies(&what, "output", "invalid-emission", "forged-attribute");
}

#[test]
fn an_event_within_an_event() {
    let what = json!({ "contentType": "application/cloudevents+json" });
    dies(&what, "output", "invalid-emission", "bad-content-type");
}

#[test]
fn a_key_of_a_megabyte() {
    let what = json!({ "keyBytes": 1_000_000 });
    dies(&what, "output", "invalid-emission", "key-too-large");
}

#[test]
fn an_attribute_of_a_hundred_kilobytes() {
    let what = json!({ "extensionBytes": 100_000 });
    dies(&what, "output", "invalid-emission", "attribute-too-large");
}

#[test]
fn a_thousand_answers_that_each_repeat_a_long_id() {
    let (_scratch, host) = start();
    let client = host.client();
    let id = "i".repeat(8 << 10);
    publish(client, MISDEEDS, &[order(&id, &json!({ "times": 1_000 }))]);
    client.settle(SETTLE).unwrap();
    let cause = ["output", "invalid-emission", "emission-limit"].map(str::to_owned);
    assert_eq!(causes(client, "hostile", MISDEEDS)[&id], cause);
    assert_eq!(client.records(ANSWERS).unwrap(), 0);
}

#[test]
fn one_id_for_two_emissions() {
    let what = json!({ "id": "same", "times": 2 });
    dies(&what, "output", "invalid-emission", "duplicate-emission-id");
}

#[test]
fn a_trap_in_all_attempts_of_one_event() {
    let what = json!({ "misdeed": "trap" });
    dies(&what, "handler", "trap", "trap-unreachable");
}

#[test]
fn a_state_flood_of_one_key() {
    let what = json!({ "misdeed": "state" });
    dies(&what, "handler", "limit", "state-limit");
}

#[test]
fn a_timer_flood_of_one_key() {
    let what = json!({ "misdeed": "timers" });
    dies(&what, "handler", "limit", "timer-limit");
}

#[test]
fn a_log_flood_into_the_log_of_the_host() {
    let (scratch, host) = start();
    let client = host.client();
    let before = fs::metadata(scratch.place.log()).unwrap().len();
    publish(
        client,
        MISDEEDS,
        &[order("flood", &json!({ "misdeed": "log" }))],
    );
    client.settle(SETTLE).unwrap();
    assert_eq!(client.fate("hostile", "handled").unwrap(), 1);
    let log = fs::read_to_string(scratch.place.log()).unwrap();
    assert!(log.contains("lines are dropped"), "{log}");
    // 64 KiB of text, and what each line of the log has beside it; the flood was 5 MiB.
    let written = log.len() as u64 - before;
    assert!(written < 512 << 10, "{written} bytes");
}

#[test]
fn a_delay_until_the_end_of_time() {
    let (_scratch, host) = start();
    let client = host.client();
    publish(
        client,
        MISDEEDS,
        &[
            order("never", &json!({ "delayMs": u64::MAX })),
            order("now", &json!({})),
        ],
    );
    client.settle(SETTLE).unwrap();
    assert_eq!(client.fate("hostile", "handled").unwrap(), 2);
    assert_eq!(client.records(ANSWERS).unwrap(), 1, "the other is not due");
}

#[test]
fn an_id_that_collides_with_another_handlers() {
    let handlers = Handlers::new();
    let folders = [
        handlers.add("first", "public.misdeeds.v1", "public.answers.v1"),
        handlers.add("second", "public.misdeeds.v1", "public.answers.v1"),
        handlers.add("reader", "public.answers.v1", "public.readings.v1"),
    ];
    let scratch = Scratch::in_folders(&folders, "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    publish(client, MISDEEDS, &[order("one", &json!({ "id": "same" }))]);
    wait::until("both to be read", SETTLE, || {
        Ok((client.fate("reader", "handled")? == 2).then_some(()))
    })
    .unwrap();
    assert_eq!(client.fate("reader", "duplicate").unwrap(), 0);
}

#[test]
fn emissions_that_come_back_to_their_own_handler() {
    let handlers = Handlers::new();
    let folders = [handlers.add("circle", "public.misdeeds.v1", "public.misdeeds.v1")];
    let scratch = Scratch::in_folders(&folders, "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    publish(client, MISDEEDS, &[order("one", &json!({}))]);
    wait::until("the loop to end", SETTLE, || {
        Ok((client.fate("circle", "dead")? == 1).then_some(()))
    })
    .unwrap();
    let causes = causes(client, "circle", MISDEEDS);
    let (_, cause) = causes.first_key_value().unwrap();
    assert_eq!(cause[2], "hop-limit");
    assert_eq!(client.fate("circle", "handled").unwrap(), 33);
}

/// Publishes events one after the other to the honest handlers, each when all have answered the one before; answers how
/// long an answer took, half of them.
fn median_latency(client: &Client, round: &str, calls: u64, honest: u64) -> Duration {
    let before = client.records(ANSWERS).unwrap();
    for n in 0..calls {
        publish(client, CALLS, &[order(&format!("{round}-{n}"), &json!({}))]);
        wait::until("all honest handlers to answer", SETTLE, || {
            Ok((client.records(ANSWERS)? >= before + (n + 1) * honest).then_some(()))
        })
        .unwrap();
    }
    // By the host's own clock: when the event was taken in, and when an answer to it was written.
    let mut taken = BTreeMap::new();
    let each = |record: &Value| {
        let id = record["event"]["id"].as_str().unwrap();
        taken.insert(id.to_owned(), time_of_day(record));
        Ok(())
    };
    client.each_event(CALLS, each).unwrap();
    let mut latencies = Vec::new();
    let each = |record: &Value| {
        let cause = record["event"]["causationid"].as_str().unwrap();
        if cause.starts_with(round) {
            const DAY: Duration = Duration::from_hours(24);
            let millis = (time_of_day(record) + DAY - taken[cause]).as_millis() % DAY.as_millis();
            latencies.push(Duration::from_millis(u64::try_from(millis).unwrap()));
        }
        Ok(())
    };
    client.each_event(ANSWERS, each).unwrap();
    assert_eq!(latencies.len() as u64, calls * honest);
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

/// Of the time when a record was written, what a latency is measured by.
fn time_of_day(record: &Value) -> Duration {
    let timestamp = record["timestamp"].as_str().unwrap();
    let (_, time) = timestamp.split_once('T').unwrap();
    let parts: Vec<u64> = time
        .trim_end_matches('Z')
        .split([':', '.'])
        .map(|part| part.parse().unwrap())
        .collect();
    let &[hours, minutes, seconds, millis] = &parts[..] else {
        panic!("{timestamp}");
    };
    Duration::from_millis((hours * 3_600 + minutes * 60 + seconds) * 1_000 + millis)
}

#[test]
fn eight_busy_loops_beside_64_honest_handlers() {
    const ROUND: u64 = 10;
    // Three attempts of each end at the limit: ten seconds of two cores.
    const LOOPS: u64 = 3;
    let handlers = Handlers::new();
    let busy: Vec<_> = (0..8).map(|n| format!("busy-{n}")).collect();
    let honest: Vec<_> = (0..64).map(|n| format!("honest-{n}")).collect();
    let mut folders = Vec::new();
    for name in &busy {
        folders.push(handlers.add(name, "public.loops.v1", "public.nothing.v1"));
    }
    for name in &honest {
        folders.push(handlers.add(name, "public.calls.v1", "public.answers.v1"));
    }
    let few = |name: &str| format!("[[topics]]\nname = \"public.{name}.v1\"\npartitions = 2\n");
    let scratch = Scratch::in_folders(&folders, &(few("loops") + &few("calls") + &few("answers")));
    let host = scratch.place.start().unwrap();
    let client = host.client();
    let count = honest.len() as u64;
    median_latency(client, "warm", 1, count);
    let alone = median_latency(client, "alone", ROUND, count);

    for name in &busy {
        // It would open soon, and they would be quiet.
        let mut close = scratch
            .place
            .weir(&["breaker", name, "close", "--url", &client.url()]);
        assert!(close.output().unwrap().status.success());
    }
    let spin = |n| order(&format!("spin-{n}"), &json!({ "misdeed": "spin" }));
    let spins: Vec<_> = (0..LOOPS).map(spin).collect();
    publish(client, "dev.local.public.loops.v1", &spins);
    // How many of its events each busy handler has not done with.
    let open = |name: &String| LOOPS - client.fate(name, "dead").unwrap();
    let beside = median_latency(client, "beside", ROUND, count);
    assert!(busy.iter().all(|name| open(name) > 0), "they were quiet");
    // They take turns of a tick with loops on all cores; behind attempts that loop to their end it would be seconds.
    eprintln!("half of the answers took {alone:?} alone and {beside:?} beside the loops");
    assert!(
        beside < 10 * alone.max(TICK),
        "{beside:?} instead of {alone:?}"
    );

    client.settle(SETTLE).unwrap();
    let status = client.status().unwrap();
    let all = status["handlers"].as_array().unwrap();
    for handler in all {
        let name = handler["name"].as_str().unwrap();
        if busy.iter().any(|one| one == name) {
            assert_eq!(handler["fates"]["dead"], LOOPS, "{handler}");
            continue;
        }
        // No failure was counted against any of them.
        assert_eq!(handler["fates"]["handled"], 1 + 2 * ROUND, "{handler}");
        assert_eq!(handler["attempts"], 1 + 2 * ROUND, "{handler}");
    }
    assert_eq!(all.len(), busy.len() + honest.len());
    for cause in causes(client, "busy-0", "dev.local.public.loops.v1").values() {
        assert_eq!(cause[2], "cpu-limit");
    }
}

#[test]
fn a_file_of_500_mib_in_a_folder_of_a_handler() {
    let handlers = Handlers::new();
    let folder = handlers.add("large", "public.misdeeds.v1", "public.answers.v1");
    // Nothing of it is on the disk.
    let file = File::create(folder.join("hostile.wasm")).unwrap();
    file.set_len(500 << 20).unwrap();
    let scratch = Scratch::in_folders(&[folder], "");
    let output = scratch.place.run_command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("524288000 bytes"), "{said}");
}
