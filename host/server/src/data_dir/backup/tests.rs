use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A store that is one file.
fn checkpoint(path: &Path) -> Result<(), Infallible> {
    fs::create_dir(path).unwrap();
    fs::write(path.join("CURRENT"), "all of it").unwrap();
    Ok(())
}

struct Place {
    data: DataDir,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path().join("data")).unwrap();
        Self { data, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self) -> PathBuf {
        let copy = self.path("copy");
        self.data.back_up(&copy, checkpoint).unwrap();
        copy
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_copy_becomes_a_data_directory_of_the_same_host() {
    let place = Place::new();
    let copy = place.path("copy");
    let made = place.data.back_up(&copy, checkpoint).unwrap();
    assert_eq!(
        (made.files, made.host_id.as_str()),
        (3, place.data.host_id())
    );
    assert_eq!(mode(&copy), 0o700);

    let new = place.path("new");
    assert_eq!(restore(&copy, &new).unwrap(), made);
    assert_eq!(mode(&new), 0o700);
    let restored = DataDir::open(&new).unwrap();
    assert_eq!(restored.host_id(), place.data.host_id());
    let store = fs::read_to_string(restored.store_path().join("CURRENT")).unwrap();
    assert_eq!(store, "all of it");
}

#[test]
fn the_versions_of_handlers_come_along() {
    let place = Place::new();
    let version = "weir.dev.default.count/0a-0b/built/count.wasm";
    let write = |name: &str| {
        let file = place.data.versions_path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "\0asm").unwrap();
    };
    write(version);
    // One that is being written.
    write("weir.dev.default.count/new/count.wasm");
    let copy = place.copy();
    let new = place.path("new");
    restore(&copy, &new).unwrap();
    let versions = DataDir::open(&new).unwrap().versions_path();
    assert_eq!(fs::read(versions.join(version)).unwrap(), b"\0asm");
    let kept = fs::read_dir(versions.join("weir.dev.default.count")).unwrap();
    assert_eq!(kept.count(), 1);

    fs::remove_file(copy.join("versions").join(version)).unwrap();
    let error = restore(&copy, &place.path("another")).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error}");
}

#[test]
fn the_key_of_the_cache_stays_behind() {
    let place = Place::new();
    let copy = place.copy();
    assert!(!copy.join("cache.key").exists() && !copy.join("cache").exists());
    restore(&copy, &place.path("new")).unwrap();
    let restored = DataDir::open(place.path("new")).unwrap();
    assert_ne!(restored.cache_key(), place.data.cache_key());
}

#[test]
fn a_copy_goes_only_into_an_empty_place_outside_the_directory() {
    let place = Place::new();
    let copy = place.copy();
    let refused = |target: &Path| place.data.back_up(target, checkpoint).unwrap_err();
    assert!(matches!(refused(&copy), BackupError::NotEmpty { .. }));
    assert!(matches!(
        refused(&copy.join(FILE)),
        BackupError::NotEmpty { .. }
    ));
    assert!(matches!(
        refused(Path::new("copy")),
        BackupError::Relative { .. }
    ));
    let inside = place.data.path().join("copy");
    assert!(matches!(refused(&inside), BackupError::Inside { .. }));
    assert!(!inside.exists());
}

#[test]
fn a_copy_whose_store_failed_is_not_restored() {
    let place = Place::new();
    let copy = place.path("copy");
    let failing = |path: &Path| {
        checkpoint(path).unwrap();
        Err("the disk is full")
    };
    let message = place.data.back_up(&copy, failing).unwrap_err().to_string();
    assert!(message.contains("the disk is full"), "{message}");
    let error = restore(&copy, &place.path("new")).unwrap_err();
    assert!(matches!(error, RestoreError::NoBackup { .. }), "{error}");
    assert!(!place.path("new").exists());
}

#[test]
fn a_copy_that_lost_something_on_its_way_is_refused() {
    for harm in ["missing", "short", "unreadable"] {
        let place = Place::new();
        let copy = place.copy();
        let store = copy.join("store/CURRENT");
        match harm {
            "missing" => fs::remove_file(store).unwrap(),
            "short" => fs::write(store, "all").unwrap(),
            _ => fs::write(copy.join(FILE), "{").unwrap(),
        }
        let error = restore(&copy, &place.path("new")).unwrap_err();
        assert!(
            matches!(error, RestoreError::Damaged { .. }),
            "{harm}: {error}"
        );
    }
}

#[test]
fn a_copy_of_a_newer_format_is_refused() {
    let place = Place::new();
    let copy = place.copy();
    fs::write(copy.join(FILE), format!("{{\"format\":{}}}", FORMAT + 1)).unwrap();
    let error = restore(&copy, &place.path("new")).unwrap_err();
    assert!(matches!(error, RestoreError::Format { .. }), "{error}");
}

#[test]
fn a_data_directory_that_holds_anything_is_left_as_it_is() {
    let place = Place::new();
    let copy = place.copy();
    let error = restore(&copy, place.data.path()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert!(!place.data.store_path().join("CURRENT").exists());
}

#[test]
fn a_restore_that_was_cut_off_is_not_started_on() {
    let place = Place::new();
    let copy = place.copy();
    let new = place.path("new");
    restore(&copy, &new).unwrap();
    fs::remove_file(new.join("FORMAT")).unwrap();
    assert!(DataDir::open(&new).is_err());
}
