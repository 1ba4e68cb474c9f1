use super::*;

fn origin() -> Origin {
    Origin {
        fixed: Fixed {
            ordering: Ordering::Key,
            across_topics: true,
            inbox: true,
            inbox_key: Some("k".into()),
            mapping: Some("m".into()),
        },
        topics: vec![
            Description {
                id: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
                partitions: 12,
            },
            Description {
                id: 7,
                partitions: 3,
            },
        ],
    }
}

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
        [3, 0, 1, 1, 1, 0, b'k', 1, 0, b'm'].as_slice(),
        &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
        &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
        &[12, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        &[3, 0, 0, 0],
    ];
    assert_eq!(bytes, topics.concat());
    assert_eq!(Origin::decode(&bytes), Some(origin()));
    for cut in 0..bytes.len() {
        let shorter = Origin::decode(&bytes[..cut]);
        assert_ne!(shorter, Some(origin()), "{cut} bytes");
    }
    assert_eq!(Origin::decode(&[4, 0, 1]), None, "another version");
}

#[test]
fn version_1_has_no_order_across_topics_and_no_inbox_key() {
    let mut older = origin();
    (older.fixed.across_topics, older.fixed.inbox_key) = (false, None);
    older.fixed.mapping = None;
    let bytes = older.encode();
    let topics = &bytes[8..];
    assert_eq!(Origin::decode(&[&[1, 0, 1], topics].concat()), Some(older));
}

#[test]
fn version_2_has_no_mapping() {
    let mut older = origin();
    older.fixed.mapping = None;
    let bytes = older.encode();
    let (head, rest) = bytes[1..].split_at(6);
    let bytes = [&[2], head, &rest[2..]].concat();
    assert_eq!(Origin::decode(&bytes), Some(older));
}

#[test]
fn a_topic_that_has_grown_and_a_setting_that_has_changed_are_refused_by_name() {
    let kept = origin();
    assert!(origin().check(&kept, &scope()).is_ok());
    let mut grown = origin();
    grown.topics[0].partitions = 13;
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
fn a_topic_of_the_same_name_with_another_id_is_another_topic() {
    let kept = origin();
    let mut remade = origin();
    remade.topics[1].id = 8;
    let found: Vec<_> = (0..2).map(|index| remade.is_remade(&kept, index)).collect();
    assert_eq!(found, [false, true]);
}
