use super::*;

const DAY: u64 = 24 * 3_600_000;

fn block(unit: u64, at: u64) -> InboxBlock {
    let id = Hash128(u128::from(unit).to_le_bytes());
    InboxBlock {
        unit,
        stream_time: Millis(at),
        staged_at: Millis(at),
        ids: vec![id],
    }
}

fn inbox(blocks: &[(u64, u64)]) -> Inbox {
    Inbox::restore(
        Config::default(),
        blocks.iter().map(|&(unit, at)| block(unit, at)).collect(),
    )
}

#[test]
fn a_day_of_downtime_does_not_empty_the_inbox() {
    let mut inbox = inbox(&[(1, 0)]);
    assert!(inbox.expire(Millis(5), Millis(2 * DAY)).is_empty());
    assert_eq!(inbox.len(), 1);
}

#[test]
fn a_backfill_of_old_records_does_not_flush_the_inbox() {
    let mut inbox = inbox(&[(1, 0)]);
    assert!(inbox.expire(Millis(2 * DAY), Millis(5)).is_empty());
}

#[test]
fn a_mark_leaves_when_it_is_a_day_old_on_both_clocks() {
    let mut inbox = inbox(&[(1, 0), (2, DAY)]);
    assert_eq!(inbox.expire(Millis(DAY), Millis(DAY)), [1]);
    assert!(!inbox.contains(&block(1, 0).ids[0]));
    assert!(inbox.contains(&block(2, 0).ids[0]));
}

#[test]
fn beyond_the_bound_the_oldest_block_leaves() {
    let config = Config {
        ids_max: 1,
        ..Config::default()
    };
    let mut inbox = Inbox::restore(config, vec![block(1, 0), block(2, 0)]);
    assert_eq!(inbox.expire(Millis(0), Millis(0)), [1]);
}

#[test]
fn a_window_that_its_bound_has_cut_says_how_short_it_is_until_it_is_whole_again() {
    let config = Config {
        ids_max: 2,
        ..Config::default()
    };
    let mut inbox = Inbox::restore(config, vec![block(1, 0), block(2, 1_000)]);
    assert_eq!(inbox.cut_window(Millis(5_000)), None);
    inbox.insert(block(3, 2_000));
    inbox.expire(Millis(5_000), Millis(5_000));
    assert_eq!(
        inbox.cut_window(Millis(5_000)),
        Some(Duration::from_secs(4))
    );
    inbox.expire(Millis(DAY + 1_000), Millis(DAY + 1_000));
    assert_eq!(inbox.cut_window(Millis(DAY + 1_000)), None);
}
