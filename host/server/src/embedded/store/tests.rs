use super::*;

/// How often RocksDB has synced its journal.
fn syncs(store: &Store) -> u64 {
    let statistics = store.db.property_value("rocksdb.options-statistics");
    let statistics = statistics.unwrap().unwrap();
    let count = statistics
        .lines()
        .find_map(|line| line.strip_prefix("rocksdb.wal.synced COUNT : "));
    count.unwrap().parse().unwrap()
}

#[test]
fn what_is_acknowledged_is_synced_each_time_and_what_can_be_had_again_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path()).unwrap();
    let batch = |value: u8| {
        let mut batch = WriteBatch::default();
        batch.put_cf(store.family(Family::Meta), b"key", [value]);
        batch
    };
    let before = syncs(&store);
    for written in 1..=3 {
        store.write_synced(batch(1));
        assert_eq!(syncs(&store), before + written);
    }
    store.write_unsynced(batch(2));
    assert_eq!(syncs(&store), before + 3);
}
