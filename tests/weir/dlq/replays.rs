//! Replays: jobs of letters, and trying first what would come of them.

use super::*;

/// How often each event had an effect.
fn times(client: &Client) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for cause in effects(client) {
        *times.entry(cause).or_default() += 1;
    }
    times
}

#[test]
fn replayed_letters_have_their_effects_once_and_dropped_ones_none() {
    let billing = Billing::new("");
    let host = billing.start();
    publish(
        host.client(),
        &[bad("a", "1"), bad("b", "2"), bad("c", "3")],
    );
    host.client().settle(SETTLE).unwrap();
    let dropped = billing.id_of("2");
    let answer = billing.weir(&["dlq", "drop", "billing", &dropped]);
    assert_eq!(answer["letters"], json!([dropped]));
    assert_eq!(answer["obeyed"], true);
    assert_eq!(billing.status_of("2"), "dropped");

    // The cause is still there: the letters die again, under their ids.
    let ids = [billing.id_of("1"), billing.id_of("3")];
    let job = billing.weir(&["dlq", "replay", "billing", "--all", "--rate", "100"]);
    assert_eq!((&job["id"], &job["letters"]), (&json!(1), &json!(2)));
    let job = billing.wait_for_job("1", "done", |job| job["state"] == "done");
    assert_eq!(
        (&job["dead"], &job["done"]),
        (&json!(2), &json!(0)),
        "{job}"
    );
    assert_eq!([billing.id_of("1"), billing.id_of("3")], ids);
    for letter in billing.letters() {
        let replays = u64::from(letter["id"] != dropped);
        assert_eq!(letter["replays"], replays, "{letter}");
    }
    assert_eq!(effects(host.client()), Vec::<String>::new());

    host.drain().unwrap();
    billing.correct();
    let host = billing.start();
    billing.weir(&["dlq", "replay", "billing", "--code", "bad-amount"]);
    let job = billing.wait_for_job("2", "done", |job| job["state"] == "done");
    assert_eq!(
        (&job["dead"], &job["done"]),
        (&json!(0), &json!(2)),
        "{job}"
    );
    let once = BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 1)]);
    assert_eq!(times(host.client()), once);
    assert_eq!(billing.status_of("1"), "done");
    assert_eq!(billing.status_of("2"), "dropped");

    // What is done or dropped never runs again.
    for id in [&ids[0], &dropped] {
        let (code, _, said) = billing.try_weir(&["dlq", "replay", "billing", id]);
        assert_eq!(code, Some(1));
        assert!(said.contains("that is dead fits"), "{said}");
    }
    let jobs = billing.weir(&["dlq", "jobs", "billing"]);
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(2));
    let (_, _, said) = billing.try_weir(&["dlq", "job", "billing", "2", "pause"]);
    assert!(said.contains("is over"), "{said}");
    let (code, _, said) = billing.try_weir(&["dlq", "replay", "billing"]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(times(host.client()), once);
}

#[test]
fn job_goes_on_after_its_host_was_killed_and_runs_every_letter_once() {
    const LETTERS: usize = 60;
    let billing = Billing::new("");
    let host = billing.start();
    // Two letters for each customer.
    let events: Vec<_> = (0..LETTERS)
        .map(|n| bad(&n.to_string(), &(n % (LETTERS / 2)).to_string()))
        .collect();
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    host.drain().unwrap();
    billing.correct();
    let mut host = billing.start();
    billing.weir(&["dlq", "replay", "billing", "--all", "--rate", "20"]);
    for sent in [5, 23, 41] {
        billing.wait_for_job("1", "under way", |job| {
            job["sent"].as_u64().unwrap() >= sent
        });
        host.kill().unwrap();
        host = billing.start();
    }
    // A pause outlives the host as well.
    let job = billing.weir(&["dlq", "job", "billing", "1", "pause"]);
    assert_eq!(job["state"], "paused");
    host.kill().unwrap();
    let host = billing.start();
    let job = billing.weir(&["dlq", "job", "billing", "1"]);
    assert_eq!(job["state"], "paused", "{job}");
    billing.weir(&["dlq", "job", "billing", "1", "resume"]);
    let job = billing.wait_for_job("1", "done", |job| job["state"] == "done");
    assert_eq!(job["done"], LETTERS, "{job}");
    let times = times(host.client());
    assert_eq!(times.len(), LETTERS);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    // Each customer's in their order.
    for pair in effects(host.client()).chunks(2) {
        let [first, second] = [&pair[0], &pair[1]].map(|id| id.parse::<usize>().unwrap());
        assert_eq!(first + LETTERS / 2, second);
    }
}

#[test]
fn cancelled_job_sends_nothing_more_whatever_happens_to_its_host() {
    const LETTERS: u64 = 60;
    let billing = Billing::new("");
    let host = billing.start();
    let events: Vec<_> = (0..LETTERS)
        .map(|n| bad(&n.to_string(), &n.to_string()))
        .collect();
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    host.drain().unwrap();
    billing.correct();
    let host = billing.start();
    billing.weir(&["dlq", "replay", "billing", "--all", "--rate", "20"]);
    billing.wait_for_job("1", "under way", |job| job["sent"].as_u64().unwrap() >= 3);
    let job = billing.weir(&["dlq", "job", "billing", "1", "cancel"]);
    assert_eq!(job["state"], "cancelled", "{job}");
    host.kill().unwrap();
    let host = billing.start();
    // What was sent before it was cancelled still has its effect.
    let job = billing.wait_for_job("1", "settled", |job| job["waiting"] == 0);
    assert_eq!(job["state"], "cancelled", "{job}");
    let done = job["done"].as_u64().unwrap();
    assert!((3..LETTERS).contains(&done), "{job}");
    assert_eq!(job["left"], LETTERS - done, "{job}");
    host.client().settle(SETTLE).unwrap();
    assert_eq!(effects(host.client()).len() as u64, done);
    let (code, _, said) = billing.try_weir(&["dlq", "job", "billing", "1", "resume"]);
    assert_ne!(code, Some(0), "{said}");
}

#[test]
fn job_whose_first_sequences_die_again_leaves_the_others_as_they_are() {
    let billing = Billing::new("");
    let host = billing.start();
    let events: Vec<_> = (0..30)
        .map(|n| bad(&n.to_string(), &n.to_string()))
        .collect();
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    billing.weir(&["dlq", "replay", "billing", "--all", "--rate", "500"]);
    let job = billing.wait_for_job("1", "over", |job| {
        job["state"] == "failed-canary" && job["waiting"] == 0
    });
    let dead = job["dead"].as_u64().unwrap();
    assert!((2..=20).contains(&dead), "{job}");
    assert_eq!(job["left"], 30 - dead, "{job}");
    let replayed = billing
        .letters()
        .iter()
        .filter(|one| one["replays"] == 1)
        .count();
    assert_eq!(replayed as u64, dead);
    let shown = billing.shown(&["dlq", "job", "billing", "1"]);
    assert!(shown.contains("correct the cause"), "{shown}");
}

#[test]
fn dry_run_shows_what_would_be_emitted_and_changes_nothing() {
    let billing = Billing::new("");
    let host = billing.start();
    publish(
        host.client(),
        &[good("a", "1"), bad("b", "1"), bad("c", "2")],
    );
    host.client().settle(SETTLE).unwrap();
    let run = billing.weir(&["dlq", "replay", "billing", "--all", "--dry-run"]);
    for letter in run["letters"].as_array().unwrap() {
        assert_eq!(letter["outcome"], "failed", "{run}");
        assert_eq!(letter["code"], "bad-amount", "{run}");
    }
    let former = run["digest"].as_str().unwrap()[..12].to_owned();
    host.drain().unwrap();
    billing.correct();
    let host = billing.start();
    let before = (billing.letters(), times(host.client()));
    let run = billing.weir(&["dlq", "replay", "billing", "--all", "--dry-run"]);
    let letters = run["letters"].as_array().unwrap();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(letter["outcome"], "handled", "{run}");
        let emission = &letter["emissions"][0];
        assert_eq!(emission["topic"], PAYMENTS, "{run}");
        assert_eq!(emission["event"]["type"], "NotificationRequested", "{run}");
        assert!(emission["event"]["correlationid"].is_string(), "{run}");
    }
    let shown = billing.shown(&["dlq", "replay", "billing", "--all", "--dry-run"]);
    assert!(shown.contains("would emit to"), "{shown}");
    assert!(
        shown.contains("nothing was done; tried with version 0.1.0"),
        "{shown}"
    );

    // The version before is kept: it can be tried, and what serves is what replays.
    let all = ["dlq", "replay", "billing", "--all", "--version"];
    let run = billing.weir(&[&all[..], &[&former, "--dry-run"]].concat());
    assert_eq!(run["letters"][0]["outcome"], "failed", "{run}");
    let (code, _, said) = billing.try_weir(&[&all[..], &[&former]].concat());
    assert_eq!(code, Some(1));
    assert!(said.contains("does not serve"), "{said}");
    let (code, _, said) = billing.try_weir(&[&all[..], &["9.9.9"]].concat());
    assert_eq!(code, Some(1));
    assert!(
        said.contains("has no version \"9.9.9\"") && said.contains(&former),
        "{said}"
    );
    assert_eq!((billing.letters(), times(host.client())), before);
    assert_eq!(billing.weir(&["dlq", "jobs", "billing"])["jobs"], json!([]));
    let status = host.client().status().unwrap();
    assert_eq!(status["handlers"][0]["attempts"], 0);
}

#[test]
fn replay_by_code_means_the_letters_of_that_code_and_no_other() {
    let billing = Billing::new("");
    let host = billing.start();
    let unreadable = bad("b", "2").replace("\"amount\":\"a lot\",", "");
    publish(host.client(), &[bad("a", "1"), unreadable, bad("c", "3")]);
    host.client().settle(SETTLE).unwrap();
    let letters = billing.letters();
    let other = letters.iter().find(|letter| letter["key"] == "2").unwrap();
    assert_ne!(other["code"], "bad-amount", "{other}");
    host.drain().unwrap();
    billing.correct();
    let host = billing.start();
    let job = billing.weir(&["dlq", "replay", "billing", "--code", "bad-amount"]);
    assert_eq!(job["letters"], 2, "{job}");
    let job = billing.wait_for_job("1", "done", |job| job["state"] == "done");
    assert_eq!(job["done"], 2, "{job}");
    let once = BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 1)]);
    assert_eq!(times(host.client()), once);
    assert_eq!(billing.status_of("2"), "dead");
    let (code, _, said) = billing.try_weir(&["dlq", "replay", "billing", "--code", "none-such"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("that is dead fits"), "{said}");
}
