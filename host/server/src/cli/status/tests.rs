use std::io::Read as _;
use std::net::TcpListener;

use super::*;

const STOPPED: &str = r#"{"version":"0.1.0","host_id":"h1","uptime_s":3725,"unknown":1,
    "topics":[{"name":"a.v1","partitions":12,"records":7,"bytes":900},
              {"name":"long.name.v1","partitions":3,"records":1234,"bytes":1572864}],
    "handlers":[{"name":"billing","version":"1.0.0","state":"stopped","reason":"no key","lag":2,
                 "parked_events":12,"held_sequences":1,"breaker":"half-open",
                 "fates":{"handled":5,"dead":1}}],
    "alarms":[{"alarm":"handler-stopped","severity":"critical","site":"billing partition 3",
               "since":"2026-01-02T03:04:05.000Z","meaning":"A partition stopped.","detail":"no key",
               "remedy":"start it with `weir run`"}],
    "store":{"data_dir":"/d","bytes":{"log":2048,"state":10},"disk_free_bytes":5368709120,"disk_reserve_bytes":1073741824}}"#;

fn shown(json: &str) -> String {
    let mut out = Vec::new();
    write(&serde_json::from_str(json).unwrap(), "http://h", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn alarms_come_first_with_what_they_mean_and_what_to_do() {
    let text = shown(STOPPED);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "ALARM handler-stopped (critical), billing partition 3, since 2026-01-02T03:04:05.000Z",
            "  A partition stopped.",
            "  here: no key",
            "  do: start it with `weir run`",
            "",
            "weir 0.1.0 at http://h, host h1, up 1 h 2 min",
        ]
    );
}

#[test]
fn handlers_topics_and_disk_stand_in_columns() {
    let text = shown(STOPPED);
    let lines: Vec<_> = text.lines().skip(7).collect();
    assert!(
        lines[1].starts_with("  billing  1.0.0    stopped    2"),
        "{text}"
    );
    assert!(
        lines[0].contains("retrying  parked  held  breaker "),
        "{text}"
    );
    assert!(
        lines[1].contains("       0      12     1  half-open "),
        "{text}"
    );
    assert_eq!(
        lines[2..],
        [
            "what is counted from `failures` on is since this start of the host",
            "billing is stopped: no key",
            "",
            "  topic         partitions  records  bytes",
            "  a.v1                  12        7  900 B",
            "  long.name.v1           3     1234  1.5 MiB",
            "",
            "data in /d; the disk has 5.0 GiB free, 1.0 GiB of it in reserve",
            "  store  bytes    what it holds",
            "  log    2.0 KiB  records of topics",
            "  state  10 B     state of handlers",
        ]
    );
}

#[test]
fn a_tenant_without_the_whole_view_sees_no_disk() {
    let text = shown(r#"{"topics":[{"name":"a.v1","partitions":1,"records":7,"bytes":null}]}"#);
    assert!(
        !text.contains("bytes") && !text.contains("data in"),
        "{text}"
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

/// The result of the command at a host that answers `json`, and what it printed.
fn asked(json: &'static str, as_json: bool) -> (Result<(), CliError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let host = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
        write!(stream, "{head} {}\r\n\r\n{json}", json.len()).unwrap();
    });
    let args = StatusArgs {
        json: as_json,
        host: HostArgs {
            url,
            token_file: None,
            ca: None,
        },
    };
    let mut out = Vec::new();
    let result = run(&args, &mut out);
    host.join().unwrap();
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn the_command_exits_2_while_an_alarm_is_raised_and_0_else() {
    for as_json in [false, true] {
        let (result, text) = asked(STOPPED, as_json);
        assert_eq!(result.unwrap_err().exit_code(), 2);
        assert!(text.contains("handler-stopped"), "{text}");
        let (result, _) = asked(r#"{"alarms":[]}"#, as_json);
        assert!(result.is_ok());
    }
}

#[test]
fn sizes_are_shown_in_the_largest_unit() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_572_864, "1.5 MiB"),
        (5 << 40, "5.0 TiB"),
    ] {
        assert_eq!(size(bytes), text);
    }
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
