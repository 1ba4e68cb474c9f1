use super::*;

fn found(id: u8, dead_at: u64) -> Found {
    Found {
        id: Hash128([id; 16]),
        place: Place {
            topic: 0,
            partition: 0,
            offset: 0,
        },
        origin: Origin {
            topic: "t".into(),
            partition: 0,
            offset: 0,
        },
        key: None,
        sequence: None,
        class: "transient".to_owned(),
        code: "c".to_owned(),
        message: String::new(),
        attempts: 1,
        replays: 0,
        dead_at: Millis(dead_at),
        status: Status::Dead,
    }
}

/// Takes records of (letter, time, whether it fits) and compares the letters that are kept.
fn check(max: usize, records: &[(u8, u64, bool)], kept: &[(u8, u64)], more: bool) {
    let mut latest = Latest::new(max);
    for &(id, at, fits) in records {
        latest.take(Hash128([id; 16]), fits.then(|| found(id, at)));
    }
    let listing = latest.finish();
    let letters: Vec<_> = listing
        .letters
        .iter()
        .map(|one| (one.id.0[0], one.dead_at.0))
        .collect();
    assert_eq!(letters, kept, "{records:?}");
    assert_eq!(listing.more, more, "{records:?}");
}

#[test]
fn a_letter_is_listed_once_by_its_latest_record() {
    check(9, &[(1, 5, true), (2, 6, true)], &[(1, 5), (2, 6)], false);
    check(
        9,
        &[(1, 5, true), (2, 6, true), (1, 7, true)],
        &[(2, 6), (1, 7)],
        false,
    );
    // It died of something else the second time.
    check(9, &[(1, 5, true), (1, 7, false)], &[], false);
}

#[test]
fn those_that_died_last_are_kept_and_a_cut_list_says_so() {
    let records = [(1, 5, true), (2, 9, true), (3, 7, true)];
    check(2, &records, &[(3, 7), (2, 9)], true);
    check(3, &records, &[(1, 5), (3, 7), (2, 9)], false);
    // What was pushed out is not taken for what comes later.
    check(
        1,
        &[(1, 5, true), (2, 9, true), (1, 10, true)],
        &[(1, 10)],
        true,
    );
}

fn letter() -> Letter {
    Letter {
        id: Hash128([7; 16]).as_uuid(),
        origin: found(7, 0).origin,
        held: false,
        class: "permanent".to_owned(),
        code: "bad-amount".to_owned(),
        message: "m".to_owned(),
        attempts: 1,
        replays: 0,
        sequence: Some("abc".to_owned()),
        dead_at: Millis(10_000),
        headers: Vec::new(),
    }
}

/// What a query says means the letter above, or does not.
fn fits(query: serde_json::Value, fits: bool) {
    let selection: Selection = serde_json::from_value(query.clone()).unwrap();
    assert_eq!(selection.admits(Millis(15_000), &letter()), fits, "{query}");
}

#[test]
fn a_selection_means_the_letters_that_fit_everything_it_says() {
    use serde_json::json;
    let id = letter().id.to_uuid();
    fits(json!({}), true);
    fits(json!({ "code": "bad-amount" }), true);
    fits(json!({ "code": "other" }), false);
    fits(json!({ "class": "permanent" }), true);
    fits(json!({ "class": "trap", "code": "bad-amount" }), false);
    fits(json!({ "sequence": "abc" }), true);
    fits(json!({ "sequence": "abd" }), false);
    fits(json!({ "letters": ["x", id] }), true);
    fits(json!({ "letters": ["x"] }), false);
    fits(json!({ "letters": [id], "code": "other" }), false);
    fits(json!({ "within_s": 5 }), true);
    fits(json!({ "within_s": 4 }), false);
}

#[test]
fn the_sequences_of_letters_are_meant_whole_and_by_partition() {
    let of = |partition, sequence: Option<&str>| {
        let mut found = found(1, 0);
        found.origin.partition = partition;
        found.sequence = sequence.map(str::to_owned);
        Selection::of_sequences(&[found])
    };
    let now = Millis(15_000);
    assert!(of(0, Some("abc")).admits(now, &letter()));
    assert!(!of(0, Some("abd")).admits(now, &letter()));
    assert!(!of(1, Some("abc")).admits(now, &letter()));
    let alone = Letter {
        sequence: None,
        ..letter()
    };
    assert!(!of(0, None).admits(now, &alone));
    assert!(
        of(0, Some("abc")).dead_only,
        "what is done is not sent again"
    );
}

#[test]
fn a_selection_that_says_nothing_is_told_from_one_that_says_all() {
    let any = Selection::default();
    assert!(any.is_empty());
    let all = Selection { all: true, ..any };
    assert!(!all.is_empty());
    assert_eq!(all.describe(), "--all");
}
