use super::*;

fn rules() -> Rules {
    Rules {
        handler: "billing".into(),
        source: "/weir/billing".into(),
        topics: vec![(
            "public.payments.v1".into(),
            "dev.local.public.payments.v1".into(),
        )],
        timers: false,
        ..Rules::default()
    }
}

fn input() -> Event {
    Event {
        id: "7".into(),
        source: "/shop".into(),
        ty: "InvoiceCreated".into(),
        ..Event::default()
    }
}

fn emission() -> Emission {
    Emission {
        ty: "InvoicePaid".into(),
        ..Emission::default()
    }
}

fn run(emissions: Vec<Emission>) -> Result<Vec<OutRecord>, InvalidEmission> {
    run_on(&input(), emissions)
}

fn run_on(event: &Event, emissions: Vec<Emission>) -> Result<Vec<OutRecord>, InvalidEmission> {
    let record = Record {
        timestamp_ms: 1_000,
        key: Some(Bytes::from_static(b"k")),
        ..Record::default()
    };
    let cause = Cause {
        event,
        record: &record,
        tenant: "default",
    };
    let emitted = to_records(&rules(), cause, Millis(0), emissions)?;
    Ok(emitted.into_iter().map(|one| one.out).collect())
}

fn event_of(record: &OutRecord) -> Event {
    binding::from_record(&record.record).expect("an emission is an event")
}

#[test]
fn the_host_completes_an_emission() {
    let records = run(vec![emission()]).expect("valid");
    let event = event_of(&records[0]);
    assert_eq!(&*records[0].topic, "dev.local.public.payments.v1");
    assert_eq!(records[0].record.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(event.source, "/weir/billing");
    assert_eq!(event.id, emission_id("default", "billing", "/shop", "7", 0));
    assert_eq!(event.time.as_deref(), Some("1970-01-01T00:00:01.000Z"));
    assert_eq!(event.extension("correlationid"), Some("7"));
    assert_eq!(event.extension("causationid"), Some("7"));
    assert_eq!(event.extension("partitionkey"), Some("k"));
    assert_eq!(event.extension(HOPS), Some("1"));
}

#[test]
fn the_time_of_an_emission_is_its_inputs_and_the_same_on_every_attempt() {
    let time = |input: &Event, own: Option<&str>| {
        let emission = Emission {
            time: own.map(str::to_owned),
            ..emission()
        };
        let records = run_on(input, vec![emission]).expect("valid");
        event_of(&records[0]).time
    };
    let timed = Event {
        time: Some("2026-11-21T10:00:00Z".to_owned()),
        ..input()
    };
    assert_eq!(time(&timed, None), timed.time);
    let own = "2020-01-01T00:00:00Z";
    assert_eq!(time(&timed, Some(own)).as_deref(), Some(own));
    let of_record = Millis(1_000).to_rfc3339();
    assert_eq!(time(&input(), None), Some(of_record));
}

#[test]
fn an_emission_that_must_not_be_published_is_refused_with_its_code() {
    let check = |change: &dyn Fn(&mut Emission), code: &str| {
        let mut emission = emission();
        change(&mut emission);
        assert_eq!(run(vec![emission]).expect_err(code).code, code);
    };
    let with = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    check(
        &|e| e.topic = Some("public.other.v1".into()),
        "topic-not-granted",
    );
    check(&|e| e.ty.clear(), "empty-type");
    check(&|e| e.id = Some(String::new()), "empty-id");
    check(
        &|e| e.datacontenttype = Some("application/cloudevents+json".into()),
        "bad-content-type",
    );
    check(&|e| e.delay_ms = Some(1), "delay-not-granted");
    check(&|e| e.ty = TIMER_TYPE.to_owned(), "forged-attribute");
    check(&|e| e.extensions = with("causationid"), "forged-attribute");
    check(&|e| e.extensions = with("tenantid"), "forged-attribute");
    check(&|e| e.extensions = with("weirhops"), "forged-attribute");
    check(&|e| e.extensions = with("Upper"), "bad-extension");
    check(&|e| e.extensions = with("source"), "bad-extension");
    check(
        &|e| e.extensions = [with("a"), with("a")].concat(),
        "bad-extension",
    );
}

#[test]
fn two_emissions_with_one_identity_are_refused() {
    let own = Emission {
        id: Some("same".into()),
        ..emission()
    };
    assert_eq!(
        run(vec![own.clone(), own]).expect_err("same id").code,
        "duplicate-emission-id"
    );
    assert_eq!(
        run(vec![emission(), emission()])
            .expect("ids differ by index")
            .len(),
        2
    );
}

#[test]
fn a_trace_goes_on_under_a_new_span() {
    let mut event = input();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    event.extensions.push(("traceparent".into(), parent.into()));
    let child = traceparent(&event, "id");
    assert_eq!((&child[..36], &child[52..]), (&parent[..36], &parent[52..]));
    assert_ne!(child, parent);
    assert_eq!(child.len(), parent.len());
}

#[test]
fn what_an_event_is_known_by_is_as_small_as_what_comes_from_outside() {
    let long = "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
    let text = || Some(long.clone());
    let attributes = [
        Emission {
            id: text(),
            ..emission()
        },
        Emission {
            ty: long.clone(),
            ..emission()
        },
        Emission {
            subject: text(),
            ..emission()
        },
        Emission {
            extensions: vec![("shop".to_owned(), long.clone())],
            ..emission()
        },
        Emission {
            extensions: vec![(long.clone(), String::new())],
            ..emission()
        },
    ];
    for emission in attributes {
        let refused = run(vec![emission]).unwrap_err();
        assert_eq!(refused.code, "attribute-too-large");
        assert!(refused.reason.len() < 200, "{}", refused.reason);
    }
    let key = |bytes: usize| Emission {
        key: EmissionKey::Key(vec![b'k'; bytes].into()),
        ..emission()
    };
    assert!(run(vec![key(ATTRIBUTE_BYTES_MAX)]).is_ok());
    let refused = run(vec![key(ATTRIBUTE_BYTES_MAX + 1)]).unwrap_err();
    assert_eq!(refused.code, "key-too-large");
}

#[test]
fn emissions_are_bounded_with_what_the_host_adds_to_them() {
    let long = "i".repeat(ATTRIBUTE_BYTES_MAX);
    let input = Event {
        id: long.clone(),
        extensions: vec![("correlationid".to_owned(), long)],
        ..input()
    };
    let many = |count: usize| {
        let emissions = std::iter::repeat_with(emission).take(count).collect();
        run_on(&input, emissions)
    };
    assert_eq!(many(900).unwrap().len(), 900);
    assert_eq!(many(1_000).unwrap_err().code, "emission-limit");
}

/// Much as Base64 in JSON: no data become smaller.
const DOUBLED: WriteStructured = |event| {
    let data = event.data.as_deref().unwrap_or_default();
    Bytes::from([data, data].concat())
};

#[test]
fn an_emission_is_no_larger_than_what_is_taken_for_an_event_in_the_mode_that_it_has() {
    let structured = Rules {
        structured: Some(DOUBLED),
        ..rules()
    };
    let of = |bytes: usize| Emission {
        data: Some(vec![0xff; bytes].into()),
        ..emission()
    };
    for (rules, bytes_max) in [
        (rules(), EVENT_BYTES_MAX),
        (structured, EVENT_BYTES_MAX / 2),
    ] {
        let out = run_with(&rules, &input(), of(bytes_max - 1_024)).expect("valid");
        assert!(out.record.stored_bytes() <= EVENT_BYTES_MAX);
        let refused = run_with(&rules, &input(), of(bytes_max));
        assert_eq!(refused, Err("emission-limit"));
    }
    // What it inherits counts too.
    let keyed = Event {
        mapped_key: Some(vec![b'k'; 1 << 20].into()),
        ..input()
    };
    let refused = run_with(&rules(), &keyed, of(1 << 20));
    assert_eq!(refused, Err("emission-limit"));
}

/// Tenant and subject, and a refusal without a subject.
#[derive(Debug)]
struct Subject;

impl ComposedKey for Subject {
    fn of(&self, tenant: &str, event: &Event) -> Result<String, String> {
        let subject = event.subject.as_deref().ok_or("no subject")?;
        Ok(format!("{tenant}:{subject}"))
    }
}

fn run_with(rules: &Rules, event: &Event, emission: Emission) -> Result<OutRecord, &'static str> {
    let record = Record {
        key: Some(Bytes::from_static(b"k")),
        ..Record::default()
    };
    let cause = Cause {
        event,
        record: &record,
        tenant: "acme",
    };
    let emitted = to_records(rules, cause, Millis(0), vec![emission]);
    let mut emitted = emitted.map_err(|invalid| invalid.code)?;
    Ok(emitted.remove(0).out)
}

#[test]
fn a_composed_key_is_for_emissions_that_name_none() {
    let rules = Rules {
        key: Some(Arc::new(Subject)),
        ..rules()
    };
    let run = |key, subject: Option<&str>| {
        let emission = Emission {
            key,
            subject: subject.map(str::to_owned),
            ..emission()
        };
        run_with(&rules, &input(), emission)
    };
    let composed = run(EmissionKey::Inherit, Some("s")).expect("valid");
    let key = composed.record.key.as_deref();
    assert_eq!(key, Some(&b"acme:s"[..]));
    assert_eq!(composed.partition_hash, partition_hash(key, "", "", ""));
    let event = event_of(&composed);
    assert_eq!(event.extension("partitionkey"), Some("acme:s"));

    let own = run(EmissionKey::Key("own".into()), None).expect("valid");
    assert_eq!(own.record.key.as_deref(), Some(&b"own"[..]));
    let keyless = run(EmissionKey::Keyless, None).expect("valid");
    assert_eq!(keyless.record.key, None);
    assert_eq!(run(EmissionKey::Inherit, None), Err("no-key"));
    let long = "s".repeat(ATTRIBUTE_BYTES_MAX);
    assert_eq!(run(EmissionKey::Inherit, Some(&long)), Err("key-too-large"));
}

#[test]
fn an_emission_inherits_the_key_that_its_input_was_mapped_to() {
    let mapped = Event {
        mapped_key: Some("mapped".into()),
        ..input()
    };
    let out = run_with(&rules(), &mapped, emission()).expect("valid");
    assert_eq!(out.record.key.as_deref(), Some(&b"mapped"[..]));
}

/// The parts of an event, one a line.
const LINES: WriteStructured = |event| {
    let extensions = event.extensions.iter();
    let lines = extensions.map(|(name, value)| format!("{name}={value}\n"));
    Bytes::from(format!("id={}\n", event.id) + &lines.collect::<String>())
};

#[test]
fn a_key_that_is_no_attribute_stays_a_key_alone() {
    let structured = Rules {
        structured: Some(LINES),
        ..rules()
    };
    for key in [
        vec![0, 0, 0, 7],
        vec![0xff],
        Vec::new(),
        vec![b'k'; 9 << 10],
    ] {
        let keyed = Event {
            mapped_key: Some(key.clone().into()),
            ..input()
        };
        let out = run_with(&rules(), &keyed, emission()).expect("valid");
        assert_eq!(out.record.key.as_deref(), Some(&key[..]));
        assert_eq!(event_of(&out).extension("partitionkey"), None);
        let out = run_with(&structured, &keyed, emission()).expect("valid");
        assert_eq!(out.record.key.as_deref(), Some(&key[..]));
        let lines = out.record.value.expect("a value");
        assert!(!String::from_utf8_lossy(&lines).contains("partitionkey"));
    }
}

#[test]
fn an_emissions_own_partitionkey_is_its_key_and_contradicts_no_other() {
    let composed = Rules {
        key: Some(Arc::new(Subject)),
        ..rules()
    };
    let run = |rules: &Rules, key: EmissionKey| {
        let own = Emission {
            key,
            extensions: vec![("partitionkey".to_owned(), "own".to_owned())],
            ..emission()
        };
        run_with(rules, &input(), own)
    };
    for (rules, key) in [
        (rules(), EmissionKey::Inherit),
        (composed, EmissionKey::Inherit),
        (rules(), EmissionKey::Key("own".into())),
    ] {
        let out = run(&rules, key).expect("valid");
        let key = out.record.key.as_deref();
        assert_eq!(key, Some(&b"own"[..]));
        assert_eq!(out.partition_hash, partition_hash(key, "", "", ""));
        assert_eq!(event_of(&out).extension("partitionkey"), Some("own"));
    }
    let another = EmissionKey::Key("another".into());
    for key in [another, EmissionKey::Keyless] {
        assert_eq!(run(&rules(), key), Err("bad-extension"));
    }
}

/// Of the rules of events, that time is told in digits.
const DIGITS: CheckAttribute = |name, value| {
    let is_good = name != "time" || value.starts_with(|c: char| c.is_ascii_digit());
    let reason = || format!("{name} is {value:?}");
    is_good.then_some(()).ok_or_else(reason)
};

#[test]
fn what_a_handler_sets_keeps_the_rules_of_events_in_either_mode_and_what_it_inherits_is_not_its_fault()
 {
    for structured in [None, Some(LINES)] {
        let rules = Rules {
            check: Some(DIGITS),
            structured,
            ..rules()
        };
        let timed = |time: &str| Emission {
            time: Some(time.to_owned()),
            ..emission()
        };
        let refused = run_with(&rules, &input(), timed("yesterday"));
        assert_eq!(refused, Err("bad-attribute"));
        assert!(run_with(&rules, &input(), timed("1997-01-01T00:00:00Z")).is_ok());
        let inherited = Event {
            time: Some("yesterday".to_owned()),
            ..input()
        };
        assert!(run_with(&rules, &inherited, emission()).is_ok());
    }
}

#[test]
fn in_the_structured_mode_the_value_is_what_the_format_writes() {
    let rules = Rules {
        structured: Some(|event| Bytes::from(event.id.clone())),
        ..rules()
    };
    let out = run_with(&rules, &input(), emission()).expect("valid");
    let content_type = out.record.header("content-type").map(|value| &value[..]);
    let media_type = b"application/cloudevents+json; charset=utf-8";
    assert_eq!(content_type, Some(&media_type[..]));
    assert_eq!(out.record.headers.len(), 1);
    let id = emission_id("acme", "billing", "/shop", "7", 0);
    assert_eq!(out.record.value.as_deref(), Some(id.as_bytes()));
}
