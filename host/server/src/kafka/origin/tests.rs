use super::*;

fn origin() -> Origin {
    let fixed = Fixed {
        ordering: Ordering::Key,
        across_topics: true,
        inbox: true,
        inbox_key: Some("k".into()),
        mapping: Some("m".into()),
    };
    let topics = vec![
        Description {
            id: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            partitions: 12,
        },
        Description {
            id: 7,
            partitions: 3,
        },
    ];
    Origin::found(fixed, &scope(), topics)
}

/// As an older version has kept it.
fn nameless() -> Origin {
    let mut origin = origin();
    for topic in &mut origin.topics {
        topic.name = None;
    }
    origin
}

/// The topics of [`nameless`] in their stored form.
const NAMELESS: [&[u8]; 5] = [
    &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
    &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
    &[12, 0, 0, 0],
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    &[3, 0, 0, 0],
];

fn scope() -> Scope {
    Scope {
        group: "weir.dev.default.billing".into(),
        topics: ["dev.local.public.invoices.v1".into(), "commands".into()].into(),
    }
}

#[test]
fn the_stored_form_is_fixed_and_reads_back() {
    let bytes = origin().encode();
    let topics = [
        [4, 0, 1, 1, 1, 0, b'k', 1, 0, b'm'].as_slice(),
        &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
        &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
        &[12, 0, 0, 0, 28, 0],
        b"dev.local.public.invoices.v1",
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        &[3, 0, 0, 0, 8, 0],
        b"commands",
    ];
    assert_eq!(bytes, topics.concat());
    assert_eq!(Origin::decode(&bytes), Some(origin()));
    for cut in 0..bytes.len() {
        let shorter = Origin::decode(&bytes[..cut]);
        assert_ne!(shorter, Some(origin()), "{cut} bytes");
    }
    assert_eq!(Origin::decode(&[5, 0, 1]), None, "another version");
}

#[test]
fn versions_1_to_3_have_no_names_and_less_that_is_fixed() {
    let stored = |head: &[u8]| Origin::decode(&[head, &NAMELESS.concat()].concat());
    let mut older = nameless();
    let third = stored(&[3, 0, 1, 1, 1, 0, b'k', 1, 0, b'm']);
    assert_eq!(third, Some(older.clone()));
    older.fixed.mapping = None;
    assert_eq!(stored(&[2, 0, 1, 1, 1, 0, b'k']), Some(older.clone()));
    (older.fixed.across_topics, older.fixed.inbox_key) = (false, None);
    assert_eq!(stored(&[1, 0, 1]), Some(older));
}

#[test]
fn a_topic_that_has_grown_and_a_setting_that_has_changed_are_refused_by_name() {
    let kept = origin();
    assert!(origin().check(&kept, &scope()).is_ok());
    let mut grown = origin();
    grown.topics[0].description.partitions = 13;
    let error = grown.check(&kept, &scope()).unwrap_err().to_string();
    assert!(
        error.contains("invoices.v1\" has 13 partitions, and had 12"),
        "{error}"
    );
    let mut changed = origin();
    changed.fixed.inbox = false;
    let error = changed.check(&kept, &scope()).unwrap_err().to_string();
    assert!(
        error.contains("inbox.enabled (false, and was true)"),
        "{error}"
    );
}

#[test]
fn other_topics_than_were_kept_are_refused_by_their_names() {
    let more = Scope {
        topics: ["dev.a".into(), "dev.b".into(), "commands".into()].into(),
        ..scope()
    };
    let found = Origin::found(
        origin().fixed,
        &more,
        vec![origin().topics[1].description; 3],
    );
    let refused = |found: &Origin, kept, scope| found.check(&kept, scope).unwrap_err().to_string();
    let error = refused(&found, origin(), &more);
    let told = "subscribe.topics (dev.a, dev.b, and was dev.local.public.invoices.v1)";
    assert!(error.contains(told), "{error}");
    let error = refused(&found, nameless(), &more);
    assert!(error.contains("and was a list of 1"), "{error}");
    let back = refused(&origin(), found, &scope());
    assert!(
        back.contains("invoices.v1, and was dev.a, dev.b)"),
        "{back}"
    );
    assert!(origin().check(&nameless(), &scope()).is_ok());
    let renamed = Scope {
        topics: ["dev.a".into(), "commands".into()].into(),
        ..scope()
    };
    assert!(origin().check(&origin(), &renamed).is_err());
}

#[test]
fn a_topic_of_the_same_name_with_another_id_is_another_topic() {
    let kept = origin();
    let mut remade = origin();
    remade.topics[1].description.id = 8;
    let found: Vec<_> = (0..2).map(|index| remade.is_remade(&kept, index)).collect();
    assert_eq!(found, [false, true]);
}
