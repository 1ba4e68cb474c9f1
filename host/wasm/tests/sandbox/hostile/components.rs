//! Files that are no handlers, or are so at a price: refused when they are loaded, before any of their code runs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_wasm::{LoadError, Sandbox};

use super::{Fixture, attempt, done};
use crate::config;
use crate::guests::{Guest, IGNORE, component, core_module};

/// A message is for people.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Why it is refused, in full, by a host that goes on to load and call an honest one under the same limits.
async fn refusal_of(fixture: &Fixture, wasm: Vec<u8>) -> String {
    let error = fixture
        .load(wasm)
        .await
        .err()
        .expect("it should be refused");
    done(
        fixture
            .load(component(IGNORE))
            .await
            .unwrap()
            .call(attempt())
            .await,
    );
    let message = chain(&error);
    assert!(
        message.len() <= MESSAGE_BYTES_MAX,
        "{} bytes",
        message.len()
    );
    message
}

fn chain(error: &LoadError) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// It is refused with these words; and whoever only looks at it survives that.
async fn refused(wasm: Vec<u8>, words: &[&str]) {
    drop(weir_wasm::describe(&wasm));
    let message = refusal_of(&Fixture::new(), wasm).await;
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A handler in name: these fields, and an export `handle` that is never called.
fn with_fields(fields: &str) -> Vec<u8> {
    text(&format!(
        r#"(component {fields}
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (instance $h (export "handle" (func $f)))
        (export "weir:handler/handler@0.1.0" (instance $h)))"#
    ))
}

#[tokio::test]
async fn a_component_of_500_mib() {
    let started = Instant::now();
    refused(vec![0; 500 << 20], &["524288000 bytes", "strip"]).await;
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// A sandbox whose compiler has less of something than it takes: an operator's own limit is kept.
fn short_of(limit: &str) -> Fixture {
    let cache = TempDir::new().unwrap();
    let mut config = config(&cache);
    config.component_bytes_max = 64 << 20;
    let run = format!("{limit}; exec \"$0\"");
    config.compiler_args = vec!["-c".into(), run.into(), config.compiler.into()];
    config.compiler = "/bin/sh".into();
    let sandbox = Sandbox::new(config).unwrap();
    Fixture { sandbox, cache }
}

/// One function that keeps thousands of values alive across thousands of blocks: allocating registers for it takes long.
fn tangled(values: usize, blocks: usize) -> Vec<u8> {
    let mut body = String::new();
    for n in 0..values {
        writeln!(
            body,
            "(local.set {n} (i64.load (i32.const {})))",
            n * 8 % 65_000
        )
        .unwrap();
    }
    for n in 0..blocks {
        let (a, b, c) = (n * 7 % values, n * 13 % values, n * 29 % values);
        writeln!(
            body,
            "(if (i64.eqz (local.get {a})) (then (local.set {b} (i64.mul (local.get {b}) (local.get {c})))))"
        )
        .unwrap();
    }
    for n in 0..values {
        writeln!(
            body,
            "(i64.store (i32.const {}) (local.get {n}))",
            n * 8 % 65_000
        )
        .unwrap();
    }
    let fields = format!("(func $tangled (local {}) {body})", "i64 ".repeat(values));
    Guest {
        fields: &fields,
        ..Guest::default()
    }
    .component()
}

#[tokio::test]
async fn a_component_that_compiles_for_minutes() {
    let message = refusal_of(&short_of("ulimit -t 2"), tangled(4_000, 60_000)).await;
    assert!(message.contains("took too long"), "{message}");
}

#[tokio::test]
async fn a_component_that_compiles_in_gigabytes() {
    let message = refusal_of(&short_of("ulimit -d 200000"), tangled(4_000, 60_000)).await;
    assert!(message.contains("memory"), "{message}");
}

#[tokio::test]
async fn ten_thousand_imports() {
    let imports: String = (0..10_000)
        .map(|n| format!("(import \"i{n}\" (func))\n"))
        .collect();
    refused(with_fields(&imports), &["`i0`", "does not know"]).await;
}

#[tokio::test]
async fn ten_thousand_exports() {
    let exports: String = (0..10_000)
        .map(|n| format!("(export \"e{n}\" (func $f))\n"))
        .collect();
    let wasm = format!(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) {exports})"#
    );
    refused(text(&wasm), &["does not export", "`e0`"]).await;
}

#[tokio::test]
async fn an_import_that_shadows_one_of_ours_in_another_shape() {
    // `set` of state, with a number where a name is.
    let shadow = with_fields(
        r#"(import "weir:handler/log@0.1.0" (instance (export "write" (func (param "level" u32)))))"#,
    );
    refused(shadow, &["does not fit the interfaces it names"]).await;
}

#[tokio::test]
async fn an_import_that_looks_like_one_of_ours() {
    for name in [
        "weir:handler/admin@0.1.0",
        "weir:handler/state@0.2.0",
        "weir:handlers/state@0.1.0",
        "wasi:cli/run@0.3.0",
    ] {
        refused(
            with_fields(&format!("(import \"{name}\" (instance))")),
            &[name, "does not know"],
        )
        .await;
    }
}

#[tokio::test]
async fn an_export_under_a_name_of_ours() {
    // Nobody calls it: the host's own log is what others get.
    let own = Guest {
        world: "export weir:handler/log@0.1.0;",
        fields: r#"(func (export "weir:handler/log@0.1.0#write") (param i32 i32 i32 i32 i32) unreachable)"#,
        ..Guest::default()
    };
    let fixture = Fixture::new();
    let loaded = fixture.load(own.component()).await.unwrap();
    done(loaded.call(attempt()).await);
}

#[tokio::test]
async fn a_handler_of_another_shape() {
    refused(
        with_fields(""),
        &["takes or returns something else", "event-handler@0.1.0"],
    )
    .await;
}

#[tokio::test]
async fn deeply_nested_types() {
    let mut types = "(type $t0 (record (field \"a\" u8)))".to_owned();
    for n in 1..5_000 {
        write!(types, "(type $t{n} (list $t{}))", n - 1).unwrap();
    }
    refused(with_fields(&types), &["nest"]).await;
}

#[tokio::test]
async fn deeply_nested_components() {
    const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
    const COMPONENT_SECTION: u8 = 4;
    let mut nested = PREAMBLE.to_vec();
    for _ in 0..5_000 {
        // The size of the section, seven bits a byte.
        let mut header = vec![COMPONENT_SECTION];
        let mut left = nested.len();
        while left >= 0x80 {
            header.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        header.push(u8::try_from(left).unwrap());
        nested = [PREAMBLE, &header, &nested].concat();
    }
    refused(nested, &["exports nothing"]).await;
}

#[tokio::test]
async fn deeply_nested_blocks() {
    let depth = 100_000;
    let fields = format!(
        "(func $deep {}{})",
        "block ".repeat(depth),
        "end ".repeat(depth)
    );
    let deep = Guest {
        fields: &fields,
        ..Guest::default()
    };
    let fixture = Fixture::new();
    match fixture.load(deep.component()).await {
        Ok(loaded) => drop(done(loaded.call(attempt()).await)),
        Err(error) => assert!(matches!(error, LoadError::Compile(_)), "{error:?}"),
    }
}

#[tokio::test]
async fn a_hundred_instances_in_one_component() {
    let instances = "(core instance (instantiate $x))\n".repeat(100);
    let wasm = format!("(core module $x (memory 1)) {instances}");
    refused(
        with_fields(&wasm),
        &["101 core module instances", "maximum of 50"],
    )
    .await;
}

#[tokio::test]
async fn more_memory_in_several_memories_than_in_one() {
    let many = Guest {
        fields: "(memory 300) (memory 300) (memory 300) (memory 300)",
        ..Guest::default()
    };
    refused(many.component(), &["defined memories count of 5"]).await;
}

#[tokio::test]
async fn proposals_that_are_off() {
    for (module, word) in [
        ("(memory i64 1)", "64"),
        ("(memory 1 1 shared)", "threads"),
        ("(type (struct (field i32)))", "gc"),
    ] {
        refused(
            with_fields(&format!("(core module {module})")),
            &["cannot compile the component", word],
        )
        .await;
    }
}

#[tokio::test]
async fn a_component_cut_short() {
    let whole = component(IGNORE);
    let fixture = Fixture::new();
    for part in [9, 100, whole.len() / 2, whole.len() - 1] {
        refusal_of(&fixture, whole[..part].to_vec()).await;
    }
}

#[tokio::test]
async fn compiled_code_in_the_place_of_a_component() {
    refused(
        b"\x7fELF\x02\x01\x01\0 and so on".to_vec(),
        &["not WebAssembly", "compiled code"],
    )
    .await;
}

#[tokio::test]
async fn metadata_that_is_nonsense() {
    let mut module = core_module("", IGNORE, "");
    let at = module
        .windows(14)
        .position(|bytes| bytes == b"component-type")
        .unwrap();
    for byte in &mut module[at + 40..] {
        *byte ^= 0x55;
    }
    refused(module, &["cannot compile the component"]).await;
}
