//! What is refused, what is accepted, and the cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use weir_wasm::{LoadError, describe};

use crate::guests::{self, component, component_with, core_module, encode};
use crate::{Fixture, attempt, config, done};

#[track_caller]
fn refused(result: Result<weir_wasm::Component, LoadError>, words: &[&str]) -> LoadError {
    let error = result.err().expect("it should have been refused");
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
    error
}

#[tokio::test]
async fn a_core_module_with_metadata_is_accepted_under_the_digest_of_its_file() {
    let fixture = Fixture::new();
    let module = core_module("", &guests::echo(), "");
    let component = fixture.load(module.clone()).await.unwrap();
    assert_eq!(component.digest(), blake3::hash(&module).to_hex().as_str());
    assert_eq!(done(component.call(attempt()).await).emissions.len(), 1);
}

#[tokio::test]
async fn a_core_module_without_metadata_is_refused() {
    let module = wat::parse_str("(module)").unwrap();
    refused(
        Fixture::new().load(module).await,
        &["core module without component metadata", "wasm32-wasip2"],
    );
}

#[tokio::test]
async fn what_is_not_wasm_is_refused_by_what_it_looks_like() {
    let fixture = Fixture::new();
    refused(
        fixture.load(Vec::new()).await,
        &["not WebAssembly", "empty"],
    );
    refused(fixture.load(b"(module)".to_vec()).await, &["text format"]);
    refused(fixture.load(vec![0x1f, 0x8b, 8]).await, &["gzip"]);
    refused(
        fixture.load(b"hello".to_vec()).await,
        &["68, 65, 6c, 6c, 6f"],
    );
    let broken = [&component(guests::IGNORE)[..200], b"garbage"].concat();
    refused(
        fixture.load(broken).await,
        &["cannot compile the component"],
    );
}

#[tokio::test]
async fn a_component_that_is_too_large_or_wants_too_much_memory_is_refused() {
    let fixture = Fixture::new();
    refused(
        fixture.load(vec![0; (1 << 20) + 1]).await,
        &["1048577 bytes", "1048576", "strip"],
    );
    let wants = fixture
        .load_with(component(guests::IGNORE), |options| {
            options.limits.memory_bytes = 1 << 30
        })
        .await;
    refused(wants, &["1073741824", "268435456", "[limits]"]);
}

#[tokio::test]
async fn a_component_of_another_world_is_refused_by_what_it_exports() {
    let other = wat::parse_str(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (instance $h (export "handle" (func $f)))
        (export "weir:handler/handler@0.2.0" (instance $h)))"#,
    );
    refused(
        Fixture::new().load(other.unwrap()).await,
        &[
            "weir:handler/handler@0.1.0",
            "`weir:handler/handler@0.2.0`",
            "weir:handler/event-handler@0.1.0",
        ],
    );
    refused(
        Fixture::new()
            .load(wat::parse_str("(component)").unwrap())
            .await,
        &["exports nothing"],
    );
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_refused_with_both_remedies() {
    let fixture = Fixture::new();
    let stateful = guests::stateful(guests::APPEND);
    let error = refused(
        fixture.load(stateful).await,
        &[
            "`weir:handler/state@0.1.0`",
            "state = true",
            "host's policy",
            "without it",
        ],
    );
    assert!(matches!(error, LoadError::NotGranted { .. }), "{error:?}");
}

#[tokio::test]
async fn timers_are_an_import_that_needs_its_own_grant() {
    let fixture = Fixture::new();
    let state_only = fixture
        .load_with(guests::timed(guests::CANCEL), |options| {
            options.grants.state = true
        })
        .await;
    refused(
        state_only,
        &["`weir:handler/timers@0.1.0`", "timers = true"],
    );
}

#[tokio::test]
async fn an_import_that_is_not_offered_or_unknown_is_refused_by_name() {
    let fixture = Fixture::new();
    let http = wat::parse_str(
        r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance))
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (instance $h (export "handle" (func $f)))
        (export "weir:handler/handler@0.1.0" (instance $h)))"#,
    );
    refused(
        fixture.load(http.unwrap()).await,
        &["`wasi:http/outgoing-handler@0.2.0`", "does not offer"],
    );
    let unknown = component_with(
        r#"(import "$root" "mystery" (func))"#,
        guests::IGNORE,
        "import mystery: func();",
    );
    refused(fixture.load(unknown).await, &["`mystery`", "does not know"]);
}

fn cached(fixture: &Fixture) -> PathBuf {
    let entries: Vec<_> = fs::read_dir(fixture.cache.path().join("code"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let [entry] = &entries[..] else {
        panic!("{entries:?}")
    };
    entry.clone()
}

#[tokio::test]
async fn compiled_code_is_kept_and_used_without_the_compiler() {
    let fixture = Fixture::new();
    let wasm = component(guests::IGNORE);
    fixture.load(wasm.clone()).await.unwrap();
    let entry = cached(&fixture);
    assert!(entry.to_string_lossy().ends_with(".cwasm"));
    let mode = fs::metadata(entry.parent().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    let mut without_compiler = config(&fixture.cache);
    without_compiler.compiler = "/nonexistent".into();
    let other = weir_wasm::Sandbox::new(without_compiler).unwrap();
    done(
        other
            .load(wasm, &crate::options())
            .await
            .unwrap()
            .call(attempt())
            .await,
    );
    let error = other.load(component(guests::TRAP), &crate::options()).await;
    refused(error, &["cannot run the compiler /nonexistent"]);
}

#[tokio::test]
async fn a_cache_entry_that_was_changed_is_compiled_again() {
    let fixture = Fixture::new();
    let wasm = component(guests::IGNORE);
    fixture.load(wasm.clone()).await.unwrap();
    let entry = cached(&fixture);
    let good = fs::read(&entry).unwrap();
    let changed_code = {
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let changed_mac = {
        let mut bytes = good.clone();
        bytes[0] ^= 1;
        bytes
    };
    for bad in [changed_code, changed_mac, good[..20].to_vec(), Vec::new()] {
        fs::write(&entry, bad).unwrap();
        done(
            fixture
                .load(wasm.clone())
                .await
                .unwrap()
                .call(attempt())
                .await,
        );
        assert!(
            fs::read(&entry).unwrap() == good,
            "the entry is written again"
        );
    }
}

#[tokio::test]
async fn code_of_another_component_or_key_is_not_run() {
    let fixture = Fixture::new();
    let (good, trap) = (component(guests::IGNORE), component(guests::TRAP));
    fixture.load(trap).await.unwrap();
    let stolen = fs::read(cached(&fixture)).unwrap();
    fs::remove_file(cached(&fixture)).unwrap();
    fixture.load(good.clone()).await.unwrap();
    fs::write(cached(&fixture), stolen).unwrap();
    done(
        fixture
            .load(good.clone())
            .await
            .unwrap()
            .call(attempt())
            .await,
    );

    let before = fs::read(cached(&fixture)).unwrap();
    let mut other_key = config(&fixture.cache);
    other_key.cache_key = [8; 32];
    weir_wasm::Sandbox::new(other_key)
        .unwrap()
        .load(good, &crate::options())
        .await
        .unwrap();
    assert_ne!(fs::read(cached(&fixture)).unwrap()[..32], before[..32]);
}

#[test]
fn a_file_is_described_without_running_it() {
    let module = core_module("", guests::IGNORE, "");
    let description = describe(&module).unwrap();
    assert!(description.core_module);
    assert_eq!(description.exports, ["weir:handler/handler@0.1.0"]);
    let component = describe(&encode(&module)).unwrap();
    assert!(!component.core_module);
    assert_eq!(component.exports, description.exports);
    let stateful = describe(&guests::stateful(guests::APPEND)).unwrap();
    assert!(
        stateful
            .imports
            .contains(&"weir:handler/state@0.1.0".to_owned()),
        "{:?}",
        stateful.imports
    );
    assert!(
        describe(b"hello")
            .unwrap_err()
            .to_string()
            .contains("not WebAssembly")
    );
}
