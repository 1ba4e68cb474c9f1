use std::path::Path;

use super::*;
use crate::manifest::{FILE, Manifest};

/// A handler named `name` that reads these topics and emits to `=out`.
fn handler(name: &str, head: &str, topics: &str, state: bool) -> Deployment {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("h.wasm"), "").unwrap();
    let text = format!(
        "{head}\nname = \"{name}\"\nversion = \"1.0.0\"\ncomponent = \"h.wasm\"\n\
         [subscribe]\ntopics = {topics}\n[emit]\ntopics = [\"=out\"]\n[grants]\nstate = {state}\n"
    );
    std::fs::write(folder.path().join(FILE), text).unwrap();
    let config = Config::default();
    Deployment::new(Manifest::load(folder.path(), &config).unwrap(), &config)
}

fn config(text: &str) -> Config {
    Config::parse(Path::new("weir.toml"), text).unwrap()
}

fn made(topics: &[Topic]) -> Vec<(&str, u32)> {
    topics
        .iter()
        .map(|topic| (&*topic.name, topic.partitions))
        .collect()
}

/// The faults as `key: message`, which must be those of these keys and contain these words.
fn check(result: Result<Vec<Topic>, Faults>, wanted: &[(&str, &str)]) {
    let faults = result.unwrap_err().0;
    let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
    let wanted_keys: Vec<_> = wanted.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, wanted_keys, "{faults:?}");
    for (fault, (_, words)) in faults.iter().zip(wanted) {
        assert!(fault.message.contains(words), "{fault}");
    }
}

#[test]
fn a_written_number_counts_before_the_default_whoever_names_the_topic_first() {
    let deployments = [
        handler("a", "", "[\"=in\"]", false),
        handler("b", "partitions = 3", "[\"=out\"]", false),
    ];
    let config = config("[[topics]]\nname = \"=in\"\npartitions = 6");
    let topics = plan(&|_| None, &config, &deployments).unwrap();
    assert_eq!(
        made(&topics),
        [
            ("in", 6),
            ("out", 3),
            ("dlq.weir.dev.default.a.in", 6),
            ("_weir.weir.dev.default.a.commands", 6),
            ("dlq.weir.dev.default.b.out", 3),
            ("_weir.weir.dev.default.b.commands", 3),
        ]
    );
}

#[test]
fn topics_that_exist_are_left_as_they_are() {
    let deployments = [handler("a", "", "[\"=in\"]", true)];
    let topics = plan(&|_| Some(5), &Config::default(), &deployments).unwrap();
    assert_eq!(made(&topics), []);
}

#[test]
fn state_over_topics_of_unequal_partition_counts_is_refused_with_both_counts() {
    let config = config("[[topics]]\nname = \"=one\"\npartitions = 6");
    let both = "[\"=one\", \"=two\"]";
    check(
        plan(&|_| None, &config, &[handler("a", "", both, true)]),
        &[(
            "subscribe.topics",
            "one has 6 partitions, two has 12 partitions",
        )],
    );
    let joined = "ordering = { across_topics = true }";
    check(
        plan(&|_| None, &config, &[handler("a", joined, both, false)]),
        &[("subscribe.topics", "one has 6 partitions")],
    );
    // Else the order is per topic.
    plan(&|_| None, &config, &[handler("a", "", both, false)]).unwrap();
}

#[test]
fn all_numbers_that_differ_from_a_topics_are_told_at_once() {
    let config = config("[[topics]]\nname = \"=one\"\npartitions = 6");
    let deployments = [handler(
        "a",
        "partitions = 3",
        "[\"=one\", \"=two\"]",
        false,
    )];
    let existing = |name: &str| (name == "one").then_some(12);
    check(
        plan(&existing, &config, &deployments),
        &[
            (
                "topics[0].partitions",
                "is 6, and the topic one has 12: the number is fixed when a topic is made, write 12",
            ),
            ("partitions", "is 3, and the topic one has 12"),
        ],
    );
}
