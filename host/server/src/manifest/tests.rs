use std::fs;
use std::time::Duration;

use weir_core::event::Event;

use super::*;

const SMALL: &str = "name = \"billing\"\nversion = \"1.2.0\"\ncomponent = \"billing.wasm\"\n\
                     [subscribe]\ntopics = [\"public.invoices.v1\"]\n";

fn load(text: &str) -> Result<Manifest, Faults> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("billing.wasm"), "").unwrap();
    fs::write(folder.path().join(FILE), text).unwrap();
    let mut manifest = Manifest::load(folder.path(), &Config::default())?;
    for path in [&mut manifest.component, &mut manifest.file] {
        *path = path.strip_prefix(folder.path()).unwrap().to_owned();
    }
    Ok(manifest)
}

/// The manifest is refused for exactly these keys, with messages that contain these words.
fn check(text: &str, wanted: &[(&str, &str)]) {
    let faults = load(text).unwrap_err().0;
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        wanted.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        "{text}\n{faults:?}"
    );
    for (fault, (_, words)) in faults.iter().zip(wanted) {
        assert!(
            fault.message.contains(words),
            "{:?} does not say {words:?}",
            fault.message
        );
        assert!(fault.file.ends_with(FILE));
    }
}

#[test]
fn a_small_manifest_gets_the_defaults() {
    let wanted = Manifest {
        file: FILE.into(),
        name: "billing".to_owned(),
        version: "1.2.0".to_owned(),
        component: "billing.wasm".into(),
        tenant: "default".to_owned(),
        topics: vec!["dev.local.public.invoices.v1".to_owned()],
        from: From::Earliest,
        filter: Filter::default(),
        mapping: None,
        emit: Emit {
            source: "/weir/billing".to_owned(),
            ..Emit::default()
        },
        grants: Grants::default(),
        retry: weir_core::retry::Config::default(),
        breaker: weir_core::breaker::Config::default(),
        fallback: None,
        rate: None,
        on_dead: OnDead::Release,
        ordering: Ordering::Key,
        across_topics: false,
        limits: Limits {
            log_bytes_per_s: 64 << 10,
            memory_bytes: 64 << 20,
            cpu: CPU,
            wall: WALL,
        },
        isolation: Isolation::Reuse,
        partitions: None,
        inbox: true,
        inbox_key: None,
    };
    assert_eq!(wanted.group(&Config::default()), "weir.dev.default.billing");
    assert_eq!(load(SMALL), Ok(wanted));
}

#[test]
fn everything_that_is_written_is_read() {
    let head = "partitions = 3\nisolation = \"event\"\nordering = \"key\"\ntenant = \"acme\"\n";
    let rest = "from = \"latest\"\nfilter = [{ exact = { type = \"T\" } }]\n\
                [emit]\ntopics = [\"public.payments.v1\", \"=audit\"]\nsource = \"/billing\"\n\
                [grants]\nstate = true\n[retry]\nimmediate_ms = [1]\nattempts_max = 3\n\
                [breaker]\nwhile_open = \"fallback\"\nfallback = \"spare\"\nopen_s = 20\n\
                [dead_letter]\non_dead = \"hold\"\n\
                [limits]\nmemory_mib = 8\ncpu_ms = 5\nwall_ms = 6\nrate_per_second = 100\n[inbox]\nenabled = false\n";
    let manifest = load(&format!("{head}{SMALL}{rest}")).unwrap();
    assert_eq!(
        (manifest.partitions, manifest.isolation, manifest.from),
        (Some(3), Isolation::Event, From::Latest)
    );
    assert_eq!(manifest.tenant, "acme");
    assert_eq!(
        manifest.emit.topics,
        ["dev.local.public.payments.v1", "audit"]
    );
    assert_eq!(manifest.emit.source, "/billing");
    assert!(manifest.grants.state && !manifest.inbox);
    assert_eq!(manifest.retry.immediate, [Duration::from_millis(1)]);
    assert_eq!(
        (manifest.retry.attempts_max, manifest.retry.traps_max),
        (3, 3)
    );
    assert_eq!(manifest.limits.memory_bytes, 8 << 20);
    assert!(!manifest.filter.admits(&Event::default()));
}

#[test]
fn the_order_of_a_partition_or_none_at_all_may_be_asked_for() {
    for (word, ordering) in [("partition", Ordering::Partition), ("none", Ordering::None)] {
        let manifest = load(&format!("ordering = {word:?}\n{SMALL}")).unwrap();
        assert_eq!(manifest.ordering, ordering);
    }
    check(
        &format!("ordering = \"topic\"\n{SMALL}"),
        &[("ordering", "must be \"key\" or \"partition\" or \"none\"")],
    );
}

#[test]
fn an_order_across_topics_and_an_inbox_key_may_be_asked_for() {
    let more = "[ordering]\nacross_topics = true\n[inbox]\nkey = \"/order/id\"\n";
    let manifest = load(&format!("{SMALL}{more}")).unwrap();
    assert_eq!(
        (manifest.ordering, manifest.across_topics),
        (Ordering::Key, true)
    );
    assert!(manifest.joins_topics());
    assert_eq!(manifest.inbox_key, Some(Field::Pointer("/order/id".into())));
    let more = "[ordering]\nby = \"partition\"\n[inbox]\nkey = \"orderid\"\n";
    let manifest = load(&format!("{SMALL}{more}")).unwrap();
    assert_eq!(
        (manifest.ordering, manifest.across_topics),
        (Ordering::Partition, false)
    );
    assert!(!manifest.joins_topics());
    check(
        &format!("{SMALL}[ordering]\nby = \"none\"\nacross_topics = true\n"),
        &[("ordering", "keeps no order")],
    );
    check(
        &format!("{SMALL}[inbox]\nkey = \"orderId\"\n"),
        &[("inbox.key", "\"/order/id\"")],
    );
    check(
        &format!("{SMALL}[inbox]\nenabled = false\nkey = \"orderid\"\n"),
        &[("inbox.key", "remove it")],
    );
}

#[test]
fn an_order_is_refused_with_what_it_cannot_give() {
    let refused = |ordering: &str, rest: &str, words: &[&str]| {
        let wanted: Vec<_> = words.iter().map(|words| ("ordering", *words)).collect();
        check(&format!("ordering = {ordering:?}\n{SMALL}{rest}"), &wanted);
    };
    let both = "[grants]\nstate = true\ntimers = true\n";
    refused("none", both, &["grants.state", "grants.timers"]);
    let parks = "[breaker]\nwhile_open = \"park\"\n[dead_letter]\non_dead = \"hold\"\n";
    let words = ["breaker.while_open", "dead_letter.on_dead"];
    refused("partition", parks, &words);
    assert!(load(&format!("ordering = \"partition\"\n{SMALL}{both}")).is_ok());
}

#[test]
fn a_handler_emits_to_no_topic_of_the_host_itself() {
    let text = format!("{SMALL}[emit]\ntopics = [\"=dlq.weir.dev.default.a.t\"]\n");
    check(&text, &[("emit.topics[0]", "is for dead letters")]);
}

#[test]
fn what_is_internal_to_weir_or_kafka_is_neither_read_nor_written_by_a_handler() {
    for internal in [
        "=_weir.dev.control",
        "=_weir.weir.dev.default.a.ledger",
        "=__consumer_offsets",
    ] {
        let read = SMALL.replace("public.invoices.v1", internal);
        check(
            &read,
            &[("subscribe.topics[0]", "holds what no handler may see")],
        );
        let written = format!("{SMALL}[emit]\ntopics = [{internal:?}]\n");
        check(
            &written,
            &[("emit.topics[0]", "holds what no handler may see")],
        );
    }
}

#[test]
fn a_wrong_name_is_one_fault_and_not_another_of_the_source_made_of_it() {
    let text = SMALL.replace("\"billing\"", "\"Bill ing\"");
    check(&text, &[("name", "lower-case letters")]);
}

#[test]
fn all_faults_of_a_manifest_are_reported_at_once_with_key_and_remedy() {
    check(
        "nam = \"billing\"\nversion = \"1\"\ncomponent = \"other.wasm\"\n[emit]\ntopics = [\"payments\"]",
        &[
            ("name", "is missing: write name = \"billing\""),
            ("version", "must be three numbers"),
            ("subscribe.topics", "is missing"),
            ("emit.topics[0]", "write three parts"),
            ("component", "`cargo xtask guests`"),
            ("nam", "did you mean `name`?"),
        ],
    );
}

#[test]
fn a_key_like_no_other_is_answered_with_each_known_key_once() {
    let faults = load(&format!("colour = \"red\"\n{SMALL}")).unwrap_err();
    let message = &faults.0[0].message;
    let known = message.split_once("known are ").expect("no key is near").1;
    let mut names: Vec<_> = known.split(", ").collect();
    assert!(
        names.contains(&"dead_letter") && !names.contains(&"self_test"),
        "{message}"
    );
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "{message}");
}

#[test]
fn what_this_release_does_not_have_is_refused_as_such() {
    let refused = "is not in this release";
    check(&format!("{SMALL}[self_test]\n"), &[("self_test", refused)]);
    check(
        &format!("{SMALL}filter = [{{ sql = \"id = 1\" }}]"),
        &[("subscribe.filter[0].sql", refused)],
    );
    for grant in [
        "http = [\"https://a.example\"]",
        "config = [\"a\"]",
        "secrets = [\"a\"]",
    ] {
        let key = format!("grants.{}", grant.split(' ').next().unwrap());
        check(&format!("{SMALL}[grants]\n{grant}"), &[(&key, refused)]);
    }
}

#[test]
fn a_grant_needs_the_hosts_policy_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("billing.wasm"), "").unwrap();
    fs::write(
        folder.path().join(FILE),
        format!("{SMALL}[grants]\nstate = true"),
    )
    .unwrap();
    let config = |text: &str| Config::parse(&folder.path().join("weir.toml"), text).unwrap();
    let refused = Manifest::load(
        folder.path(),
        &config("[policy.handlers.billing]\nstate = false"),
    )
    .unwrap_err();
    assert_eq!(refused.0[0].key, "grants.state");
    assert!(
        refused.0[0]
            .message
            .contains("set state = true under [policy]"),
        "{refused}"
    );
    assert!(
        Manifest::load(
            folder.path(),
            &config("[policy.handlers.other]\nstate = false")
        )
        .is_ok()
    );
}

#[test]
fn wrong_values_are_named_with_what_would_be_right() {
    let twice = SMALL.replace(
        "[\"public.invoices.v1\"]",
        "[\"public.invoices.v1\", \"=dev.local.public.invoices.v1\"]",
    );
    check(&twice, &[("subscribe.topics[1]", "is there twice")]);
    check(
        &SMALL.replace("\"billing\"", "\"Billing\""),
        &[("name", "lower-case letters")],
    );
    check(
        &SMALL.replace("billing.wasm", "/billing.wasm"),
        &[("component", "must be relative")],
    );
    check(
        &format!("isolation = \"none\"\n{SMALL}"),
        &[("isolation", "must be \"reuse\" or \"event\"")],
    );
    check(
        &format!("{SMALL}from = \"now\""),
        &[("subscribe.from", "must be \"earliest\" or \"latest\"")],
    );
    check(
        &format!("{SMALL}[limits]\nmemory_mib = 257"),
        &[("limits.memory_mib", "must be from 1 to 256")],
    );
    check(
        &format!("{SMALL}[limits]\nwall_ms = 10"),
        &[("limits.wall_ms", "at least cpu_ms, 250")],
    );
}

#[test]
fn versions_are_three_numbers_with_an_optional_suffix() {
    for (version, is) in [
        ("1.2.0", true),
        ("0.1.0-rc.1", true),
        ("1.0.0+build-7", true),
        ("1.2", false),
        ("v1.2.0", false),
        ("1.2.0-", false),
        ("1..0", false),
    ] {
        assert_eq!(is_version(version), is, "{version:?}");
    }
}

#[test]
fn what_needs_a_ledger_is_refused_where_hosts_keep_positions_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("billing.wasm"), "").unwrap();
    let config = "[kafka]\nbootstrap = \"b:9092\"\ndelivery = \"at-least-once\"\ncreate_topics = \"off\"\n\
                  [policy]\nstate = true\ntimers = true\n";
    let config = Config::parse(Path::new("weir.toml"), config).unwrap();
    let load = |text: &str| Manifest::parse(&folder.path().join(FILE), text, &config);
    let manifest = load(SMALL).unwrap();
    assert!(!manifest.inbox, "there is nothing to keep it in");
    let wanting = format!(
        "{SMALL}[grants]\nstate = true\ntimers = true\n[inbox]\nenabled = true\n[breaker]\nwhile_open = \"park\"\n\
         [dead_letter]\non_dead = \"hold\"\n"
    );
    let faults = load(&wanting).unwrap_err();
    let keys: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    let wanted = [
        "grants.state",
        "grants.timers",
        "inbox",
        "breaker.while_open",
        "dead_letter.on_dead",
    ];
    assert_eq!(keys, wanted);
}
