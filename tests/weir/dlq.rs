//! Dead letters and handlers in an operator's hands, by the commands that an operator types.

mod replays;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use weir_tests::host::{self, Host};
use weir_tests::http::Client;
use weir_tests::purchases::{INVOICES, PAYMENTS};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, root};

/// A host with one handler, `billing`, whose folder is the test's own.
struct Billing {
    scratch: Scratch,
    folder: PathBuf,
}

impl Billing {
    /// `more` goes to the end of the manifest.
    fn new(more: &str) -> Self {
        let folder = tempfile::TempDir::with_prefix("weir-").unwrap().keep();
        let built = host::handlers(root(), &["billing"]).unwrap().remove(0);
        fs::copy(built.join("billing.wasm"), folder.join("billing.wasm")).unwrap();
        let manifest = fs::read_to_string(built.join("handler.toml")).unwrap();
        fs::write(folder.join("handler.toml"), manifest + more).unwrap();
        let scratch = Scratch::in_folders(std::slice::from_ref(&folder), "");
        Self { scratch, folder }
    }

    fn start(&self) -> Host {
        self.scratch.place.start().unwrap()
    }

    /// Puts the component in the place of `billing` that minds no amount; it counts for the next start.
    fn correct(&self) {
        let built = host::handlers(root(), &["notification"]).unwrap().remove(0);
        let component = built.join("notification.wasm");
        fs::copy(component, self.folder.join("billing.wasm")).unwrap();
    }

    /// `weir <arguments> --json`: exit code and answer.
    fn try_weir(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let url = self.scratch.place.client().url();
        let output = self
            .scratch
            .place
            .weir(&[arguments, &["--json", "--url", &url]].concat())
            .output()
            .unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), answer, said)
    }

    fn weir(&self, arguments: &[&str]) -> Value {
        let (code, answer, said) = self.try_weir(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        answer
    }

    /// What a person sees.
    fn shown(&self, arguments: &[&str]) -> String {
        let url = self.scratch.place.client().url();
        let mut command = self
            .scratch
            .place
            .weir(&[arguments, &["--url", &url]].concat());
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn letters(&self) -> Vec<Value> {
        let listing = self.weir(&["dlq", "list", "billing"]);
        listing["letters"].as_array().unwrap().clone()
    }

    /// The status of the letter of an event, by its customer, which has one.
    fn status_of(&self, customer: &str) -> String {
        let letters = self.letters();
        let letter = letters.iter().find(|letter| letter["key"] == customer);
        letter.unwrap()["status"].as_str().unwrap().to_owned()
    }

    fn id_of(&self, customer: &str) -> String {
        let letters = self.letters();
        let letter = letters.iter().find(|letter| letter["key"] == customer);
        letter.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the job says this of itself.
    fn wait_for_job(&self, job: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait::until(&format!("job {job} to be {what}"), SETTLE, || {
            let told = self.weir(&["dlq", "job", "billing", job]);
            anyhow::ensure!(is(&told), "{told}");
            Ok(Some(told))
        })
        .unwrap()
    }
}

impl Drop for Billing {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// An event that `billing` refuses for its amount, and `notification` takes.
fn bad(id: &str, customer: &str) -> String {
    event(id, customer, "a lot")
}

/// An event that both take.
fn good(id: &str, customer: &str) -> String {
    event(id, customer, "1.00")
}

fn event(id: &str, customer: &str, amount: &str) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "InvoiceCreated",
        "datacontenttype": "application/json", "partitionkey": customer,
        "data": {
            "invoiceId": id, "customerId": customer, "quantity": 1, "amount": amount,
            "amountCents": 100, "currency": "USD",
        },
    })
    .to_string()
}

fn publish(client: &Client, events: &[String]) {
    assert_eq!(client.publish(INVOICES, events).unwrap().status, 202);
}

/// The events that had an effect, in order of customer and effect.
fn effects(client: &Client) -> Vec<String> {
    let mut effects = Vec::new();
    client
        .each_event(PAYMENTS, |record| {
            let event = &record["event"];
            effects.push((
                record["key"].as_str().unwrap().to_owned(),
                event["causationid"].as_str().unwrap().to_owned(),
            ));
            Ok(())
        })
        .unwrap();
    // Partitions arrive in any order; a key is in one of them.
    effects.sort_by(|(a, _), (b, _)| a.cmp(b));
    effects.into_iter().map(|(_, cause)| cause).collect()
}

#[test]
fn letters_are_listed_with_why_they_died_and_shown_as_they_were() {
    let billing = Billing::new("");
    let host = billing.start();
    let client = host.client();
    publish(client, &[good("a", "1"), bad("b", "1"), bad("c", "2")]);
    client.settle(SETTLE).unwrap();

    let letters = billing.letters();
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(letter["code"], "bad-amount");
        assert_eq!(letter["class"], "permanent");
        assert_eq!(letter["attempts"], 1);
        assert_eq!(letter["replays"], 0);
        assert_eq!(letter["status"], "dead");
    }
    let of = |key: &str| letters.iter().find(|letter| letter["key"] == key).unwrap();
    let id = of("1")["id"].as_str().unwrap();
    let count = |filter: &[&str]| {
        let list = [&["dlq", "list", "billing"], filter].concat();
        billing.weir(&list)["letters"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--code", "bad-amount", "--class", "permanent"]), 2);
    assert_eq!(count(&["--code", "other"]), 0);
    assert_eq!(count(&["--since", "1h", "--status", "dead"]), 2);
    assert_eq!(count(&["--status", "done"]), 0);
    assert_eq!(count(&["--limit", "1"]), 1);
    let sequence = of("2")["sequence"].as_str().unwrap();
    assert_eq!(count(&["--sequence", sequence]), 1);

    let page = billing.weir(&["dlq", "show", "billing", id]);
    let data: Value = serde_json::from_str(page["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["invoiceId"], "b");
    let names = |list: &str| {
        let headers = page[list].as_array().unwrap().iter();
        headers
            .map(|header| header["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(names("headers").contains(&"ce_id".to_owned()));
    assert!(
        names("headers")
            .iter()
            .all(|name| !name.starts_with("weir.dlq."))
    );
    assert!(names("letter_headers").contains(&"weir.dlq.digest".to_owned()));
    let shown = billing.shown(&["dlq", "show", "billing", id]);
    assert!(shown.contains("\"amount\": \"a lot\""), "{shown}");
    assert!(billing.shown(&["dlq", "list", "billing"]).contains(id));

    let (code, _, said) = billing.try_weir(&["dlq", "show", "billing", "none"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has no letter none"), "{said}");
    let (_, _, said) = billing.try_weir(&["dlq", "list", "nobody"]);
    assert!(said.contains("no handler nobody"), "{said}");
}

#[test]
fn paused_handler_handles_nothing_until_it_is_resumed_whatever_happens_to_its_host() {
    let billing = Billing::new("");
    let host = billing.start();
    assert_eq!(billing.weir(&["pause", "billing"])["was_paused"], false);
    publish(host.client(), &[good("a", "1"), good("b", "2")]);
    let waiting = |host: &Host| {
        let status = host.client().status().unwrap();
        let handler = &status["handlers"][0];
        assert_eq!(handler["state"], "paused", "{handler}");
        assert_eq!(handler["lag"], 2, "{handler}");
        assert_eq!(handler["attempts"], 0, "{handler}");
        assert_eq!(status["alarms"], json!([]));
        let ready = host.client().get("/readyz").unwrap();
        assert_eq!(ready.status, 200);
        let subscription = &ready.json().unwrap()["subscriptions"][0];
        assert_eq!(
            subscription["reason"],
            "an operator paused it, and events wait"
        );
    };
    waiting(&host);
    host.kill().unwrap();
    let host = billing.start();
    waiting(&host);
    host.drain().unwrap();
    let host = billing.start();
    // Other commands do not resume it.
    billing.weir(&["breaker", "billing", "close"]);
    waiting(&host);
    assert_eq!(billing.weir(&["resume", "billing"])["paused"], false);
    host.client().settle(SETTLE).unwrap();
    assert_eq!(effects(host.client()), ["a", "b"]);
    let status = host.client().status().unwrap();
    assert_eq!(status["handlers"][0]["state"], "ready");
}

#[test]
fn breaker_that_is_held_open_lets_nothing_pass_until_it_may_decide() {
    let billing = Billing::new("");
    let host = billing.start();
    billing.weir(&["breaker", "billing", "open"]);
    publish(host.client(), &[good("a", "1")]);
    host.drain().unwrap();
    let host = billing.start();
    let handler = host.client().status().unwrap()["handlers"][0].clone();
    assert_eq!(handler["breaker_command"], "open", "{handler}");
    assert_eq!(
        (&handler["lag"], &handler["attempts"]),
        (&json!(1), &json!(0))
    );
    billing.weir(&["breaker", "billing", "auto"]);
    host.client().settle(SETTLE).unwrap();
    assert_eq!(effects(host.client()), ["a"]);
}

#[test]
fn held_sequence_waits_for_its_letter_to_be_released() {
    let billing = Billing::new("[dead_letter]\non_dead = \"hold\"\n");
    let host = billing.start();
    let client = host.client();
    publish(
        client,
        &[bad("a", "1"), good("b", "1"), bad("c", "2"), good("d", "2")],
    );
    let held = |count: usize| {
        wait::until("sequences to be held", SETTLE, || {
            let parked = billing.weir(&["dlq", "list", "billing", "--parked"]);
            let sequences = parked["sequences"].as_array().unwrap();
            let is = |one: &&Value| one["held"] == true && one["events"] == 2;
            let held = sequences.iter().filter(is).count();
            anyhow::ensure!(held == count, "{parked}");
            Ok(Some(()))
        })
        .unwrap();
    };
    held(2);
    assert_eq!(billing.status_of("1"), "held");
    assert_eq!(effects(client), Vec::<String>::new());
    billing.weir(&["dlq", "release", "billing", &billing.id_of("1")]);
    wait::until("the sequence to go on", SETTLE, || {
        Ok((effects(client) == ["b"]).then_some(()))
    })
    .unwrap();
    assert_eq!(billing.status_of("1"), "dead");
    assert_eq!(billing.status_of("2"), "held");
    let (_, _, said) = billing.try_weir(&["dlq", "release", "billing", "--sequence", "none"]);
    assert!(said.contains("that is dead fits"), "{said}");
    held(1);
    // Dropped, the letter holds nothing either.
    billing.weir(&["dlq", "drop", "billing", "--sequence", &{
        let letters = billing.letters();
        let letter = letters.iter().find(|letter| letter["key"] == "2");
        letter.unwrap()["sequence"].as_str().unwrap().to_owned()
    }]);
    wait::until("the other sequence to go on", SETTLE, || {
        Ok((effects(client) == ["b", "d"]).then_some(()))
    })
    .unwrap();
    assert_eq!(billing.status_of("2"), "dropped");
}
