use std::fs;

use tempfile::TempDir;

use super::*;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    fs::write(&file, "one\ntwo\n").unwrap();
    (folder, file)
}

fn refusal(file: &Path, topic: &str) -> String {
    match Resume::open(file, topic, None) {
        Err(CliError::Usage(message)) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the mark was accepted"),
    }
}

#[test]
fn a_run_goes_on_where_the_last_one_was_acknowledged() {
    let (_folder, file) = file();
    let mut first = Resume::open(&file, "t", None).unwrap();
    assert_eq!(first.acknowledged(), 0);
    first.acknowledge(256).unwrap();
    first.acknowledge(512).unwrap();
    assert_eq!(Resume::open(&file, "t", None).unwrap().acknowledged(), 512);
    assert!(file.with_file_name("events.ndjson.weir-resume").is_file());
}

#[test]
fn a_mark_of_another_topic_file_or_format_is_refused_with_the_remedy() {
    let (_folder, file) = file();
    Resume::open(&file, "t", None)
        .unwrap()
        .acknowledge(1)
        .unwrap();
    assert!(refusal(&file, "u").contains("belongs to the topic \"t\": delete it"));
    fs::write(beside(&file), "{}").unwrap();
    assert!(refusal(&file, "t").contains("is not a mark"));
}

#[test]
fn events_that_were_acknowledged_must_be_there_as_they_were() {
    let (_folder, file) = file();
    let pass = |events: &[&str]| {
        let mut resume = Resume::open(&file, "t", None).unwrap();
        events
            .iter()
            .for_each(|event| resume.pass(event.as_bytes()));
        resume
    };
    pass(&["one", "two"]).acknowledge(2).unwrap();
    pass(&["one", "two"]).check().unwrap();
    for changed in [&["one", "two!"][..], &["onet", "wo"], &["one"]] {
        let message = pass(changed).check().unwrap_err().to_string();
        assert!(
            message.contains("what was published of this one has changed: delete it"),
            "{message}"
        );
    }
}

#[test]
fn the_mark_is_kept_where_it_is_asked_for() {
    let (folder, file) = file();
    let mark = folder.path().join("mark");
    Resume::open(&file, "t", Some(&mark))
        .unwrap()
        .acknowledge(3)
        .unwrap();
    assert_eq!(
        Resume::open(&file, "t", Some(&mark))
            .unwrap()
            .acknowledged(),
        3
    );
    assert!(!beside(&file).exists());
}
