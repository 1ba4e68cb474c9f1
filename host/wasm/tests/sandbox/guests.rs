//! Guests in the text format: core modules over the canonical ABI, with the metadata that toolchains embed.
//!
//! The exported function takes one flattened event. It has 16 flat parameters at most; an event has more, so it arrives
//! as one pointer. Its result does not fit either and is returned as a pointer too.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The name of the exported function in a core module.
const EXPORT: &str = "weir:handler/handler@0.1.0#handle";

/// Where `handle` may put its result: within the first page, below the heap.
pub(crate) const RESULT: u32 = 1_024;

/// A core module whose `handle` has this body (`$event` is the event's address), with embedded metadata.
///
/// Memory starts with two pages; `cabi_realloc` bumps from the second and never frees.
pub(crate) fn core_module(imports: &str, body: &str, world: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
                (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get $size)))
                (block $enough
                    (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                    (br_if $enough (i32.ne (i32.const -1) (memory.grow
                        (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16))))))
                    unreachable)
                (local.get $at))
            (global $calls (mut i32) (i32.const 0))
            (func $recurse (param i32) (result i32)
                (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
            (func $ok_empty (result i32)
                ;; result<list<emission>, failure>: discriminant, then (address, length) of the list.
                (i32.store8 (i32.const {RESULT}) (i32.const 0))
                (i64.store offset=8 (i32.const {RESULT}) (i64.const 0))
                (i32.const {RESULT}))
            (func (export "{EXPORT}") (param $event i32) (result i32) (local $i i32)
                {body})
        )"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1.0");
    let (package, _) = resolve.push_dir(&wit).unwrap();
    let test = format!("package test:guest;\nworld guest {{ {world} }}");
    let guest = resolve.push_str("guest.wit", &test).unwrap();
    let world = resolve.select_world(&[guest], Some("guest")).unwrap();
    assert_ne!(package, guest);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

/// A component whose `handle` has this body and which imports nothing that needs a grant.
pub(crate) fn component(body: &str) -> Vec<u8> {
    component_with("", body, "include weir:handler/event-handler@0.1.0;")
}

pub(crate) fn component_with(imports: &str, body: &str, world: &str) -> Vec<u8> {
    encode(&core_module(imports, body, world))
}

pub(crate) fn encode(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .unwrap()
        .encode()
        .unwrap()
}

/// Publishes nothing.
pub(crate) const IGNORE: &str = "(call $ok_empty)";
pub(crate) const LOOP: &str = "(loop $again (br $again)) unreachable";
pub(crate) const TRAP: &str = "unreachable";
pub(crate) const RECURSE: &str = "(drop (call $recurse (i32.const 0))) (call $ok_empty)";
pub(crate) const MEMORY_BOMB: &str =
    "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";
/// Traps at the second call of the same instance.
pub(crate) const TRAP_WHEN_REUSED: &str = "(if (global.get $calls) (then unreachable)) \
     (global.set $calls (i32.const 1)) (call $ok_empty)";
/// Grows to above three quarters of the default memory limit and is content.
pub(crate) const GROW_HIGH: &str = "(drop (memory.grow (i32.const 800))) (call $ok_empty)";

/// Sizes and places of the canonical ABI, which `echo` needs.
///
/// event: id 0, source 8, type 16, subject 24, time 36, datacontenttype 48, dataschema 60, extensions 72, data 80 (92).
/// emission (align 8): type 0, topic 8, key 20 (12), id 32, subject 44, time 56, datacontenttype 68, dataschema 80,
/// extensions 92, data 100 (12), delay-ms 112 (16), size 128.
pub(crate) fn echo() -> String {
    let emission = 2_048;
    let copy = |from: u32, to: u32, bytes: u32| {
        format!(
            "(memory.copy (i32.add (i32.const {emission}) (i32.const {to})) \
             (i32.add (local.get $event) (i32.const {from})) (i32.const {bytes}))"
        )
    };
    format!(
        "(memory.fill (i32.const {emission}) (i32.const 0) (i32.const 128))
         {ty} {subject} {extensions} {data}
         (i32.store8 (i32.const {RESULT}) (i32.const 0))
         (i32.store offset=8 (i32.const {RESULT}) (i32.const {emission}))
         (i32.store offset=12 (i32.const {RESULT}) (i32.const 1))
         (i32.const {RESULT})",
        ty = copy(16, 0, 8),
        subject = copy(24, 44, 12),
        extensions = copy(72, 92, 8),
        data = copy(80, 100, 12),
    )
}

/// Returns a list of `count` empty emissions.
pub(crate) fn emit_many(count: u32) -> String {
    let bytes = count * 128;
    format!(
        "(drop (memory.grow (i32.const {pages})))
         (i32.store8 (i32.const {RESULT}) (i32.const 0))
         (i32.store offset=8 (i32.const {RESULT}) (i32.const 131072))
         (i32.store offset=12 (i32.const {RESULT}) (i32.const {count}))
         (i32.const {RESULT})",
        pages = bytes.div_ceil(65_536)
    )
}

/// Fails with kind, code and message (at most 1,000 bytes each; texts lie at 4,096 and 8,192).
pub(crate) fn fail(kind: u32, code: &str, message: &str) -> String {
    let bytes = |at: usize, text: &str| -> String {
        let stores = text.bytes().enumerate();
        stores
            .map(|(i, b)| format!("(i32.store8 (i32.const {}) (i32.const {b}))\n", at + i))
            .collect()
    };
    // failure (align 8): kind 0, code 4, message 12, retry-after-ms 24; it lies at 8 of the result.
    format!(
        "{code_bytes}{message_bytes}
         (memory.fill (i32.const {RESULT}) (i32.const 0) (i32.const 48))
         (i32.store8 (i32.const {RESULT}) (i32.const 1))
         (i32.store8 offset=8 (i32.const {RESULT}) (i32.const {kind}))
         (i32.store offset=12 (i32.const {RESULT}) (i32.const 4096))
         (i32.store offset=16 (i32.const {RESULT}) (i32.const {code_len}))
         (i32.store offset=20 (i32.const {RESULT}) (i32.const 8192))
         (i32.store offset=24 (i32.const {RESULT}) (i32.const {message_len}))
         (i32.store8 offset=32 (i32.const {RESULT}) (i32.const 1))
         (i64.store offset=40 (i32.const {RESULT}) (i64.const 1500))
         (i32.const {RESULT})",
        code_bytes = bytes(4_096, code),
        message_bytes = bytes(8_192, message),
        code_len = code.len(),
        message_len = message.len(),
    )
}

/// A guest with the grant `state`: its `handle` has this body; `$get`, `$set`, `$remove` are the core imports.
pub(crate) fn stateful(body: &str) -> Vec<u8> {
    component_with(
        r#"(import "weir:handler/state@0.1.0" "get" (func $get (param i32 i32 i32)))
           (import "weir:handler/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64)))
           (import "weir:handler/state@0.1.0" "remove" (func $remove (param i32 i32)))"#,
        body,
        "include weir:handler/event-handler@0.1.0; import weir:handler/state@0.1.0;",
    )
}

/// Reads `n`, and sets `n` to what it read plus `x`: shows reads of the view, of its own writes, and the last write.
pub(crate) const APPEND: &str = r#"
    (i32.store8 (i32.const 4096) (i32.const 110))
    (loop $twice
        (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
        ;; option<list<u8>> at 5000: discriminant, address, length. The buffer is at 6000.
        (if (i32.load8_u (i32.const 5000))
            (then (memory.copy (i32.const 6000) (i32.load (i32.const 5004)) (i32.load (i32.const 5008))))
            (else (i32.store (i32.const 5008) (i32.const 0))))
        (i32.store8 (i32.add (i32.const 6000) (i32.load (i32.const 5008))) (i32.const 120))
        (call $set (i32.const 4096) (i32.const 1)
            (i32.const 6000) (i32.add (i32.load (i32.const 5008)) (i32.const 1))
            (i32.const 1) (i64.const 60000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $twice (i32.lt_u (local.get $i) (i32.const 2))))
    (call $ok_empty)"#;
/// Calls the host for ever.
pub(crate) const CALL_FOR_EVER: &str =
    "(loop $again (call $remove (i32.const 4096) (i32.const 1)) (br $again)) unreachable";
/// Sets 128 KiB under two names, then under a third.
pub(crate) const HOARD: &str = r#"
    (drop (memory.grow (i32.const 2)))
    (loop $again
        (i32.store8 (i32.const 4096) (i32.add (i32.const 97) (local.get $i)))
        (call $set (i32.const 4096) (i32.const 1) (i32.const 65536) (i32.const 100000) (i32.const 0) (i64.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 3))))
    (call $ok_empty)"#;
