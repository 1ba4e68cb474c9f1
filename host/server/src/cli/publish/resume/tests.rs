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
    fs::write(&file, "one\ntwo!\n").unwrap();
    assert!(refusal(&file, "t").contains("belongs to another file, or the file has changed"));
    fs::write(beside(&file), "{}").unwrap();
    assert!(refusal(&file, "t").contains("is not a mark"));
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
