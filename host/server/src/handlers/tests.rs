use std::path::Path;

use super::*;

/// A component that exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn write(folder: &Path, manifest: &str, component: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("h.wasm"), component).unwrap();
    let rest = "component = \"h.wasm\"\n[subscribe]\ntopics = [\"public.orders.v1\"]\n";
    std::fs::write(folder.join(manifest::FILE), format!("{manifest}\n{rest}")).unwrap();
}

fn told(config: &Config) -> Vec<String> {
    let faults = deployments(config).unwrap_err().0;
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn faults_of_all_handlers_and_their_components_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        handlers: vec![folder.path().to_owned()],
        ..Config::default()
    };
    write(
        &folder.path().join("a"),
        "name = \"one\"\nversion = \"1\"",
        EMPTY_COMPONENT,
    );
    write(
        &folder.path().join("b"),
        "name = \"one\"\nversion = \"1.0.0\"",
        EMPTY_COMPONENT,
    );
    write(
        &folder.path().join("c"),
        "name = \"two\"\nversion = \"1.0.0\"",
        b"PK",
    );
    let told = told(&config);
    let wanted = [
        "a/handler.toml: version: is \"1\"",
        "b/handler.toml: name: \"one\" is also the name in ",
        "a/h.wasm: the component does not export",
        "c/h.wasm: this is not WebAssembly",
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (fault, words) in told.iter().zip(wanted) {
        assert!(fault.contains(words), "{words:?} is not in {fault:?}");
    }
}
