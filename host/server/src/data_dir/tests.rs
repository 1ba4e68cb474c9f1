use super::*;

#[test]
fn a_new_directory_is_closed_to_others_and_keeps_its_identity() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("data");
    let first = DataDir::open(&path).unwrap();
    let (id, key) = (first.host_id().to_owned(), *first.cache_key());
    assert_eq!(id.len(), 16);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(
        fs::metadata(path.join("cache.key"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert!(first.store_path().is_dir() && first.cache_path().is_dir());
    drop(first);
    let second = DataDir::open(&path).unwrap();
    assert_eq!((second.host_id(), second.cache_key()), (id.as_str(), &key));
}

#[test]
fn a_second_owner_is_refused_with_the_process_id_of_the_first() {
    let scratch = tempfile::tempdir().unwrap();
    let first = DataDir::open(scratch.path()).unwrap();
    let message = DataDir::open(scratch.path()).unwrap_err().to_string();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    drop(first);
    DataDir::open(scratch.path()).unwrap();
}

#[test]
fn a_directory_with_foreign_files_is_refused_and_left_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(scratch.path().join("thesis.tex"), "x").unwrap();
    let message = DataDir::open(scratch.path()).unwrap_err().to_string();
    assert!(message.contains("thesis.tex"), "{message}");
    assert_eq!(
        fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[test]
fn a_lax_data_directory_is_tightened() {
    let scratch = tempfile::tempdir().unwrap();
    drop(DataDir::open(scratch.path()).unwrap());
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    drop(DataDir::open(scratch.path()).unwrap());
    assert_eq!(
        fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_start_that_was_killed_half_way_is_completed() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("LOCK"), "1").unwrap();
    fs::write(scratch.path().join("host-id.new"), "1f").unwrap();
    fs::write(scratch.path().join("FORMAT.new"), "").unwrap();
    assert!(DataDir::open(scratch.path()).is_ok());
}

#[test]
fn a_damaged_key_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    drop(DataDir::open(scratch.path()).unwrap());
    fs::write(scratch.path().join("cache.key"), "short").unwrap();
    let message = DataDir::open(scratch.path()).unwrap_err().to_string();
    assert!(message.contains("cache.key is damaged"), "{message}");
}

#[test]
fn a_host_id_with_one_bit_changed_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let id = DataDir::open(scratch.path()).unwrap().host_id().to_owned();
    let file = scratch.path().join("host-id");
    let right = fs::read(&file).unwrap();
    for bit in 0..right.len() * 8 {
        let mut wrong = right.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, wrong).unwrap();
        match DataDir::open(scratch.path()) {
            // White space at the end says nothing.
            Ok(data_dir) => assert_eq!(data_dir.host_id(), id),
            Err(error) => assert!(error.to_string().contains("host-id is damaged"), "{error}"),
        }
    }
}

#[test]
fn a_store_that_was_there_and_is_empty_is_not_taken_for_a_new_one() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    let opened = DataDir::open(scratch.path()).unwrap();
    opened.note_store().unwrap();
    fs::write(store.join("CURRENT"), "MANIFEST-000005").unwrap();
    drop(opened);
    drop(DataDir::open(scratch.path()).unwrap());

    fs::remove_file(store.join("CURRENT")).unwrap();
    let refused = DataDir::open(scratch.path()).unwrap_err().to_string();
    assert!(refused.contains("mount its volume"), "{refused}");
}
