use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn what_was_used_last_is_kept_and_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (age, name) in [
        (3, "a.cwasm"),
        (1, "b.cwasm"),
        (2, "c.cwasm"),
        (0, "d.17-0.tmp"),
    ] {
        let file = File::create(path(name)).unwrap();
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(100 - age);
        file.set_modified(used).unwrap();
    }
    try_prune(folder.path(), 2).unwrap();
    let left = ["a.cwasm", "b.cwasm", "c.cwasm", "d.17-0.tmp"].map(|name| path(name).exists());
    assert_eq!(left, [false, true, true, false]);
}
