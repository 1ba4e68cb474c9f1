use serde_json::json;

use super::{Drained, write};

fn said(answer: serde_json::Value) -> String {
    let drained: Drained = serde_json::from_value(answer).unwrap();
    let mut out = Vec::new();
    write(&drained, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_drained_host_says_of_each_handler_whether_others_have_it() {
    let text = said(json!({
        "host_id": "a", "was_drained": false, "finished": true, "others": 1,
        "handlers": [
            { "handler": "billing", "tenant": "default", "group": "g.billing", "left": true },
            { "handler": "audit", "tenant": "default", "group": "g.audit", "left": false },
        ],
    }));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "a is drained: it serves nothing until it is started anew, and may be stopped"
    );
    assert!(lines[2].contains("billing") && lines[2].ends_with("others have its partitions"));
    assert!(lines[3].contains("audit") && lines[3].contains("not left"));
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_host_that_is_drained_while_nobody_else_is_there_says_that_events_wait() {
    let text = said(json!({
        "host_id": "a", "was_drained": true, "finished": false, "others": 0, "handlers": [],
    }));
    for part in [
        "a was drained already",
        "has not finished in time",
        "events wait until one is started",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
