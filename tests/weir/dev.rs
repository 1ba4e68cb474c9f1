//! `weir dev`: handlers change while events flow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use weir_tests::host;
use weir_tests::http::Client;
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{INVOICES, PAYMENTS};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, json, root};

const EVENTS: u32 = 4_000;

/// The folder of a handler under development, and what may become of it.
struct Folder {
    /// Components of two handlers that understand the same events.
    billing: PathBuf,
    notification: PathBuf,
    folder: PathBuf,
    /// In the folder; the component is still to come.
    component: PathBuf,
    manifest: PathBuf,
}

impl Folder {
    fn of_billing(scratch: &Scratch) -> Self {
        let [billing, notification] = ["billing", "notification"].map(|name| {
            let folder = host::handlers(root(), &[name]).unwrap().remove(0);
            folder.join(format!("{name}.wasm"))
        });
        let folder = scratch.place.data().with_file_name("handler");
        fs::create_dir(&folder).unwrap();
        let (component, manifest) = (folder.join("billing.wasm"), folder.join("handler.toml"));
        fs::copy(billing.with_file_name("handler.toml"), &manifest).unwrap();
        Self {
            billing,
            notification,
            folder,
            component,
            manifest,
        }
    }
}

/// A program that runs; killed when dropped.
struct Dev {
    child: Child,
    client: Client,
    log: PathBuf,
}

impl Dev {
    fn start(scratch: &Scratch, folder: &Path) -> Self {
        let log = scratch.write("dev.log", "");
        let file = File::options().append(true).open(&log).unwrap();
        let mut command = scratch.place.weir(&["dev", "--config"]);
        command.arg(scratch.place.config()).arg(folder);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self {
            child: command.spawn().unwrap(),
            client: scratch.place.client(),
            log,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the status says this of the only handler.
    fn wait_for(&self, field: &str, value: &str) {
        let look = || {
            let status = self.client.status()?;
            Ok((status["handlers"][0][field] == value).then_some(()))
        };
        wait::until(&format!("{field} to be {value}"), SETTLE, look)
            .unwrap_or_else(|error| panic!("{error:#}: {}", self.log()));
    }

    fn wait_for_log(&self, says: &str) {
        let look = || Ok(self.log().contains(says).then_some(()));
        wait::until(&format!("the log to say {says:?}"), SETTLE, look)
            .unwrap_or_else(|error| panic!("{error:#}: {}", self.log()));
    }

    /// Milliseconds that the log says of first events.
    fn first_events(&self) -> Vec<u64> {
        let log = self.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("first event handled"));
        let ms = lines.map(|line| line.rsplit_once("ms=").unwrap().1.trim().parse().unwrap());
        ms.collect()
    }

    /// The codes of the alarms that are raised.
    fn alarms(&self) -> Vec<String> {
        let status = self.client.status().unwrap();
        let alarms = status["alarms"].as_array().unwrap();
        let code = |alarm: &serde_json::Value| alarm["alarm"].as_str().unwrap().to_owned();
        alarms.iter().map(code).collect()
    }

    fn publish(&self, events: &[String]) {
        let look = || Ok((self.client.publish(INVOICES, events)?.status == 202).then_some(()));
        wait::until("the events to be taken", SETTLE, look).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Either may fail because the process is gone, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An event that `billing` and `notification` both understand.
fn purchase(id: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/tests","type":"InvoiceCreated","datacontenttype":"application/json","partitionkey":"{customer}","data":{{"invoiceId":"{id}","customerId":"{customer}","quantity":1,"amount":"1.00","amountCents":100,"currency":"USD"}}}}"#,
        customer = id % 40
    )
}

/// In one step, as build tools do.
fn replace(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}

/// What each key emitted, in order, as one letter an event; and the events that caused it.
fn effects(client: &Client) -> (BTreeMap<String, String>, BTreeSet<u32>) {
    let (mut keys, mut causes) = (BTreeMap::<String, String>::new(), BTreeSet::new());
    client
        .each_event(PAYMENTS, |record| {
            let event = &record["event"];
            let key = record["key"].as_str().unwrap().to_owned();
            keys.entry(key)
                .or_default()
                .push_str(match event["type"].as_str().unwrap() {
                    "PaymentReceived" => "o",
                    "NotificationRequested" => "n",
                    other => panic!("{other}"),
                });
            let cause = event["causationid"].as_str().unwrap().parse().unwrap();
            assert!(causes.insert(cause), "event {cause} had two effects");
            Ok(())
        })
        .unwrap();
    (keys, causes)
}

#[test]
fn component_that_changes_while_events_flow_takes_over_without_loss_or_repeat() {
    let scratch = Scratch::new(&[], "");
    let Folder {
        billing,
        notification,
        folder,
        component,
        manifest,
    } = Folder::of_billing(&scratch);
    fs::copy(&billing, &component).unwrap();

    let mut dev = Dev::start(&scratch, &folder);
    let events = Arc::new((0..EVENTS).map(purchase).collect());
    let publisher = Publisher::spawn(dev.client.clone(), INVOICES, events, 8);
    wait::until("the first effect", SETTLE, || {
        Ok((dev.client.records(PAYMENTS)? > 0).then_some(()))
    })
    .unwrap();
    let old = dev.client.status().unwrap()["handlers"][0]["digest"].clone();
    replace(&notification, &component);
    dev.wait_for_log("handler swapped");
    publisher.finish().unwrap();
    dev.publish(&(EVENTS..EVENTS + 40).map(purchase).collect::<Vec<_>>());
    dev.client.settle(SETTLE).unwrap();
    let status = dev.client.status().unwrap();
    assert_ne!(status["handlers"][0]["digest"], old);
    let (keys, causes) = effects(&dev.client);
    assert_eq!(causes, (0..EVENTS + 40).collect());
    assert_eq!(keys.len(), 40);
    for (key, letters) in &keys {
        // Event after event, then the flip, and never back.
        assert!(letters.ends_with('n'), "{key}: {letters}");
        assert!(!letters.contains("no"), "{key}: {letters}");
    }
    assert!(keys.values().any(|letters| letters.starts_with('o')));

    // What does not load changes nothing.
    fs::write(&component, "no component").unwrap();
    dev.wait_for_log("this is not WebAssembly");
    assert_eq!(dev.alarms(), ["reload-failed"]);
    dev.publish(&[purchase(EVENTS + 40)]);
    dev.client.settle(SETTLE).unwrap();

    // What is fixed for a subscription is refused with its reason.
    let text = fs::read_to_string(&manifest).unwrap();
    replace(&billing, &component);
    fs::write(&manifest, text.replace("invoices", "bills")).unwrap();
    dev.wait_for_log("subscribe.topics differs");

    // Any other change of the manifest takes over, and what was handled stays so.
    fs::write(&manifest, text.replace("0.1.0", "0.2.0")).unwrap();
    dev.wait_for("version", "0.2.0");
    assert_eq!(dev.alarms(), [""; 0]);
    dev.publish(&[purchase(EVENTS + 40), purchase(EVENTS + 41)]);
    dev.client.settle(SETTLE).unwrap();
    let (keys, causes) = effects(&dev.client);
    assert_eq!(causes, (0..EVENTS + 42).collect());
    assert!(keys[&((EVENTS + 41) % 40).to_string()].ends_with("no"));

    let data = status["store"]["data_dir"]
        .as_str()
        .map(PathBuf::from)
        .unwrap();
    assert!(data.is_dir());
    kill_process(Pid::from_child(&dev.child), Signal::INT).unwrap();
    let ended = wait::until("the end", SETTLE, || Ok(dev.child.try_wait()?)).unwrap();
    assert!(ended.success(), "{ended}: {}", dev.log());
    assert!(!data.exists());
}

#[test]
fn first_event_that_is_handled_is_told_with_the_time_since_the_command() {
    let scratch = Scratch::new(&[], "");
    let Folder {
        billing,
        folder,
        component,
        manifest,
        ..
    } = Folder::of_billing(&scratch);
    fs::copy(&billing, &component).unwrap();
    let started = Instant::now();
    let dev = Dev::start(&scratch, &folder);
    dev.wait_for("state", "ready");
    assert_eq!(dev.first_events(), [0; 0]);
    dev.publish(&[purchase(1), purchase(2)]);
    dev.wait_for_log("first event handled");
    let limit = u64::try_from(started.elapsed().as_millis()).unwrap();
    let told = dev.first_events();
    assert!(
        told.len() == 1 && (1..=limit).contains(&told[0]),
        "{told:?}, {limit} ms"
    );

    // Handlers that take over count from when they changed.
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("0.1.0", "0.2.0")).unwrap();
    dev.wait_for("version", "0.2.0");
    dev.publish(&[purchase(3)]);
    let look = || Ok((dev.first_events().len() == 2).then_some(()));
    wait::until("the second line", SETTLE, look).unwrap();
}

/// `weir <arguments> --json` for the host under test.
fn weir(scratch: &Scratch, arguments: &[&str]) -> serde_json::Value {
    let url = scratch.place.client().url();
    let arguments = [arguments, &["--json", "--url", &url]].concat();
    let output = scratch.place.weir(&arguments).output().unwrap();
    json(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"))
}

#[test]
fn handler_that_was_swapped_signs_its_dead_letters_and_goes_on_where_the_one_before_had_halted() {
    let scratch = Scratch::new(&[], "");
    let Folder {
        billing,
        notification,
        folder,
        component,
        manifest,
    } = Folder::of_billing(&scratch);
    fs::copy(&notification, &component).unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    let dev = Dev::start(&scratch, &folder);
    dev.publish(&[purchase(1)]);
    dev.client.settle(SETTLE).unwrap();

    // What takes any amount is replaced by what does not.
    let digest = || dev.client.status().unwrap()["handlers"][0]["digest"].clone();
    let before = digest();
    replace(&billing, &component);
    dev.wait_for_log("handler swapped");
    let refused = |id| purchase(id).replace("1.00", "a lot");
    dev.publish(&[refused(2)]);
    dev.client.settle(SETTLE).unwrap();
    let listing = weir(&scratch, &["dlq", "list", "billing"]);
    let id = listing["letters"][0]["id"].as_str().unwrap();
    let letter = weir(&scratch, &["dlq", "show", "billing", id]);
    let headers = letter["letter_headers"].as_array().unwrap();
    let signed = headers.iter().find(|one| one["name"] == "weir.dlq.digest");
    assert_eq!(signed.unwrap()["value"], digest());
    assert_ne!(digest(), before);

    // Without dead letters it halts, and goes on with the same event once that can be handled.
    let text = text.replace("0.1.0", "0.2.0");
    fs::write(&manifest, format!("dead_letter = \"stop\"\n{text}")).unwrap();
    dev.wait_for("version", "0.2.0");
    dev.publish(&[refused(3), purchase(43)]);
    dev.wait_for("state", "stopped");
    let kept = digest();
    replace(&notification, &component);
    wait::until("the swap", SETTLE, || Ok((digest() != kept).then_some(()))).unwrap();
    let resumed = weir(&scratch, &["resume", "billing"]);
    assert_eq!(resumed["again"].as_array().unwrap().len(), 1, "{resumed}");
    dev.client.settle(SETTLE).unwrap();
    dev.wait_for("state", "ready");
    let (keys, causes) = effects(&dev.client);
    assert_eq!(causes, BTreeSet::from([1, 3, 43]));
    assert_eq!(keys["3"], "nn");
}
