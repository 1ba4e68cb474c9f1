use super::*;

fn shown(json: &str) -> Vec<String> {
    let mut out = Vec::new();
    write(&serde_json::from_str(json).unwrap(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn hosts_stand_with_what_each_serves_below_the_sums() {
    let lines = shown(
        r#"{"handlers":[{"name":"billing","fleet":{"hosts":2,"partitions":11,"of":12,"lag":9,"open":1}}],
            "hosts":[{"host_id":"h1","own":true,"version":"0.1.0","handlers":[
                        {"name":"billing","version":"1.0.0","digest":"blake3:0123456789","state":"ready",
                         "partitions":[0,1,2,7],"lag":4,"open":1},
                        {"name":"audit","version":"2.0.0","state":"starting"}]},
                     {"host_id":"h2","version":"0.1.0","age_s":40,"silent":true}]}"#,
    );
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = lines.iter().map(|line| words(line)).collect();
    assert_eq!(
        lines,
        [
            "on all hosts hosts partitions lag open parked held",
            "billing 2 11 of 12 9 1 0 0",
            "",
            "host weir seen handler version digest state partitions lag open",
            "h1 0.1.0 this one billing 1.0.0 01234567 ready 0-2,7 4 1",
            "audit 2.0.0 starting none unknown 0",
            "h2 0.1.0 silent for 40 s",
            ""
        ]
    );
}

#[test]
fn a_host_without_others_says_nothing_of_them_unless_it_cannot_know() {
    assert!(shown(r#"{"hosts":[],"alone":null}"#).is_empty());
    let lines = shown(r#"{"alone":"the cluster has no topic c"}"#);
    assert_eq!(
        lines[0],
        "other hosts are not known here, and not steered: the cluster has no topic c"
    );
}

#[test]
fn numbers_that_follow_one_another_are_shortened() {
    for (numbers, text) in [
        (&[][..], "none"),
        (&[3], "3"),
        (&[0, 1, 2], "0-2"),
        (&[0, 2, 3, u32::MAX], "0,2-3,4294967295"),
    ] {
        assert_eq!(ranges(numbers), text);
    }
}
