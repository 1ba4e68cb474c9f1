use super::*;

const GROUP: &str = "weir.dev.default.count";

/// A host that has these partitions, and said so this long ago.
fn member(id: &str, partitions: &[u32], age_s: u64) -> Member {
    let mut record = HostRecord::new(None, "s".to_owned(), 1);
    record.handlers = vec![HandlerRecord {
        group: GROUP.to_owned(),
        tenant: String::new(),
        name: "count".to_owned(),
        version: String::new(),
        digest: String::new(),
        state: "ready".to_owned(),
        of: 12,
        partitions: partitions.to_vec(),
        stopped: false,
        lag: Some(0),
        open: 0,
        parked_events: 0,
        held_sequences: 0,
    }];
    Member {
        id: id.to_owned(),
        record,
        age: Duration::from_secs(age_s),
    }
}

/// Who owns partition 1 for host `a`: an id, or words of why nobody is asked.
fn check(members: Vec<Member>, wanted: Result<&str, &str>) {
    let found = owner_of(members, "a", GROUP, 1);
    match (found, wanted) {
        (Ok(member), Ok(id)) => assert_eq!(member.id, id),
        (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
        (found, _) => panic!("{:?}", found.map(|member| member.id)),
    }
}

#[test]
fn the_one_live_host_that_serves_a_partition_is_asked() {
    check(vec![member("a", &[0], 0), member("b", &[1], 3)], Ok("b"));
    check(
        vec![member("b", &[1], 60), member("c", &[1, 2], 0)],
        Ok("c"),
    );
}

#[test]
fn nobody_is_asked_where_nobody_or_more_than_one_says_that_he_serves_it() {
    check(vec![member("b", &[2], 0)], Err("no host serves it"));
    // What this host has said of itself is old: it does not serve it, or it would have answered.
    check(vec![member("a", &[1], 0)], Err("no host serves it"));
    check(
        vec![member("b", &[1], 16)],
        Err("host b served it and has been silent for 16 s"),
    );
    check(
        vec![member("b", &[1], 0), member("c", &[1], 0)],
        Err("hosts b and c both say"),
    );
}

#[test]
fn requests_keep_their_form() {
    let request = Request::Wish {
        tenant: "t".to_owned(),
        handler: "h".to_owned(),
        wish: Wish::Job(3, Some(JobCommand::Pause)),
    };
    let text = r#"{"wish":{"tenant":"t","handler":"h","wish":{"job":[3,"pause"]}}}"#;
    assert_eq!(serde_json::to_string(&request).unwrap(), text);
    assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
}
