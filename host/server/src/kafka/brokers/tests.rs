use super::*;

fn settings(all: &[(&str, &str)]) -> HashMap<String, Option<String>> {
    let setting = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
    all.iter().map(setting).collect()
}

#[test]
fn a_broker_is_known_by_the_setting_that_came_with_what_it_has_to_do() {
    let old = (HAS_TRANSACTIONS, "2");
    for (all, found) in [
        (&[old, (VERIFIES, "true")][..], Found::Verifies),
        (&[(VERIFIES, "true")], Found::Verifies),
        (&[old, (VERIFIES, "false")], Found::Off),
        (&[old], Found::Old),
        (&[("other", "1")], Found::Other),
    ] {
        assert_eq!(judge(&settings(all)), found, "{all:?}");
    }
    let hidden = HashMap::from([(VERIFIES.to_owned(), None)]);
    assert_eq!(judge(&hidden), Found::Verifies);
}
