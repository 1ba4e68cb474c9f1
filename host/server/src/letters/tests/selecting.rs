//! What a selection means.

use super::*;

fn letter() -> Letter {
    Letter {
        id: Hash128([7; 16]).as_uuid(),
        origin: Origin {
            topic: "t".into(),
            partition: 0,
            offset: 0,
        },
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
    let of = |partition, sequence| Selection::of_sequences(&[found(7, partition, sequence, 0)]);
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
