use rocksdb::{DB, WriteBatch, WriteOptions};

use super::*;

#[test]
fn the_checksum_is_that_of_rfc_3720() {
    let masked = |plain: u32| plain.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(Crc::of(b"123456789").masked(), masked(0xe306_9283));
    assert_eq!(Crc::of(&[0; 32]).masked(), masked(0x8a91_36aa));
}

/// A store of RocksDB's own making: batches of two keys, some longer than a block. Answers its one journal.
fn written() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let db = DB::open_default(scratch.path()).unwrap();
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    for number in 0..60_usize {
        let mut batch = WriteBatch::default();
        batch.put(format!("a{number}"), "v".repeat(number * 97));
        batch.put(
            format!("b{number}"),
            "w".repeat(if number % 20 == 19 { 50_000 } else { 5 }),
        );
        db.write_opt(batch, &synced).unwrap();
    }
    drop(db);
    let file = files(scratch.path(), "log").unwrap().pop().unwrap();
    (scratch, file)
}

fn starts(bytes: &[u8]) -> (Vec<u64>, End) {
    let mut starts = Vec::new();
    let end = scan(bytes, |record| starts.push(record.at)).unwrap();
    (starts, end)
}

#[test]
fn a_journal_and_a_manifest_of_rocksdb_are_whole() {
    let (scratch, file) = written();
    let found = journals(scratch.path()).unwrap();
    assert_eq!(
        (found.last, &found.damage, found.files),
        (Some(120), &None, vec![file])
    );
    assert_eq!(manifest(scratch.path()).unwrap(), None);
}

#[test]
fn a_journal_cut_anywhere_is_torn_at_the_record_that_was_cut() {
    let (_scratch, file) = written();
    let bytes = fs::read(file).unwrap();
    let (all, _) = starts(&bytes);
    for cut in (0..bytes.len()).step_by(331) {
        let (kept, end) = starts(&bytes[..cut]);
        assert!(all.starts_with(&kept));
        match end {
            End::Torn(at) => assert_eq!(Some(&at), all.get(kept.len()), "cut at {cut}"),
            End::Whole => assert!(all.get(kept.len()).is_none_or(|next| *next >= cut as u64)),
            End::Damaged(at, what) | End::Suspect(at, what) => {
                panic!("cut at {cut}: {what} at {at}")
            }
        }
    }
    let mut preallocated = bytes.clone();
    preallocated.resize(bytes.len() + 100_000, 0);
    assert!(matches!(starts(&preallocated), (kept, End::Torn(_)) if kept == all));
}

#[test]
fn a_bit_changed_anywhere_is_damage_and_never_a_torn_end() {
    let (_scratch, file) = written();
    let bytes = fs::read(file).unwrap();
    let (all, _) = starts(&bytes);
    // Every bit of the headers of some records, and of the bytes beside them.
    let near = all.iter().step_by(7).chain(&all[all.len() - 3..]);
    let places = near.flat_map(|start| *start..start + 24);
    let spread = (0..bytes.len() as u64).step_by(4_099);
    for place in places.chain(spread) {
        for bit in 0..8 {
            let mut wrong = bytes.clone();
            let Some(byte) = wrong.get_mut(usize::try_from(place).unwrap()) else {
                continue;
            };
            *byte ^= 1 << bit;
            let (kept, end) = starts(&wrong);
            assert!(
                // The zeros that fill a block belong to no record.
                matches!(end, End::Damaged(..))
                    || matches!(end, End::Suspect(at, _) if Some(&at) == all.last())
                    || kept == all,
                "bit {bit} of {place}: {end:?} after {} of {}",
                kept.len(),
                all.len()
            );
        }
    }
}

#[test]
fn a_hole_of_zeros_is_damage_and_a_missing_journal_is_a_gap() {
    let (scratch, file) = written();
    let bytes = fs::read(&file).unwrap();
    let (all, _) = starts(&bytes);
    for place in (0..bytes.len() - 4096).step_by(4096) {
        let mut wrong = bytes.clone();
        wrong[place..place + 4096].fill(0);
        let hole = place as u64..place as u64 + 4096;
        match starts(&wrong) {
            (_, End::Damaged(..)) => {}
            // The beginning of whatever came after it is gone too.
            (_, End::Suspect(at, _)) => assert!(
                all.iter().all(|start| *start <= at || hole.contains(start)),
                "hole at {place}: {at}"
            ),
            (_, other) => panic!("hole at {place}: {other:?}"),
        }
    }
    // The second half of the journal as one of its own, without what stood between.
    let (first, second) = (
        usize::try_from(all[5]).unwrap(),
        usize::try_from(all[6]).unwrap(),
    );
    fs::write(&file, &bytes[..first]).unwrap();
    fs::write(
        file.with_file_name("900000.log"),
        &bytes[second..all[9].try_into().unwrap()],
    )
    .unwrap();
    let damage = journals(scratch.path()).unwrap().damage.unwrap();
    assert_eq!(
        (damage.at, damage.what.as_str()),
        (0, "write 13 follows write 10")
    );
}

#[test]
fn a_fault_in_the_last_record_is_suspect_and_in_any_other_it_is_damage() {
    let (scratch, file) = written();
    let bytes = fs::read(&file).unwrap();
    let (all, _) = starts(&bytes);
    let found = |record: u64| {
        let mut wrong = bytes.clone();
        let payload = usize::try_from(record).unwrap() + HEADER + BATCH_HEADER;
        wrong[payload] ^= 1;
        fs::write(&file, &wrong).unwrap();
        journals(scratch.path()).unwrap()
    };
    let [.., before, last] = all[..] else {
        panic!("{all:?}")
    };
    let suspect = found(last);
    assert_eq!((suspect.damage, suspect.last), (None, Some(118)));
    assert_eq!(suspect.suspect.map(|damage| damage.at), Some(last));
    let damaged = found(before);
    assert_eq!(damaged.damage.map(|damage| damage.at), Some(before));
    assert_eq!(damaged.suspect, None);
    // What a later journal holds was written after it had been synced.
    found(last);
    let first = usize::try_from(all[1]).unwrap();
    fs::write(file.with_file_name("900000.log"), &bytes[..first]).unwrap();
    let damaged = journals(scratch.path()).unwrap();
    assert_eq!(damaged.damage.map(|damage| damage.at), Some(last));
    assert_eq!(damaged.suspect, None);
}
