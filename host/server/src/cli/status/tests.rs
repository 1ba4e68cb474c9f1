use super::*;

fn shown(json: &str) -> String {
    let mut out = Vec::new();
    write(&serde_json::from_str(json).unwrap(), "http://h", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn topics_and_handlers_stand_in_columns_and_alarms_below() {
    let text = shown(
        r#"{"version":"0.1.0","host_id":"h1","data_dir":"/d","uptime_s":3725,"unknown":1,
            "topics":[{"name":"a.v1","partitions":12,"records":7},{"name":"long.name.v1","partitions":3,"records":1234}],
            "handlers":[{"name":"billing","version":"1.0.0","state":"stopped","reason":"no key","lag":2,
                         "fates":{"handled":5,"dead":1}}],
            "alarms":["no key","disk nearly full"]}"#,
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "weir 0.1.0 at http://h, host h1, up 1 h 2 min, data in /d"
    );
    assert_eq!(lines[2], "  topic         partitions  records");
    assert_eq!(lines[3], "  a.v1                  12        7");
    assert_eq!(lines[4], "  long.name.v1           3     1234");
    assert!(
        lines[7].starts_with("  billing  1.0.0    stopped    2"),
        "{text}"
    );
    assert_eq!(
        lines[8..],
        ["billing is stopped: no key", "alarm: disk nearly full"]
    );
}

#[test]
fn an_empty_host_says_what_to_do_next() {
    let text = shown("{}");
    assert!(
        text.contains("no topics: add [[topics]]") && text.contains("no handlers: put a folder"),
        "{text}"
    );
}

#[test]
fn uptime_shows_the_two_largest_units() {
    for (seconds, text) in [
        (5, "5 s"),
        (65, "1 min 5 s"),
        (3_725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ] {
        assert_eq!(uptime(seconds), text);
    }
}
