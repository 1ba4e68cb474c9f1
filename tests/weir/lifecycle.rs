//! Start, stop and start again.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use weir_tests::host::{self, Place};
use weir_tests::purchases::{self, INVOICES, PAYMENTS};

use crate::fixture::{SETTLE, Scratch, invoice, root};

fn assert_refused(output: &Output, says: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for what in says {
        assert!(text.contains(what), "{what:?} is not in: {text}");
    }
}

#[test]
fn terminated_host_drains_and_goes_on_where_it_was() {
    let (scratch, host) = Scratch::with_purchases();
    assert_eq!(
        host.client()
            .publish(INVOICES, &[invoice("a", "1", "1.00")])
            .unwrap()
            .status,
        202
    );
    let ended = host.drain().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", scratch.place.end_of_log());

    let host = scratch.place.start().unwrap();
    assert_eq!(
        host.client()
            .publish(INVOICES, &[invoice("b", "1", "2.00")])
            .unwrap()
            .status,
        202
    );
    host.client().settle(SETTLE).unwrap();
    let emitted = purchases::emitted(host.client(), PAYMENTS).unwrap();
    assert_eq!((emitted.events, emitted.cents()), (2, 300));
}

#[test]
fn client_that_stops_in_the_middle_of_a_body_does_not_keep_the_host_from_draining() {
    let (scratch, host) = Scratch::with_purchases();
    let address = host.client().url().replace("http://", "");
    let mut stalled = TcpStream::connect(&address).unwrap();
    write!(
        stalled,
        "POST /v1/topics/{INVOICES}/events HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\
         content-type: application/cloudevents-batch+json\r\n\r\n["
    )
    .unwrap();
    // Connections are accepted in order: an answer on a later one says that the host has the stalled one.
    assert_eq!(host.client().get("/livez").unwrap().status, 200);
    let ended = host.drain().unwrap();
    let log = std::fs::read_to_string(scratch.place.log()).unwrap();
    assert_eq!(ended.code(), Some(0), "{log}");
    assert!(!log.contains("the drain deadline has passed"), "{log}");
}

#[test]
fn all_faults_of_a_configuration_are_told_at_once_with_their_places() {
    let scratch = Scratch::new(&[], "colour = \"red\"\n[retention]\nage = \"soon\"\n");
    let output = scratch.place.run_command().output().unwrap();
    assert_refused(&output, &["weir.toml", "http.colour", "retention.age"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn address_that_is_taken_is_told_as_a_fault_of_the_configuration() {
    let scratch = Scratch::new(&[], "");
    let address = scratch.place.client().url().replace("http://", "");
    let _taken = TcpListener::bind(&address).unwrap();
    let output = scratch.place.run_command().output().unwrap();
    assert_refused(
        &output,
        &["weir.toml: http.listen: ", &address, "write another port"],
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn state_over_topics_of_unequal_partition_counts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [built] = &host::handlers(root(), &["billing"]).unwrap()[..] else {
        panic!("one handler was asked for");
    };
    let manifest = std::fs::read_to_string(built.join("handler.toml")).unwrap();
    let manifest = manifest.replace(
        "topics = [\"public.invoices.v1\"]",
        "topics = [\"public.invoices.v1\", \"public.refunds.v1\"]",
    );
    std::fs::write(folder.path().join("handler.toml"), manifest).unwrap();
    std::fs::copy(
        built.join("billing.wasm"),
        folder.path().join("billing.wasm"),
    )
    .unwrap();
    let place = Place::new(
        &host::binary().unwrap(),
        &folder.path().join("place"),
        &[folder.path().to_owned()],
        "[[topics]]\nname = \"public.refunds.v1\"\npartitions = 6\n",
    )
    .unwrap();
    let output = place.run_command().output().unwrap();
    assert_refused(
        &output,
        &[
            "handler.toml: subscribe.topics: ",
            "public.invoices.v1 has 12 partitions",
            "public.refunds.v1 has 6 partitions",
        ],
    );
}

#[test]
fn second_host_on_the_same_data_directory_is_refused() {
    let (scratch, mut first) = Scratch::with_purchases();
    // Another address, so that only the directory is shared.
    let folder = tempfile::tempdir().unwrap();
    let other = Place::new(&host::binary().unwrap(), folder.path(), &[], "").unwrap();
    let mut command = other.weir(&["run", "--config"]);
    let output = command
        .arg(other.config())
        .arg("--data")
        .arg(scratch.place.data())
        .output()
        .unwrap();
    assert_refused(&output, &[scratch.place.data().to_str().unwrap()]);
    assert!(first.is_running().unwrap());
}

#[test]
fn data_directory_is_closed_to_others() {
    let (scratch, _host) = Scratch::with_purchases();
    let mode = std::fs::metadata(scratch.place.data())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn missing_handler_folder_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("nowhere");
    let place = Place::new(
        &host::binary().unwrap(),
        folder.path(),
        std::slice::from_ref(&absent),
        "",
    )
    .unwrap();
    assert_refused(
        &place.run_command().output().unwrap(),
        &[absent.to_str().unwrap()],
    );
    assert!(!place.data().join("FORMAT").exists());
}

#[test]
fn program_alone_prints_the_three_commands_of_a_newcomer() {
    let scratch = Scratch::new(&[], "");
    let output = scratch.place.weir(&[]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["weir run", "weir publish", "weir tail"] {
        assert!(text.contains(command), "{text}");
    }
}
