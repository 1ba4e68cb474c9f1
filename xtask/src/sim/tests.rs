use super::*;

#[test]
fn lines_of_planted_bugs_become_a_table() {
    let lines = "planted HalfUnit I1 3\nplanted LetterOfAnother replacing 12\ntest every ... ok";
    let report = Report {
        seeds: 10,
        planted: lines.lines().filter_map(planted).collect(),
        ..Report::default()
    };
    let text = report.to_string();
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[1], ["HalfUnit", "I1", "3"]);
    assert_eq!(rows[2], ["LetterOfAnother", "replacing", "12"]);
    assert!(
        text.ends_with("10 seeds keep the invariants, 0 to before 10\n"),
        "{text}"
    );
}
