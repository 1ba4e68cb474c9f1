use super::*;

fn tally_of(lines: &str) -> Tally {
    let mut tally = Tally::default();
    lines.lines().for_each(|line| tally.read(line));
    tally
}

#[test]
fn results_of_several_binaries_are_summed() {
    let tally = tally_of(
        "test a ... ok\n\
         test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s\n\
         test some::deep ... FAILED\n\
         test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.20s",
    );
    assert_eq!(
        (tally.passed, tally.failed, tally.skipped.len()),
        (16, 1, 2)
    );
    assert_eq!(tally.failures, ["some::deep"]);
}

#[test]
fn a_test_that_returned_early_counts_as_skipped_even_in_the_middle_of_a_line() {
    let tally = tally_of(
        "test full ... SKIPPED: full: the file is absent\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
    );
    assert_eq!(tally.skipped, ["full: the file is absent"]);
    assert_eq!((tally.passed, tally.failed), (1, 0));
}

#[test]
fn a_part_that_was_passed_over_is_listed_and_its_test_counts_as_passed() {
    let tally = tally_of(
        "test slow ... UNTRIED: the end of it: the machine is too slow\n\
         ok\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
    );
    assert_eq!((tally.passed, tally.failed), (2, 0));
    let text = report(&[], &tally);
    let listed = "\ncould not run:\n  the end of it: the machine is too slow\n";
    assert!(text.contains(listed), "{text}");
    assert_eq!(
        text.lines().last(),
        Some("2 passed, 0 failed, 0 skipped"),
        "{text}"
    );
}

#[test]
fn the_last_line_is_the_counts_alone() {
    let mut tally = tally_of(
        "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s",
    );
    tally.fail("format: wrong".into());
    assert_eq!(
        report(&[], &tally).lines().last(),
        Some("2 passed, 1 failed, 1 skipped")
    );
}

#[test]
fn what_the_simulator_would_have_noticed_stands_at_the_end() {
    let tally = tally_of("39 of 39 planted bugs noticed, the last by seed 12 of 0 to 999");
    let text = report(&[], &tally);
    assert!(
        text.contains("\nproved:\n  39 of 39 planted bugs noticed"),
        "{text}"
    );
}

#[test]
fn a_group_that_outgrew_its_share_is_marked() {
    let kills = PARTS
        .iter()
        .find(|part| part.group == KILLS)
        .expect("kills are a part");
    let text = report(&[(kills, Duration::from_secs(181))], &Tally::default());
    assert_eq!(text.matches("outgrew its share").count(), 1, "{text}");
    assert!(!text.contains("could not run"), "{text}");
}
