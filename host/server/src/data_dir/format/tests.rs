use super::*;
use crate::data_dir::DataDir;

fn data_dir() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(scratch.path()).unwrap();
    fs::write(data_dir.store_path().join("000001.sst"), "old").unwrap();
    fs::write(data_dir.store_path().join("CURRENT"), "old").unwrap();
    let version = data_dir.versions_path().join("group/version");
    fs::create_dir_all(&version).unwrap();
    fs::write(version.join("handler.toml"), "old").unwrap();
    scratch
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

/// Made-up steps: there is only one format so far, and the way to the next is what is tried.
fn rewrite(path: &Path) -> io::Result<()> {
    fs::write(path.join("store/CURRENT"), "new")
}

fn add(path: &Path) -> io::Result<()> {
    let before = fs::read_to_string(path.join("store/CURRENT"))?;
    fs::write(path.join("added"), before)
}

fn fail(_path: &Path) -> io::Result<()> {
    Err(io::Error::other("cut off"))
}

#[test]
fn steps_run_in_order_after_a_copy_and_only_those_that_are_due() {
    let scratch = data_dir();
    let path = scratch.path();
    let kept = migrate(path, 7, 7, &[rewrite, add]).unwrap().unwrap();
    assert_eq!(kept, path.join("before-format-8"));
    assert_eq!(text(path.join("FORMAT")), "9\n");
    assert_eq!(text(path.join("added")), "new");
    assert_eq!(text(kept.join("store/CURRENT")), "old");
    assert_eq!(text(kept.join("store/000001.sst")), "old");
    assert_eq!(
        text(kept.join("versions/group/version/handler.toml")),
        "old"
    );
    assert_eq!(text(kept.join("host-id")), text(path.join("host-id")));

    let scratch = data_dir();
    migrate(scratch.path(), 8, 7, &[fail, add])
        .unwrap()
        .unwrap();
    assert_eq!(text(scratch.path().join("added")), "old");
    assert_eq!(migrate(scratch.path(), 9, 7, &[fail, fail]).unwrap(), None);
}

#[test]
fn a_migration_that_was_cut_off_keeps_its_first_copy_and_begins_anew() {
    let scratch = data_dir();
    let path = scratch.path();
    let before = text(path.join("FORMAT"));
    let error = migrate(path, 7, 7, &[rewrite, fail]).unwrap_err();
    assert!(
        error.to_string().contains("bring to a newer format"),
        "{error}"
    );
    assert_eq!(text(path.join("FORMAT")), before);
    let kept = migrate(path, 7, 7, &[rewrite, add]).unwrap().unwrap();
    assert_eq!(text(kept.join("store/CURRENT")), "old");
    assert_eq!(text(path.join("FORMAT")), "9\n");
}

#[test]
fn a_format_that_is_not_known_is_refused_and_one_that_is_no_number_is_damaged() {
    for text in ["0\n", "2\n", "4000000000\n"] {
        let scratch = data_dir();
        fs::write(scratch.path().join("FORMAT"), text).unwrap();
        let error = DataDir::open(scratch.path()).unwrap_err();
        assert!(
            matches!(error, DataDirError::Format { .. }),
            "{text:?}: {error}"
        );
        let (found, reads) = (format!("format {}", text.trim()), format!("up to {FORMAT}"));
        let message = error.to_string();
        assert!(
            message.contains(&found) && message.contains(&reads),
            "{message}"
        );
    }
    for text in [&b"one"[..], b"", b"\xb1\n"] {
        let scratch = data_dir();
        fs::write(scratch.path().join("FORMAT"), text).unwrap();
        let message = DataDir::open(scratch.path()).unwrap_err().to_string();
        assert!(message.contains("FORMAT is damaged"), "{message}");
    }
}
