use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A page taken apart: the value of every series by its name and labels as written. Fails where the page breaks a
/// rule of the format.
pub(crate) fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.is_empty() || page.ends_with('\n'));
    let (mut series, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = ("", "");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(!text.is_empty() && is_name(name), "{line}");
            assert!(families.insert(name), "{name} begins twice");
            (family, kind) = (name, "");
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, of) = typed.split_once(' ').expect("a type");
            assert!(name == family && kind.is_empty(), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            kind = of;
        } else {
            let (labelled, value) = line.rsplit_once(' ').expect("a value");
            let name = labelled.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).expect("a sample of its family");
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(is_name(name) && suffixes.contains(&suffix), "{line}");
            check_labels(&labelled[name.len()..]);
            let value = value.parse().expect("a number");
            let twin = series.insert(labelled.to_owned(), value);
            assert!(twin.is_none(), "{labelled} is there twice");
        }
    }
    series
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `{name="value",..}` with `\\`, `\"` and `\n` as the only escapes.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inside = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let mut rest = inside.expect("braces");
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "{text}");
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => {
                    let (_, escaped) = chars.next().expect("an escaped character");
                    assert!(['\\', '"', 'n'].contains(&escaped), "{text}");
                }
                (at, '"') => break at,
                _ => {}
            }
        };
        match after[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return assert!(after[end + 1..].is_empty(), "{text}"),
        }
    }
}

#[test]
fn a_family_has_its_help_and_type_before_its_samples() {
    let mut page = Page::default();
    let mut family = page.family("weir_events_total", Kind::Counter, "Events by fate.");
    family.sample(&[("fate", "handled")], 3_u64);
    family.sample(&[("fate", "dead")], 0_u64);
    page.family("weir_up", Kind::Gauge, "1").sample(&[], 1.5);
    let text = page.finish();
    assert_eq!(
        text,
        "# HELP weir_events_total Events by fate.\n# TYPE weir_events_total counter\n\
         weir_events_total{fate=\"handled\"} 3\nweir_events_total{fate=\"dead\"} 0\n\
         # HELP weir_up 1\n# TYPE weir_up gauge\nweir_up 1.5\n"
    );
    assert_eq!(parse(&text).len(), 3);
}

#[test]
fn quotes_backslashes_and_line_ends_in_texts_are_escaped() {
    let mut page = Page::default();
    page.family("weir_x", Kind::Gauge, "a\\b\nc")
        .sample(&[("topic", "a\"b\\c\nd"), ("plain", "x}{,=")], 1);
    let text = page.finish();
    assert!(text.starts_with("# HELP weir_x a\\\\b\\nc\n"), "{text}");
    let series = parse(&text);
    let labels = r#"weir_x{topic="a\"b\\c\nd",plain="x}{,="}"#;
    assert_eq!(series[labels], 1.0);
}

#[test]
fn a_histogram_counts_each_duration_in_every_bucket_that_holds_it() {
    let histogram = Histogram::default();
    for millis in [1, 3, 20_000] {
        histogram.observe(Duration::from_millis(millis));
    }
    let mut page = Page::default();
    page.family("weir_commit_seconds", Kind::Histogram, "Commits.")
        .histogram(&[("handler", "h")], &histogram);
    let series = parse(&page.finish());
    let bucket = |bound: &str| {
        series[&format!("weir_commit_seconds_bucket{{handler=\"h\",le=\"{bound}\"}}")]
    };
    assert_eq!(
        [bucket("0.001"), bucket("0.0025"), bucket("0.005")],
        [1.0, 1.0, 2.0]
    );
    assert_eq!((bucket("10"), bucket("+Inf")), (2.0, 3.0));
    assert_eq!(series["weir_commit_seconds_count{handler=\"h\"}"], 3.0);
    assert_eq!(series["weir_commit_seconds_sum{handler=\"h\"}"], 20.004);
}
