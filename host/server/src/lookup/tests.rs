use weir_core::unit::{ItemId, Position};

use super::*;

#[test]
fn sequences_round_trip_as_text() {
    let sequences = [
        SequenceKey::Keyed {
            tenant: "shop".into(),
            key: Bytes::from_static(b"\xff\x00key"),
        },
        SequenceKey::Alone(ItemId::Record(Position {
            topic: 1,
            offset: 7,
        })),
        SequenceKey::Alone(ItemId::Timer(Hash128([3; 16]))),
    ];
    for sequence in sequences.map(Sequence) {
        let text = serde_json::to_string(&sequence).unwrap();
        assert_eq!(serde_json::from_str::<Sequence>(&text).unwrap(), sequence);
    }
    for text in ["", "!", "AA", "BAAA", "/w=="] {
        assert!(Sequence::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn an_answer_of_another_kind_or_number_is_none() {
    let letter = OfLetter {
        id: String::new(),
        held: None,
    };
    let asked = |question| Asked {
        partition: 0,
        question,
    };
    let known = Known {
        status: Status::Done,
        died: None,
    };
    let letters = |count| Answer::Letters {
        obeyed: 0,
        letters: vec![known; count],
    };
    let two = asked(Question::Letters(vec![letter.clone(), letter]));
    assert!(letters(2).is_to(&two));
    for wrong in [letters(1), letters(3), Answer::Parked(Vec::new())] {
        assert!(!wrong.is_to(&two), "{wrong:?}");
    }
    assert!(!letters(0).is_to(&asked(Question::Parked(1))));
}

#[test]
fn values_of_another_host_that_are_no_base64_are_an_error() {
    let held = |value: &str| Held {
        state: vec![("name".to_owned(), value.to_owned())],
        timers: Vec::new(),
    };
    let values = held("AAE=").values().unwrap();
    assert_eq!(
        values,
        [("name".to_owned(), Bytes::from_static(b"\x00\x01"))]
    );
    assert!(held("not base64").values().is_err());
}
