use super::*;

#[test]
fn version_1_is_what_is_on_disks_already() {
    assert_eq!(decode(&[1, 3, 0, 0, 0, 0, 0, 0, 0]), Ok(vec![3, 0]));
    assert_eq!(decode(&[1]), Ok(Vec::new()));
    assert!(decode(&[1, 3]).is_err());
    assert!(decode(&[2]).is_err());
}
