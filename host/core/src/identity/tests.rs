use super::*;

#[test]
fn murmur2_is_kafkas() {
    // From Kafka's UtilsTest.testMurmur2.
    let known: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];
    for (text, hash) in known {
        assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
    }
}

#[test]
fn fields_are_kept_apart() {
    assert_ne!(
        inbox_mark("ab", "c", "d", "e"),
        inbox_mark("a", "bc", "d", "e")
    );
    assert_ne!(
        partition_hash(None, "a", "bc", "d"),
        partition_hash(None, "ab", "c", "d")
    );
}

#[test]
fn an_idempotency_key_is_no_source_and_id_and_its_mark_is_known() {
    let mark = inbox_key_mark("g", "t", "order-1");
    assert_ne!(mark, inbox_mark("g", "t", "order-1", ""));
    assert_ne!(mark, inbox_key_mark("gt", "", "order-1"));
    assert_eq!(mark.to_string(), "ac274be4711b9d92a6a5a0ee408ef65f");
}

#[test]
fn the_place_of_a_record_without_a_key_is_known() {
    // MurmurHash2 of tenant, source and id, each behind its length in eight bytes, least significant first.
    let place = partition_hash(None, "default", "/till", "4711");
    assert_eq!(place, 1_207_756_633);
}

#[test]
fn a_hash_is_the_same_however_long_its_fields_are() {
    for bytes in 200..300 {
        let field = vec![b'x'; bytes];
        let mut hasher = blake3::Hasher::new();
        for field in [&b"label"[..], b"", &field] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        let whole = hasher.finalize();
        assert_eq!(hash_128("label", &[b"", &field]).0, whole.as_bytes()[..16]);
    }
}
