use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(in crate::embedded) fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    (
        option::of(bytes()),
        option::of(bytes()),
        vec((".{0,6}", option::of(bytes())), 0..4),
        any::<u64>(),
    )
        .prop_map(|(key, value, headers, timestamp_ms)| Record {
            key,
            value,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
            timestamp_ms,
        })
}

fn encode(records: &[Record]) -> Batch {
    let mut batch = Batch::new();
    for record in records {
        batch.push(record);
    }
    batch
}

fn decode(value: Bytes) -> Result<Vec<Record>, DecodeError> {
    let mut records = Records::new(value)?;
    let mut out = Vec::new();
    while let Some((record, _)) = records.next()? {
        out.push(record);
    }
    Ok(out)
}

proptest! {
    #[test]
    fn batches_round_trip(records in vec(any_record(), 0..10)) {
        let batch = encode(&records);
        let header = batch.header();
        let value = batch.finish();
        prop_assert_eq!(header.count as usize, records.len());
        prop_assert_eq!(header.bytes, value.len() as u64);
        prop_assert_eq!(header.newest_ms, records.iter().map(|r| r.timestamp_ms).max().unwrap_or(0));
        prop_assert_eq!(BatchHeader::decode(&header.encode()), Ok(header));
        prop_assert_eq!(decode(value), Ok(records));
    }

    #[test]
    fn joined_batches_hold_both_in_order(a in vec(any_record(), 0..5), b in vec(any_record(), 0..5)) {
        let mut joined = encode(&a);
        joined.join(&encode(&b));
        let both = [a, b].concat();
        prop_assert_eq!(joined.header(), encode(&both).header());
        prop_assert_eq!(decode(joined.finish()), Ok(both));
    }

    #[test]
    fn skipping_goes_as_far_as_reading(records in vec(any_record(), 1..6), skip in 0..5_usize) {
        let mut reader = Records::new(encode(&records).finish()).unwrap();
        for _ in 0..skip.min(records.len()) {
            prop_assert!(reader.skip().unwrap());
        }
        let next = reader.next().unwrap().map(|(record, _)| record);
        prop_assert_eq!(next.as_ref(), records.get(skip));
    }

    #[test]
    fn a_cut_batch_is_refused(records in vec(any_record(), 1..4), cut: prop::sample::Index) {
        let value = encode(&records).finish();
        let cut = cut.index(value.len());
        prop_assert!(decode(value.slice(..cut)).is_err());
    }

    #[test]
    fn any_bytes_are_a_batch_or_refused(mut bytes in vec(any::<u8>(), 1..300)) {
        bytes[0] = VERSION;
        drop(decode(bytes.into()));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let record = Record {
        key: Some(Bytes::from_static(b"k")),
        value: None,
        headers: vec![("h".into(), Some(Bytes::from_static(b"v")))],
        timestamp_ms: 0x0102,
    };
    let value = encode(&[record]).finish();
    let expected: [u8; 33] = [
        1, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, // version, count, newest
        16, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, // length, flags, timestamp
        1, b'k', 1, 1, b'h', 1, b'v',
    ];
    assert_eq!(&value[..], &expected[..]);
}

#[test]
fn a_header_without_a_value_is_told_from_an_empty_one() {
    let record = Record {
        headers: vec![("n".into(), None), ("e".into(), Some(Bytes::new()))],
        ..Record::default()
    };
    let value = encode(&[record]).finish();
    let expected: [u8; 33] = [
        1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // version, count, newest
        18, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, // length, flags, timestamp
        2, 1, b'n', 0, 1, b'e', 0, // headers
    ];
    assert_eq!(&value[..33], &expected[..]);
    assert_eq!(&value[33..], &[1, 0], "how many have none, and which");
}

#[test]
fn another_version_is_refused_by_number() {
    let mut value = encode(&[Record::default()]).finish().to_vec();
    value[0] = 2;
    let error = decode(value.into()).unwrap_err();
    assert_eq!(
        error,
        DecodeError::Version {
            what: "batch",
            found: 2,
            supported: 1
        }
    );
}
