use super::*;

/// A partition of which all is there.
const WHOLE: Found = Found {
    offsets: 7,
    unit: 7,
    entries: 20,
    has_begun: true,
    missing: Missing {
        sequences: 0,
        events: 0,
    },
    extents: [extent(90), extent(30)],
};

const fn extent(end: u64) -> Extent {
    Extent {
        topic: 1,
        first: 0,
        end,
    }
}

#[test]
fn a_ledger_without_its_end_its_beginning_or_its_parked_events_is_not_believed() {
    let found = |change: fn(&mut Found)| {
        let mut found = WHOLE;
        change(&mut found);
        found.gap().map(|gap| gap.to_string())
    };
    let says = |change, what: &str| {
        let said = found(change).unwrap();
        assert!(said.contains(what), "{said}");
    };
    assert_eq!(found(|_| ()), None);
    says(|it| it.offsets = 8, "8 by the positions and 7 by the 20");
    // Made anew while a host went on: it ends with the right unit.
    says(|it| it.has_begun = false, "unit 7 and lacks the first");
    says(|it| it.extents[0].first = 60, "begins at offset 60");
    let lacks = |it: &mut Found| {
        it.missing = Missing {
            sequences: 1,
            events: 3,
        };
    };
    says(lacks, "3 parked event(s) of 1 sequence(s)");
    // How many there should be is known: where their topic begins says nothing more.
    assert_eq!(found(|it| it.extents[1].first = 9), None);
    assert_eq!(
        found(|it| it.offsets = 0),
        None,
        "the group has forgotten what it had committed"
    );
    // A new partition: nothing was committed of it, whatever a topic of that name had before.
    let new = |it: &mut Found| {
        (it.offsets, it.unit, it.has_begun) = (0, 0, false);
        it.extents[0].first = 60;
    };
    assert_eq!(found(new), None);
}
