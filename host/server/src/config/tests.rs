use std::fs;

use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = include_str!("../../../../weir.example.toml");

/// A certificate for `localhost` and its key, made for this test.
const CERT: &str = include_str!("tests/cert.pem");
const KEY: &str = include_str!("tests/key.pem");

/// A folder with everything that the example names.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    for (file, text) in [("cert.pem", CERT), ("key.pem", KEY), ("ca.pem", CERT)] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    for secret in ["token", "kafka.password"] {
        fs::write(folder.path().join(secret), "0123456789abcdef\n").unwrap();
    }
    folder
}

fn parse(folder: &TempDir, text: &str) -> Result<Config, Faults> {
    Config::parse(&folder.path().join("weir.toml"), text)
}

/// The file is refused for exactly these keys, with messages that contain these words.
fn check(text: &str, wanted: &[(&str, &str)]) {
    let faults = parse(&folder(), text).unwrap_err().0;
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
        assert!(fault.file.ends_with("weir.toml"));
    }
}

#[test]
fn the_example_is_the_defaults() {
    let folder = folder();
    assert_eq!(parse(&folder, EXAMPLE), parse(&folder, ""));
    let default = Config {
        file: Some(folder.path().join("weir.toml")),
        handlers: vec![folder.path().join(HANDLERS)],
        ..Config::default()
    };
    assert_eq!(parse(&folder, ""), Ok(default));
}

#[test]
fn every_optional_key_of_the_example_is_known() {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<_> = EXAMPLE.lines().map(bare).collect();
    let config = parse(&folder(), &text.join("\n")).unwrap();
    assert_eq!(config.data.as_deref(), Some(Path::new("/var/lib/weir")));
    assert_eq!(
        config.topics,
        [Topic {
            name: "dev.local.public.orders.v1".to_owned(),
            partitions: 12
        }]
    );
    assert!(config.http.tls.is_some());
    assert_eq!(config.http.tokens[0].secret.expose(), "0123456789abcdef");
    assert!(
        config.policy.allows("billing", Grant::Http) && !config.policy.allows("other", Grant::Http)
    );
}

#[test]
fn all_faults_of_a_file_are_reported_at_once_with_key_and_remedy() {
    check(
        "enviroment = \"prod\"\n[http]\nlisten = \"8080\"\n[retry]\nattempts_max = 0\n[[topics]]\nname = \"orders\"",
        &[
            (
                "http.listen",
                "must be an address and a port, as in \"127.0.0.1:8080\"",
            ),
            ("topics[0].name", "write three parts"),
            ("retry.attempts_max", "must be from 1 to 1000"),
            ("enviroment", "did you mean `environment`?"),
        ],
    );
}

#[test]
fn wrong_values_are_named_with_what_would_be_right() {
    check(
        "domain = 3",
        &[("domain", "is a TOML integer: must be a text")],
    );
    check("domain = \"Shop\"", &[("domain", "lower-case letters")]);
    check(
        "handlers = [\"missing\"]",
        &[("handlers[0]", "make it, or name another")],
    );
    check("topics = 3", &[("topics", "must be a list of tables")]);
    check(
        "[[topics]]\npartitions = 3",
        &[(
            "topics[0].name",
            "is missing: write name = \"public.orders.v1\"",
        )],
    );
    check(
        "[[topics]]\nname = \"=_weir.dev.control\"",
        &[("topics[0].name", "is made by who writes there")],
    );
    check(
        "[[topics]]\nname = \"=a\"\n[[topics]]\nname = \"=a\"",
        &[("topics[1].name", "is there twice")],
    );
    check(
        "[http]\nnames = []",
        &[("http.names", "must list the host names")],
    );
    check(
        "[http.limits]\nbody_bytes = 2000",
        &[("http.limits.body_bytes", "at least event_bytes")],
    );
    check(
        "[http.tls]\ncert = \"cert.pem\"",
        &[("http.tls.key", "is missing")],
    );
    check(
        "[[http.tokens]]\ntenant = \"a\"",
        &[("http.tokens[0]", "either token_file")],
    );
    check(
        "[[http.tokens]]\ntenant = \"a\"\ntoken = \"short\"",
        &[("http.tokens[0]", "at least 16 visible")],
    );
    check(
        "[policy]\nstate = \"yes\"",
        &[("policy.state", "must be true or false")],
    );
    check(
        "[retry]\nlong_ms = []",
        &[("retry.long_ms", "at least one delay")],
    );
    check(
        "[retry]\nshort_ms = [1, -1]",
        &[("retry.short_ms[1]", "is -1: must be from 1")],
    );
    check(
        "[pipeline]\nspan_positions = 8",
        &[(
            "pipeline.span_positions",
            "at least in_flight_per_partition, 256",
        )],
    );
    check("a = 1\nb = ", &[("line 2", "not valid TOML")]);
}

#[test]
fn bounds_of_what_is_committed_together_are_named_with_their_ranges() {
    check(
        "[pipeline]\nunit_events = 0\nunit_bytes = 4_000\nunit_linger_ms = 5_000",
        &[
            ("pipeline.unit_events", "must be from 1 to 65536"),
            ("pipeline.unit_bytes", "must be from 65536 to 16777216"),
            ("pipeline.unit_linger_ms", "must be from 0 to 1000"),
        ],
    );
    check(
        "[kafka]\nbootstrap = \"b:9092\"\nletter_bytes = 1_000_000\ntransaction_events = 0\ntransaction_bytes = 1",
        &[
            ("kafka.letter_bytes", "must be from 2359296 to 67108864"),
            ("kafka.transaction_events", "must be from 1 to 1000000"),
            ("kafka.transaction_bytes", "must be from 65536 to 67108864"),
        ],
    );
}

#[test]
fn a_pem_file_that_serves_for_nothing_is_told_with_its_key() {
    let check_tls = |cert: &str, key: &str, wanted: &[(&str, &str)]| {
        let folder = folder();
        fs::write(folder.path().join("cert.pem"), cert).unwrap();
        fs::write(folder.path().join("key.pem"), key).unwrap();
        let text = "enviroment = 1\n[http.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"";
        let mut faults = parse(&folder, text).unwrap_err().0;
        assert_eq!(faults.pop().unwrap().key, "enviroment");
        let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
        let wanted_keys: Vec<_> = wanted.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, wanted_keys, "{faults:?}");
        for (fault, (_, words)) in faults.iter().zip(wanted) {
            assert!(fault.message.contains(words), "{fault:?}");
        }
    };
    check_tls(
        KEY,
        CERT,
        &[
            ("http.tls.cert", "no certificate"),
            ("http.tls.key", "no private key"),
        ],
    );
    check_tls(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        KEY,
        &[("http.tls", "do not serve together")],
    );
    check_tls(CERT, "", &[("http.tls.key", "no private key")]);
}

#[test]
fn an_address_beyond_loopback_needs_tls_and_tokens_or_the_word_insecure() {
    const TLS: &str = "[http.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    const TOKEN: &str = "[[http.tokens]]\ntoken_file = \"token\"\ntenant = \"a\"\n";
    let open = "[http]\nlisten = \"0.0.0.0:80\"\n";
    check(
        open,
        &[("http.listen", "without TLS and tokens: set http.tls")],
    );
    check(
        &format!("{open}{TLS}"),
        &[("http.listen", "without tokens:")],
    );
    check(
        &format!("{open}{TOKEN}"),
        &[("http.listen", "without TLS:")],
    );
    let closed = parse(&folder(), &format!("{open}{TLS}{TOKEN}")).unwrap();
    assert_eq!(closed.insecure_warning(), None);
    let accepted = parse(&folder(), &format!("{open}insecure = true")).unwrap();
    assert!(
        accepted
            .insecure_warning()
            .unwrap()
            .contains("0.0.0.0:80 without TLS and tokens")
    );
    let local = parse(&folder(), "[http]\nlisten = \"[::1]:9\"\ninsecure = true").unwrap();
    assert_eq!(local.insecure_warning(), None);
}

#[test]
fn the_data_directory_is_the_asked_one_else_the_files_else_the_default() {
    let folder = folder();
    let named = parse(&folder, "data = \"store\"").unwrap();
    assert_eq!(named.data_dir(Some("asked".into())), Path::new("asked"));
    assert_eq!(named.data_dir(None), folder.path().join("store"));
    assert_eq!(Config::default().data_dir(None), Path::new("weir-data"));
}

#[test]
fn handlers_are_found_in_a_folder_and_one_level_below() {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    for name in ["b", "a", "a/deeper", "empty"] {
        fs::create_dir_all(plugins.join(name)).unwrap();
        if name != "empty" {
            fs::write(plugins.join(name).join(crate::manifest::FILE), "").unwrap();
        }
    }
    let found = |text: &str| parse(&folder, text).unwrap().handler_folders().unwrap();
    assert_eq!(found(""), [plugins.join("a"), plugins.join("b")]);
    assert_eq!(found("handlers = [\"plugins/a\"]"), [plugins.join("a")]);
}

#[test]
fn a_secret_is_not_shown() {
    let text = "[[http.tokens]]\ntenant = \"a\"\ntoken = \"0123456789abcdef\"";
    let shown = format!("{:?}", parse(&folder(), text).unwrap());
    assert!(
        !shown.contains("0123456789abcdef") && shown.contains("Secret(..)"),
        "{shown}"
    );
}

#[test]
fn what_the_promise_on_kafka_rests_on_cannot_be_set() {
    check(
        "[kafka]\nbootstrap = \"b:9092\"\ndelivery = \"at-most-once\"\ncreate_topics = \"off\"\n[kafka.settings]\n\
         \"acks\" = \"0\"\n\"isolation.level\" = \"read_uncommitted\"\n\"metadata.broker.list\" = \"b:1\"\n\
         \"delivery.report.only.error\" = \"true\"\n\"api.version.request\" = \"false\"\n\"linger.ms\" = 3\n",
        &[
            ("kafka.delivery", "or \"at-least-once\""),
            ("kafka.create_topics", "needs its internal topics"),
            ("kafka.settings.acks", "must be durable"),
            (
                "kafka.settings.api.version.request",
                "aborted would be read",
            ),
            (
                "kafka.settings.delivery.report.only.error",
                "known by the reports",
            ),
            ("kafka.settings.isolation.level", "aborted must not be read"),
            ("kafka.settings.linger.ms", "a text in quotes"),
            (
                "kafka.settings.metadata.broker.list",
                "write it as kafka.bootstrap",
            ),
        ],
    );
    check("[kafka]\n", &[("kafka.bootstrap", "is missing")]);
    check(
        "[kafka]\nbootstrap = \"b:9092\"\n[kafka.settings]\n\"queue.buffering.max.kbytes\" = \"2303\"\n",
        &[(
            "kafka.settings.queue.buffering.max.kbytes",
            "has to fit, write 2304 or more",
        )],
    );
}

#[test]
fn an_address_of_a_broker_is_a_host_and_a_port() {
    for wrong in [
        "",
        "b",
        "http://b:9092",
        "b:9092,",
        "b:0",
        "b:99999",
        "[::1:9092",
        "::1:9092",
        "a b:1",
    ] {
        let text = format!("[kafka]\nbootstrap = {wrong:?}\n");
        check(&text, &[("kafka.bootstrap", "is no address of a broker")]);
    }
    let right = "[kafka]\nbootstrap = \"b-1.example.com:9092, 10.0.0.1:9093,[::1]:9094\"\n";
    assert!(parse(&folder(), right).is_ok());
}

#[test]
fn what_a_connection_needs_is_looked_at_before_there_is_one() {
    let settings =
        |text: &str| format!("[kafka]\nbootstrap = \"b:9092\"\n[kafka.settings]\n{text}\n");
    check(
        &settings("security.protocol = \"SSL\""),
        &[(
            "kafka.settings.security",
            "stand in quotes as in \"security.name\"",
        )],
    );
    check(
        &settings("\"security.protocol\" = \"SASL_SSL\""),
        &[(
            "kafka.settings.security.protocol",
            "write \"sasl.mechanism\" = ",
        )],
    );
    check(
        &settings("\"ssl.ca.location\" = \"pki/ca.pem\""),
        &[("kafka.settings.ssl.ca.location", "there is no file ")],
    );
    let folder = folder();
    let text = settings(
        "\"ssl.ca.location\" = \"ca.pem\"\n\"security.protocol\" = \"sasl_ssl\"\n\"sasl.mechanisms\" = \"PLAIN\"",
    );
    let kafka = parse(&folder, &text).unwrap().kafka.unwrap();
    let path = folder.path().join("ca.pem");
    assert_eq!(kafka.settings.get("ssl.ca.location"), path.to_str());
    assert!(parse(&folder, &settings("\"ssl.ca.location\" = \"probe\"")).is_ok());
}

#[test]
fn a_password_comes_from_a_file_of_its_own_and_is_never_shown() {
    let folder = folder();
    let text = "[kafka]\nbootstrap = \"b:9092\"\npassword_file = \"token\"\n";
    let kafka = parse(&folder, text).unwrap().kafka.unwrap();
    assert_eq!(
        kafka.settings.get("sasl.password"),
        Some("0123456789abcdef")
    );
    let shown = format!("{kafka:?}");
    assert!(
        shown.contains("sasl.password") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );

    check(
        &format!("{text}[kafka.settings]\n\"sasl.password\" = \"x\"\n"),
        &[(
            "kafka.settings.sasl.password",
            "kafka.password_file has it too",
        )],
    );
    check(
        "[kafka]\nbootstrap = \"b:9092\"\npassword_file = \"none\"\n",
        &[("kafka.password_file", "cannot be read")],
    );
}

#[test]
fn a_cluster_takes_the_place_of_the_embedded_store() {
    let text = "[kafka]\nbootstrap = \"b:9092\"\nreplication = 3\n[kafka.settings]\n\"sasl.username\" = \"u\"\n";
    let kafka = parse(&folder(), text).unwrap().kafka.unwrap();
    assert_eq!(
        (kafka.bootstrap.as_str(), kafka.replication),
        ("b:9092", Some(3))
    );
    assert_eq!(kafka.create_topics, CreateTopics::Auto);
    assert_eq!(kafka.settings.get("sasl.username"), Some("u"));
}

#[test]
fn a_host_is_reached_where_it_says_or_listens_or_by_the_name_of_its_machine() {
    let folder = folder();
    let check = |http: &str, url: &str, name: &str| {
        let config = parse(&folder, &format!("[http]\n{http}")).unwrap();
        assert_eq!(config.advertised(81).as_deref(), Some(url), "{http}");
        assert_eq!(config.advertised_name().as_deref(), Some(name), "{http}");
    };
    check(
        "listen = \"127.0.0.1:80\"",
        "http://127.0.0.1:81",
        "127.0.0.1",
    );
    check("listen = \"[::1]:80\"", "http://[::1]:81", "[::1]");
    let own = "advertise = \"https://Weir-1.example.com:8443/\"";
    check(
        own,
        "https://Weir-1.example.com:8443/",
        "weir-1.example.com",
    );
    check("advertise = \"http://weir\"", "http://weir", "weir");
    check(
        "advertise = \"http://[fd00::1]\"",
        "http://[fd00::1]",
        "[fd00::1]",
    );

    let anywhere = "[http]\nlisten = \"0.0.0.0:80\"\ninsecure = true";
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let url = parse(&folder, anywhere).unwrap().advertised(80);
    assert_eq!(url, Some(format!("http://{}:80", machine.trim())));
}

#[test]
fn an_address_at_which_no_host_is_reached_is_refused() {
    for url in [
        "weir:80",
        "ftp://weir",
        "http://",
        "http://a/b",
        "http://me@a",
    ] {
        let wanted = [("http.advertise", "where other hosts reach this one")];
        check(&format!("[http]\nadvertise = \"{url}\""), &wanted);
    }
    let wanted = [("http.peer_ca", "there is no file")];
    check("[http]\npeer_ca = \"missing.pem\"", &wanted);
    let wanted = [("http.peer_ca", "holds no certificate")];
    let no_certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    check(&format!("[http]\npeer_ca = {no_certificate:?}"), &wanted);
}
