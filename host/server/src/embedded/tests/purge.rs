//! Deleting a subscription, and copies of a store that is written to.

use super::*;

/// Commits a unit with state and an inbox mark.
async fn serve(bus: &Embedded, group: &str) -> Scope {
    let scope = scope(group, &["in"]);
    bus.register_subscription(&scope).unwrap();
    let output = Output {
        records: vec![emission("out", group)],
        state: vec![set("total", "7"), set("a", "1")],
        ..Output::default()
    };
    let mut completion = Arc::unwrap_or_clone(completion(0, output));
    completion.mark = Some(Hash128([7; 16]));
    let unit = unit(1, 1, vec![Arc::new(completion)]);
    assert_eq!(bus.commit(&scope, 0, unit).await, CommitResult::Committed);
    scope
}

fn make(path: &Path) -> Embedded {
    let bus = open(path);
    bus.ensure_topic("in", 1).unwrap();
    bus.ensure_topic("out", 1).unwrap();
    bus
}

async fn names(bus: &Embedded, scope: &Scope) -> (u64, Vec<String>) {
    let restore = bus.restore(scope, 0, window()).await.unwrap();
    (
        restore.unit,
        bus.state_names(scope, 0, &keyed("k")).unwrap(),
    )
}

#[tokio::test]
async fn a_purged_subscription_leaves_nothing_but_its_topics_and_what_it_emitted() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = make(scratch.path());
    // Numbers 1, 2, 3: neighbours on both sides would lose something to a range that is too wide.
    let mut scopes = Vec::new();
    for group in ["before", "gone", "after"] {
        scopes.push(serve(&bus, group).await);
    }
    let purged = bus.purge_subscription("gone").unwrap();
    let found: Vec<_> = purged
        .entries
        .iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    let wanted = [
        ("progress", 1),
        ("inbox", 1),
        ("state", 2),
        ("partitions", 1),
    ];
    assert_eq!(found, wanted.each_ref());
    bus.close();

    let bus = open(scratch.path());
    let kept = (1, vec!["a".to_owned(), "total".to_owned()]);
    assert_eq!(names(&bus, &scopes[0]).await, kept);
    assert_eq!(names(&bus, &scopes[2]).await, kept);
    let emitted = read_all(&bus, "out", 0).await;
    assert_eq!(emitted, ["before", "gone", "after"]);
    let error = bus.purge_subscription("gone").unwrap_err().to_string();
    assert!(error.contains("after, before"), "{error}");
    // Under the same name it starts anew.
    assert_eq!(names(&bus, &scopes[1]).await, (0, Vec::new()));
}

#[tokio::test]
async fn a_checkpoint_holds_what_was_committed_and_nothing_that_came_after() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = make(&scratch.path().join("store"));
    let scope = serve(&bus, "g").await;
    let copy = scratch.path().join("copy");
    bus.checkpoint(&copy).unwrap();
    bus.publish("in", publishes(["later"])).await.unwrap();
    bus.purge_subscription("g").unwrap();
    assert!(bus.checkpoint(&copy).is_err());

    let copy = open(&copy);
    assert_eq!(copy.extent("in", 0), Some((0, 0)));
    assert_eq!(names(&copy, &scope).await.0, 1);
    assert_eq!(read_all(&copy, "out", 0).await, ["g"]);
}
