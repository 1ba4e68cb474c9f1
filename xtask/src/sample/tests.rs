use std::io::Read as _;

use super::*;

#[test]
fn committed_sample_is_what_the_generator_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PATH);
    let mut committed = String::new();
    let file = fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut committed)
        .unwrap();
    assert!(
        committed == events(),
        "run `cargo xtask sample` and commit {PATH}"
    );
}
