//! The ingress: what is malformed or misdirected gets a reason and changes nothing.

use weir_tests::http::Answer;
use weir_tests::purchases::INVOICES;
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, invoice, root};

const JSON: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn assert_problem(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.content_type, "application/problem+json",
        "{answer:?}"
    );
    assert!(answer.body.contains(says), "{says:?} is not in {answer:?}");
}

#[test]
fn malformed_requests_are_refused_with_a_reason_and_publish_nothing() {
    let (_scratch, host) = Scratch::with_purchases();
    let client = host.client();
    let path = format!("/v1/topics/{INVOICES}/events");
    let good = invoice("a", "1", "1.00");
    let check = |headers: &[(&str, &str)], body: &str, status, says| {
        assert_problem(
            &client.post(&path, headers, body.as_bytes()).unwrap(),
            status,
            says,
        );
    };
    check(&[JSON], "{", 400, "");
    check(
        &[JSON],
        r#"{"specversion":"1.0","id":"1","source":"/s"}"#,
        400,
        "type",
    );
    check(&[BATCH], &format!("[{good},{{}}]"), 400, "specversion");
    check(&[("content-type", "text/html")], "<p>", 415, "");
    assert_eq!(client.records(INVOICES).unwrap(), 0);
}

#[test]
fn unknown_topic_is_not_found_and_the_nearest_name_is_told() {
    let (_scratch, host) = Scratch::with_purchases();
    let answer = host
        .client()
        .publish("dev.local.public.invoice.v1", &[invoice("a", "1", "1.00")])
        .unwrap();
    assert_problem(&answer, 404, INVOICES);
}

#[test]
fn nobody_publishes_to_the_dead_letters_of_a_handler() {
    let (_scratch, host) = Scratch::with_purchases();
    let letters = format!("dlq.weir.dev.default.billing.{INVOICES}");
    let event = [invoice("forged", "1", "1.00")];
    for name in [letters.clone(), format!("={letters}")] {
        let answer = host.client().publish(&name, &event).unwrap();
        assert_problem(&answer, 403, "publish to a topic of events");
    }
    assert_eq!(host.client().records(&letters).unwrap(), 0);
}

#[test]
fn request_for_another_host_name_is_misdirected() {
    let (_scratch, host) = Scratch::with_purchases();
    let client = host.client();
    let path = format!("/v1/topics/{INVOICES}/events");
    let answer = client
        .post(
            &path,
            &[JSON, ("host", "evil.example")],
            invoice("a", "1", "1.00").as_bytes(),
        )
        .unwrap();
    assert_problem(&answer, 421, "evil.example");
    assert_eq!(client.records(INVOICES).unwrap(), 0);
}

#[test]
fn host_says_that_it_lives_and_is_ready() {
    let (_scratch, host) = Scratch::with_purchases();
    for path in ["/livez", "/readyz"] {
        assert_eq!(host.client().get(path).unwrap().status, 200, "{path}");
    }
}

#[test]
fn commands_speak_tls_to_a_host_that_does_and_only_to_one_that_they_trust() {
    let tls = root().join("tests/data/tls");
    let file = |name: &str| tls.join(name).display().to_string();
    let (cert, key, ca) = (file("cert.pem"), file("key.pem"), file("ca.pem"));
    let config = format!("[http.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let scratch = Scratch::new(&[], &config);
    let place = &scratch.place;
    let url = place.client().url().replace("http://", "https://");
    let weir = |arguments: &[&str]| {
        let output = place.weir(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), output.stdout, said)
    };
    let log = std::fs::File::create(place.log()).unwrap();
    let mut host = place.run_command().stderr(log).spawn().unwrap();
    let trusting = ["status", "--url", &url, "--ca", &ca];
    let is_up = || Ok(weir(&trusting).0.then_some(()));
    let up = wait::until("the host to answer", SETTLE, is_up);
    let refused = weir(&["status", "--url", &url]);
    let plain = weir(&["status", "--url", &url.replace("https", "http")]);
    host.kill().unwrap();
    host.wait().unwrap();
    up.unwrap();
    assert!(
        !refused.0 && refused.2.contains("--ca FILE"),
        "{}",
        refused.2
    );
    assert!(!plain.0, "a host that speaks TLS speaks nothing else");
}
