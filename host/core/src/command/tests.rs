use super::*;

fn command(kind: Kind) -> Command {
    Command {
        kind,
        letter: Hash128([7; 16]).as_uuid(),
        replays: 2,
        origin: Origin {
            topic: "dev.local.public.orders.v1".into(),
            partition: 3,
            offset: 41,
        },
    }
}

fn letter() -> Record {
    Record {
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![
            ("ce_id".into(), Some("1".into())),
            ("null".into(), None),
            (KIND.into(), Some("forged".into())),
        ],
        timestamp_ms: 5,
    }
}

#[test]
fn a_command_brings_the_letters_own_record_back() {
    for kind in [Kind::Replay, Kind::Drop, Kind::Release] {
        let record = to_record(&command(kind), letter(), 99);
        assert_eq!(record.timestamp_ms, 99);
        assert_eq!(from_record(record), Ok((command(kind), letter())));
    }
}

#[test]
fn a_command_of_an_earlier_version_is_obeyed() {
    let mut record = to_record(&command(Kind::Drop), letter(), 99);
    record.headers.last_mut().unwrap().1 = Some("3/41".into());
    let of_then = Record {
        timestamp_ms: 99,
        ..letter()
    };
    assert_eq!(from_record(record), Ok((command(Kind::Drop), of_then)));
    for place in ["3", "3/", "3/41/", "3/41/x", "3/41/5/6", "/41/5"] {
        let mut record = to_record(&command(Kind::Drop), letter(), 99);
        record.headers.last_mut().unwrap().1 = Some(place.into());
        assert_eq!(from_record(record), Err(NotACommand(PLACE)), "{place}");
    }
}

#[test]
fn a_record_with_forged_headers_is_no_command() {
    assert_eq!(from_record(letter()), Err(NotACommand(KIND)));
    let mut swapped = to_record(&command(Kind::Drop), letter(), 99);
    swapped.headers.swap(3, 4);
    assert_eq!(from_record(swapped), Err(NotACommand(KIND)));
}
