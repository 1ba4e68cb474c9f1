use super::*;

fn args(folder: &Path, data: Option<PathBuf>) -> DevArgs {
    DevArgs {
        folders: vec![folder.to_owned()],
        config: None,
        data,
    }
}

#[test]
fn data_that_nobody_asked_to_keep_go_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(manifest::FILE), "").unwrap();
    let dev = args(folder.path(), None).load().unwrap();
    assert_eq!(dev.config.handlers, [folder.path()]);
    let path = dev.data.clone();
    fs::write(path.join("file"), "x").unwrap();
    drop(dev);
    assert!(!path.exists());

    let kept = folder.path().join("data");
    let dev = args(folder.path(), Some(kept.clone())).load().unwrap();
    assert!(dev.data == kept && dev.scratch.is_none());
}

#[test]
fn folders_without_a_handler_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = args(folder.path(), None)
        .load()
        .err()
        .map(|error| error.to_string());
    assert!(
        message
            .as_ref()
            .is_some_and(|text| text.contains("handler.toml")),
        "{message:?}"
    );
}
