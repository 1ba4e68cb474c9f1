use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fleet::HandlerRecord;

fn any_key() -> impl Strategy<Value = Key> {
    let name = "[a-z0-9.-]{1,40}";
    prop_oneof![
        name.prop_map(Key::Host),
        (name, any::<bool>(), any::<u64>()).prop_map(|(group, pause, name)| Key::Command {
            group,
            what: What::ALL[usize::from(pause)],
            name,
        }),
        (name, any::<u64>()).prop_map(|(group, job)| Key::Progress { group, job }),
        (name, any::<u64>(), any::<u32>()).prop_map(|(group, job, part)| Key::Plan {
            group,
            job,
            part
        }),
    ]
}

fn host() -> HostRecord {
    let mut record = HostRecord::new(Some("http://h:1".to_owned()), "s".to_owned(), 7);
    record.handlers = vec![HandlerRecord {
        group: "weir.dev.default.count".to_owned(),
        tenant: "default".to_owned(),
        name: "count".to_owned(),
        version: "1.0.0".to_owned(),
        digest: "blake3:0".to_owned(),
        state: "ready".to_owned(),
        of: 12,
        partitions: vec![0, 5],
        stopped: false,
        lag: Some(1),
        open: 2,
        parked_events: 3,
        held_sequences: 4,
    }];
    record
}

proptest! {
    #[test]
    fn keys_round_trip(key in any_key()) {
        prop_assert_eq!(Key::decode(key.encode().as_bytes()), Some(key));
    }

    #[test]
    fn no_bytes_are_a_key_of_two_forms(bytes in vec(any::<u8>(), 0..60)) {
        if let Some(key) = Key::decode(&bytes) {
            prop_assert_eq!(key.encode().into_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_of_a_value_do_harm(bytes in vec(any::<u8>(), 0..60)) {
        drop(host_from_bytes(&bytes));
        for what in What::ALL {
            assert_eq!(Command::decode(what, &bytes), None);
        }
    }
}

#[test]
fn keys_keep_their_wire_format() {
    let group = "weir.dev.default.count".to_owned();
    let keys = [
        (Key::Host("h-1".to_owned()), "host/h-1"),
        (
            Key::Command {
                group: group.clone(),
                what: What::Pause,
                name: 0xbeef,
            },
            "steering/weir.dev.default.count/pause/000000000000beef",
        ),
        (
            Key::Command {
                group: group.clone(),
                what: What::Breaker,
                name: u64::MAX,
            },
            "steering/weir.dev.default.count/breaker/ffffffffffffffff",
        ),
        (
            Key::Progress {
                group: group.clone(),
                job: 3,
            },
            "job/weir.dev.default.count/3",
        ),
        (
            Key::Plan {
                group,
                job: 3,
                part: 1,
            },
            "job/weir.dev.default.count/3/plan/1",
        ),
    ];
    for (key, text) in keys {
        assert_eq!(key.encode(), text);
    }
}

#[test]
fn keys_that_no_version_has_written_are_none() {
    let long = format!("host/{}", "x".repeat(NAME_BYTES_MAX + 1));
    for key in [
        "",
        "host",
        "host/",
        "host/a/b",
        "steering/",
        "steering/g",
        "steering/g/pause",
        "steering/g/pause/1",
        "steering/g/pause/000000000000BEEF",
        "steering/g/other/0000000000000001",
        "job/g",
        "job/g/-1",
        "job/g/+1",
        "job/g/01",
        "job/g/1/plan",
        "job/g/1/plan/x",
        "job/g/1/plan/4294967296",
        "job/g/1/other/1",
        "job/g/1/plan/1/2",
        "lease/g",
        &long,
    ] {
        assert_eq!(Key::decode(key.as_bytes()), None, "{key:?}");
    }
    assert_eq!(Key::decode(b"host/\xff"), None);
}

#[test]
fn values_round_trip_and_say_more_in_a_later_version() {
    assert!(host_from_bytes(&host_to_bytes(&host())) == Some(host()));
    let breakers = BreakerCommand::ALL.map(Change::Breaker);
    let pauses = [false, true].map(Change::Paused);
    for change in breakers.into_iter().chain(pauses) {
        for upon in [None, Some(0), Some(u64::MAX)] {
            let command = Command { change, upon };
            let read = Command::decode(What::of(change), &command.encode());
            assert_eq!(read, Some(command));
        }
    }
    let more = br#"{"v":1,"paused":true,"upon":7,"why":"maintenance"}"#;
    let command = Command {
        change: Change::Paused(true),
        upon: Some(7),
    };
    assert_eq!(Command::decode(What::Pause, more), Some(command));
}

#[test]
fn values_of_another_form_are_none() {
    for value in [
        &br#"{"v":2,"paused":true,"breaker":"open"}"#[..],
        br#"{"v":1,"paused":1,"breaker":"ajar"}"#,
        br#"{"v":1}"#,
        b"[]",
        b"",
    ] {
        for what in What::ALL {
            assert_eq!(Command::decode(what, value), None);
        }
    }
    let mut later = host();
    later.v += 1;
    assert!(host_from_bytes(&host_to_bytes(&later)).is_none());
}
