use super::*;

const DAY: u64 = 24 * 3_600_000;

fn block(unit: u64, at: u64) -> InboxBlock {
    let id = Hash128(u128::from(unit).to_le_bytes());
    InboxBlock {
        unit,
        stream_time: Millis(at),
        staged_at: Millis(at),
        ids: [id].into(),
    }
}

fn of(config: Config, blocks: impl IntoIterator<Item = InboxBlock>) -> Inbox {
    let mut inbox = Inbox::new(config);
    for block in blocks {
        inbox.insert(block);
    }
    inbox
}

fn inbox(blocks: &[(u64, u64)]) -> Inbox {
    let blocks = blocks.iter().map(|&(unit, at)| block(unit, at));
    of(Config::default(), blocks)
}

/// Memory for so many blocks of one id.
fn tight(blocks: usize) -> Config {
    Config {
        resident_bytes_max: blocks * (ID_BYTES + BLOCK_BYTES),
        ..Config::default()
    }
}

/// All that has left the window by these clocks.
fn expire(inbox: &mut Inbox, stream_time: u64, now: u64) -> Vec<u64> {
    inbox.expire(Millis(stream_time), Millis(now), usize::MAX)
}

#[test]
fn a_day_of_downtime_does_not_empty_the_inbox() {
    let mut inbox = inbox(&[(1, 0)]);
    assert!(expire(&mut inbox, 5, 2 * DAY).is_empty());
    assert_eq!(inbox.len(), 1);
}

#[test]
fn a_backfill_of_old_records_does_not_flush_the_inbox() {
    let mut inbox = inbox(&[(1, 0)]);
    assert!(expire(&mut inbox, 2 * DAY, 5).is_empty());
}

#[test]
fn a_mark_leaves_when_it_is_a_day_old_on_both_clocks() {
    let mut inbox = inbox(&[(1, 0), (2, DAY)]);
    assert_eq!(expire(&mut inbox, DAY, DAY), [1]);
    assert_eq!(inbox.look_up(&block(1, 0).ids[0]), Seen::No);
    assert_eq!(inbox.look_up(&block(2, 0).ids[0]), Seen::Yes);
}

#[test]
fn beyond_the_bound_the_oldest_block_leaves() {
    let config = Config {
        ids_max: 1,
        ..Config::default()
    };
    let mut inbox = of(config, [block(1, 0), block(2, 0)]);
    assert_eq!(expire(&mut inbox, 0, 0), [1]);
}

#[test]
fn a_window_that_its_bound_has_cut_says_how_short_it_is_until_it_is_whole_again() {
    let config = Config {
        ids_max: 2,
        ..Config::default()
    };
    let mut inbox = of(config, [block(1, 0), block(2, 1_000)]);
    assert_eq!(inbox.cut_window(Millis(5_000)), None);
    inbox.insert(block(3, 2_000));
    expire(&mut inbox, 5_000, 5_000);
    assert_eq!(
        inbox.cut_window(Millis(5_000)),
        Some(Duration::from_secs(4))
    );
    expire(&mut inbox, DAY + 1_000, DAY + 1_000);
    assert_eq!(inbox.cut_window(Millis(DAY + 1_000)), None);
}

#[test]
fn beyond_its_share_of_memory_the_latest_ids_stay_and_the_ledger_is_asked_for_the_others() {
    let inbox = of(tight(4), (1..=100).map(|unit| block(unit, unit)));
    assert_eq!(inbox.len(), 100);
    assert!(inbox.ids.len() <= 4);
    assert_eq!(inbox.look_up(&block(100, 0).ids[0]), Seen::Yes);
    for unit in 1..=96 {
        let Seen::Perhaps(units) = inbox.look_up(&block(unit, 0).ids[0]) else {
            panic!("{unit} is forgotten");
        };
        assert!(units.iter().any(|units| units.contains(&unit)));
    }
    assert_eq!(inbox.look_up(&Hash128([0xa5; 16])), Seen::No);
}

#[test]
fn where_each_id_has_a_block_to_itself_they_take_no_more_than_their_share_of_memory() {
    let config = Config {
        resident_bytes_max: 1 << 20,
        ..Config::default()
    };
    let mut inbox = Inbox::new(config);
    for unit in 1..=100_000 {
        inbox.insert(block(unit, unit));
        assert!(inbox.resident_bytes() <= 1 << 20, "after unit {unit}");
    }
    assert_eq!(inbox.len(), 100_000);
    let kept = inbox.blocks().count();
    assert_eq!(inbox.ids.len(), kept);
    assert!(kept * (ID_BYTES + BLOCK_BYTES) > 1 << 18, "{kept} are left");
}

#[test]
fn what_a_block_is_said_to_take_covers_its_place_in_a_queue_that_is_half_empty() {
    // An allocator keeps a word for each buffer, and gives multiples of 16 bytes.
    assert!(2 * size_of::<InboxBlock>() + 32 <= BLOCK_BYTES);
    // A set is 7/16 full when it has grown, and has one byte more for each place.
    assert!((size_of::<Hash128>() + 1) * 16 / 7 + size_of::<Hash128>() <= ID_BYTES);
}

#[test]
fn a_look_up_asks_the_ledger_for_one_stretch_of_what_left_memory_and_for_nothing_twice() {
    const UNITS: u64 = 62_500;
    let named = |unit: u64| crate::identity::hash_128("marked", &[&unit.to_le_bytes()]);
    let blocks = (1..=UNITS).map(|unit| InboxBlock {
        ids: [named(unit)].into(),
        ..block(unit, unit)
    });
    let inbox = of(Config::default(), blocks).within(tight(0));
    let asked = |id| match inbox.look_up(&id) {
        Seen::Perhaps(units) => units,
        Seen::No => Vec::new(),
        Seen::Yes => panic!("it is not in memory"),
    };
    let size = |units: &RangeInclusive<u64>| units.end() - units.start() + 1;
    for unit in (1..=UNITS).step_by(100) {
        let ranges = asked(named(unit));
        assert!(ranges.iter().any(|units| units.contains(&unit)));
        assert!(
            ranges.iter().all(|units| size(units) <= UNITS / 64 + 1),
            "{ranges:?}"
        );
        assert!(
            ranges.is_sorted_by(|a, b| a.end() < b.start()),
            "{ranges:?}"
        );
    }
    let asked: u64 = (0..1_000)
        .flat_map(|other| asked(named(UNITS + 1 + other)))
        .map(|units| size(&units))
        .sum();
    assert!(asked < 20 * UNITS / 64, "{asked} units for 1,000 new ids");
}

#[test]
fn ids_that_are_not_in_memory_leave_by_both_clocks_too_and_all_their_blocks_are_named() {
    let mut inbox = of(tight(0), (1..=10).map(|unit| block(unit, unit)));
    assert_eq!(inbox.ids.len(), 0);
    assert!(expire(&mut inbox, 5, 2 * DAY).is_empty());
    assert!(expire(&mut inbox, 2 * DAY, 5).is_empty());
    let expired = expire(&mut inbox, DAY + 9, DAY + 9);
    assert_eq!(expired, (1..=9).collect::<Vec<_>>());
    assert_eq!(inbox.len(), 1);
}

#[test]
fn what_a_filter_still_covers_is_judged_by_the_time_of_its_own_unit() {
    let inbox = of(tight(0), [block(1, 0)]);
    let mark = Marked::from(&block(1, 0));
    assert!(inbox.covers(mark, Millis(DAY), Millis(DAY - 1)));
    assert!(inbox.covers(mark, Millis(DAY - 1), Millis(DAY)));
    assert!(!inbox.covers(mark, Millis(DAY), Millis(DAY)));
}

#[test]
fn beyond_the_bound_on_ids_a_part_of_those_that_are_not_in_memory_leaves() {
    let config = Config {
        ids_max: 160,
        ..tight(40)
    };
    let mut inbox = of(config, (1..=161).map(|unit| block(unit, 0)));
    let expired = expire(&mut inbox, 0, 0);
    assert_eq!(expired, (1..=10).collect::<Vec<_>>());
    assert_eq!(inbox.len(), 151);
}

#[test]
fn a_new_owner_with_another_share_keeps_the_same_ids() {
    let inbox = of(tight(1_000), (1..=100).map(|unit| block(unit, unit))).within(tight(10));
    assert!(inbox.ids.len() <= 10);
    assert_eq!(inbox.len(), 100);
    assert!((1..=100).all(|unit| inbox.look_up(&block(unit, 0).ids[0]) != Seen::No));
}
