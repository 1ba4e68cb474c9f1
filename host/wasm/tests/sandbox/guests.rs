//! Guests in the text format: core modules over the canonical ABI, with the metadata that toolchains embed.
//!
//! The exported function takes one flattened event. It has 16 flat parameters at most; an event has more, so it arrives
//! as one pointer. Its result does not fit either and is returned as a pointer too.

mod wasi;

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The name of the exported function in a core module.
const EXPORT: &str = "weir:handler/handler@0.1.0#handle";

/// Where `handle` may put its result: within the first page, below the heap.
pub(crate) const RESULT: u32 = 1_024;

/// What every guest is built against.
const BASE: &str = "include weir:handler/event-handler@0.1.0;";

/// Bumps from the second page and never frees.
const REALLOC: &str = r#"
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $enough
        (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $enough (i32.ne (i32.const -1) (memory.grow
            (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16))))))
        unreachable)
    (local.get $at)"#;

/// A core module, part by part; what is not replaced is honest.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    /// Imports of the core module.
    pub(crate) imports: &'a str,
    /// What the world has beside the handler.
    pub(crate) world: &'a str,
    /// Size of the memory, in pages.
    pub(crate) memory: &'a str,
    /// Body of `cabi_realloc`: `$size` and `$align` are its parameters, `$at` a local.
    pub(crate) realloc: &'a str,
    /// More fields of the module.
    pub(crate) fields: &'a str,
    /// Body of `handle`: `$event` is the event's address, `$i` and `$stream` are locals.
    pub(crate) body: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            world: "",
            memory: "2",
            realloc: REALLOC,
            fields: "",
            body: IGNORE,
        }
    }
}

impl Guest<'_> {
    /// The core module, with the metadata that toolchains embed.
    pub(crate) fn module(&self) -> Vec<u8> {
        let Self {
            imports,
            memory,
            realloc,
            fields,
            body,
            ..
        } = self;
        let text = format!(
            r#"(module $guest
            {imports}
            (memory (export "memory") {memory})
            (global $heap (mut i32) (i32.const 65536))
            (func $realloc (export "cabi_realloc")
                (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                {realloc})
            (global $calls (mut i32) (i32.const 0))
            (func $recurse (param i32) (result i32)
                (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
            (func $dig unreachable)
            (func $ok_empty (result i32)
                ;; result<list<emission>, failure>: discriminant, then (address, length) of the list.
                (i32.store8 (i32.const {RESULT}) (i32.const 0))
                (i64.store offset=8 (i32.const {RESULT}) (i64.const 0))
                (i32.const {RESULT}))
            {fields}
            (func $handle (export "{EXPORT}") (param $event i32) (result i32) (local $i i32) (local $stream i32)
                {body})
        )"#
        );
        let mut module = wat::parse_str(text).unwrap();
        let world = format!("{BASE} {}", self.world);
        embed(&mut module, &world);
        module
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        encode(&self.module())
    }
}

/// Puts the metadata of this world into a module.
fn embed(module: &mut Vec<u8>, world: &str) {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1.0");
    resolve.push_dir(&wit).unwrap();
    for package in wasi::PACKAGES {
        resolve.push_str("wasi.wit", package).unwrap();
    }
    let test = format!("package test:guest;\nworld guest {{ {world} }}");
    let guest = resolve.push_str("guest.wit", &test).unwrap();
    let world = resolve.select_world(&[guest], Some("guest")).unwrap();
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
}

/// A core module whose `handle` has this body, with embedded metadata.
pub(crate) fn core_module(imports: &str, body: &str, world: &str) -> Vec<u8> {
    Guest {
        imports,
        body,
        world,
        ..Guest::default()
    }
    .module()
}

/// A component whose `handle` has this body and which imports nothing that needs a grant.
pub(crate) fn component(body: &str) -> Vec<u8> {
    component_with("", body, "")
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
/// Traps in a function that `handle` calls.
pub(crate) const TRAP_DEEP: &str = "(call $dig) unreachable";
pub(crate) const RECURSE: &str = "(drop (call $recurse (i32.const 0))) (call $ok_empty)";
pub(crate) const MEMORY_BOMB: &str =
    "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";
/// Traps at the second call of the same instance.
pub(crate) const TRAP_WHEN_REUSED: &str = "(if (global.get $calls) (then unreachable)) \
     (global.set $calls (i32.const 1)) (call $ok_empty)";
/// Grows to above three quarters of the default memory limit and is content.
pub(crate) const GROW_HIGH: &str = "(drop (memory.grow (i32.const 800))) (call $ok_empty)";

/// Counts so far and publishes nothing; a machine of these years counts a million in about a millisecond.
pub(crate) fn count_to(millions: u32) -> String {
    format!(
        "(loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {millions}000000))))
        (call $ok_empty)"
    )
}

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

/// Echoes the event with a delay of 90 s.
pub(crate) fn echo_later() -> String {
    // The emission lies at 2,048; nothing is called between this and the return.
    format!(
        "{}
         (i32.store8 (i32.const 2160) (i32.const 1))
         (i64.store (i32.const 2168) (i64.const 90000))",
        echo()
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

/// Puts a text into memory.
fn store(at: usize, text: &str) -> String {
    let bytes = text.bytes().enumerate();
    bytes
        .map(|(i, b)| format!("(i32.store8 (i32.const {}) (i32.const {b}))\n", at + i))
        .collect()
}

/// Fails with kind, code and message (at most 1,000 bytes each; texts lie at 4,096 and 8,192).
pub(crate) fn fail(kind: u32, code: &str, message: &str) -> String {
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
        code_bytes = store(4_096, code),
        message_bytes = store(8_192, message),
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
        "import weir:handler/state@0.1.0;",
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
/// Sets 100,000 bytes under each of three names.
pub(crate) const HOARD: &str = r#"
    (drop (memory.grow (i32.const 2)))
    (loop $again
        (i32.store8 (i32.const 4096) (i32.add (i32.const 97) (local.get $i)))
        (call $set (i32.const 4096) (i32.const 1) (i32.const 65536) (i32.const 100000) (i32.const 0) (i64.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 3))))
    (call $ok_empty)"#;

/// Sets `n` to `x` for no time, reads it, and traps when it is not there.
pub(crate) fn set_for_no_time() -> String {
    format!(
        r#"{n_and_x}
        (call $set (i32.const 4096) (i32.const 1) (i32.const 4097) (i32.const 1) (i32.const 1) (i64.const 0))
        (call $get (i32.const 4096) (i32.const 1) (i32.const 5000))
        (if (i32.eqz (i32.load8_u (i32.const 5000))) (then unreachable))
        (call $ok_empty)"#,
        n_and_x = store(4_096, "nx")
    )
}

/// Sets `n`.
pub(crate) fn set_n(value: &str) -> String {
    format!(
        "{n_and_value}
        (call $set (i32.const 4096) (i32.const 1) (i32.const 4097) (i32.const {}) (i32.const 0) (i64.const 0))
        (call $ok_empty)",
        value.len(),
        n_and_value = store(4_096, &format!("n{value}"))
    )
}

/// Sets a value under a name of so many bytes.
pub(crate) fn set_long_name(bytes: u32) -> String {
    format!(
        "(memory.fill (i32.const 4096) (i32.const 97) (i32.const {bytes}))
        (call $set (i32.const 4096) (i32.const {bytes}) (i32.const 4096) (i32.const 1) (i32.const 0) (i64.const 0))
        (call $ok_empty)"
    )
}

/// A guest with the grant `timers`: its `handle` has this body; `$after`, `$at`, `$cancel` are the core imports.
pub(crate) fn timed(body: &str) -> Vec<u8> {
    component_with(
        r#"(import "weir:handler/timers@0.1.0" "set-after" (func $after (param i32 i32 i64 i32 i32 i32)))
           (import "weir:handler/timers@0.1.0" "set-at" (func $at (param i32 i32 i64 i32 i32 i32)))
           (import "weir:handler/timers@0.1.0" "cancel" (func $cancel (param i32 i32)))"#,
        body,
        "import weir:handler/timers@0.1.0;",
    )
}

/// Sets `a` after 5 s with data, `b` at 77, cancels `c`, and sets `a` after 6 s.
pub(crate) fn set_timers() -> String {
    format!(
        "{abc}
        (call $after (i32.const 4096) (i32.const 1) (i64.const 5000) (i32.const 1) (i32.const 4096) (i32.const 2))
        (call $at (i32.const 4097) (i32.const 1) (i64.const 77) (i32.const 1) (i32.const 4096) (i32.const 3))
        (call $cancel (i32.const 4098) (i32.const 1))
        (call $after (i32.const 4096) (i32.const 1) (i64.const 6000) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $ok_empty)",
        abc = store(4_096, "abc")
    )
}

/// Cancels `x`, then sets so many timers with names of two letters: `aa`, `ba`, ..
pub(crate) fn fill_timers(count: u32) -> String {
    format!(
        "{x}
        (call $cancel (i32.const 4096) (i32.const 1))
        (loop $again
            (i32.store8 (i32.const 4096) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 16))))
            (i32.store8 (i32.const 4097) (i32.add (i32.const 97) (i32.div_u (local.get $i) (i32.const 16))))
            (call $at (i32.const 4096) (i32.const 2) (i64.const 77) (i32.const 0) (i32.const 0) (i32.const 0))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
        (call $ok_empty)",
        x = store(4_096, "x")
    )
}

/// Sets one timer with so many bytes of data.
pub(crate) fn set_timer_data(bytes: u32) -> String {
    format!(
        "(call $at (i32.const 4096) (i32.const 1) (i64.const 77) (i32.const 1) (i32.const 8192) (i32.const {bytes}))
        (call $ok_empty)"
    )
}

pub(crate) const CANCEL: &str = "(call $cancel (i32.const 4096) (i32.const 1)) (call $ok_empty)";

/// A guest that prints: `$stdout` and `$stderr` return a stream, `$print` takes it, a text, and where to answer.
pub(crate) fn printing(body: &str) -> Vec<u8> {
    component_with(
        r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
           (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
           (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
               (func $print (param i32 i32 i32 i32)))"#,
        body,
        "import wasi:cli/stdout@0.2.0; import wasi:cli/stderr@0.2.0;",
    )
}

/// Prints a line and a half to standard output, and an unfinished line to standard error.
pub(crate) fn print() -> String {
    format!(
        "{texts}
        (call $print (call $stdout) (i32.const 4096) (i32.const 15) (i32.const 5000))
        (call $print (call $stderr) (i32.const 4111) (i32.const 4) (i32.const 5000))
        (call $ok_empty)",
        texts = store(4_096, "one line\nanoth\x1boops")
    )
}

/// Prints a line of so many bytes, so many times, to standard output.
pub(crate) fn print_often(times: u32, bytes: u32) -> String {
    format!(
        "(local.set $stream (call $stdout))
        (memory.fill (i32.const 8192) (i32.const 120) (i32.const {bytes}))
        (i32.store8 (i32.add (i32.const 8191) (i32.const {bytes})) (i32.const 10))
        (loop $again
            (call $print (local.get $stream) (i32.const 8192) (i32.const {bytes}) (i32.const 5000))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
        (call $ok_empty)"
    )
}

/// An honest handler whose clean-up after the call (its post-return function) has this body.
pub(crate) fn with_clean_up(body: &str) -> Vec<u8> {
    with_clean_up_and("", body)
}

/// The same with imports.
pub(crate) fn with_clean_up_and(imports: &str, body: &str) -> Vec<u8> {
    let fields = format!(r#"(func (export "cabi_post_{EXPORT}") (param i32) {body})"#);
    Guest {
        imports,
        fields: &fields,
        ..Guest::default()
    }
    .component()
}

/// Puts a pattern of one emission at 2,048: zeroes, and what `stores` writes there.
fn emission(stores: &str) -> String {
    format!("(memory.fill (i32.const 2048) (i32.const 0) (i32.const 128)) {stores}")
}

/// Returns this many emissions from this address on.
pub(crate) fn return_list(at: u32, count: u32) -> String {
    format!(
        "(i32.store8 (i32.const {RESULT}) (i32.const 0))
         (i32.store offset=8 (i32.const {RESULT}) (i32.const {at}))
         (i32.store offset=12 (i32.const {RESULT}) (i32.const {count}))
         (i32.const {RESULT})"
    )
}

/// Emits one event of which these stores, relative to 2,048, write the parts; see [`echo`] for the places.
pub(crate) fn emit(stores: &str) -> String {
    format!("{} {}", emission(stores), return_list(2_048, 1))
}

/// Emits one event with so many extensions, all of one name or each of its own.
pub(crate) fn emit_extensions(count: u32) -> String {
    // Names of four letters at 131,072; then (name, value) pairs of addresses and lengths at 1 MiB, values empty.
    format!(
        "(drop (memory.grow (i32.const 32)))
        (loop $again
            (i32.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 2)))
                (i32.add (i32.const 0x61616161)
                    (i32.or (i32.and (local.get $i) (i32.const 15))
                    (i32.or (i32.shl (i32.and (i32.shr_u (local.get $i) (i32.const 4)) (i32.const 15)) (i32.const 8))
                    (i32.or (i32.shl (i32.and (i32.shr_u (local.get $i) (i32.const 8)) (i32.const 15)) (i32.const 16))
                            (i32.shl (i32.and (i32.shr_u (local.get $i) (i32.const 12)) (i32.const 15)) (i32.const 24)))))))
            (i32.store (i32.add (i32.const 1048576) (i32.shl (local.get $i) (i32.const 4)))
                (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 2))))
            (i32.store offset=4 (i32.add (i32.const 1048576) (i32.shl (local.get $i) (i32.const 4))) (i32.const 4))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
        {}",
        emit(&format!(
            "(i32.store (i32.const {}) (i32.const 1048576)) (i32.store (i32.const {}) (i32.const {count}))",
            2_048 + 92,
            2_048 + 96
        ))
    )
}

/// A guest that can sleep: `$nap` takes nanoseconds.
pub(crate) fn sleepy(body: &str) -> Vec<u8> {
    Guest {
        imports: r#"(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
            (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
            (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
            (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
                (func $subscribe (param i64) (result i32)))"#,
        world: "import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0;",
        fields: "(func $nap (param i64) (local $pollable i32)
            (local.set $pollable (call $subscribe (local.get 0)))
            (call $block (local.get $pollable))
            (call $drop (local.get $pollable)))",
        body,
        ..Guest::default()
    }
    .component()
}
