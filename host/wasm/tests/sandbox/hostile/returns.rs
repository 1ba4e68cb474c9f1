//! Guests that lie at the canonical ABI: in what they return, and in how they allocate.

use weir_core::event::{FailureKind, Outcome};

use super::{Trial, body, done, ends_in, guest, limited, refused, trapped};
use crate::guests::{self, Guest, RESULT, emit, return_list};

/// Memory grown to 62 MiB.
const LARGE: &str = "(drop (memory.grow (i32.const 990)))";
const LARGE_BYTES: u32 = 992 << 16;

#[tokio::test]
async fn a_result_outside_its_memory() {
    trapped(body("(i32.const 131064)").await, "trap-abi");
    trapped(body("(i32.const -8)").await, "trap-abi");
}

#[tokio::test]
async fn a_result_at_a_crooked_address() {
    trapped(body("(i32.const 1025)").await, "trap-abi");
}

#[tokio::test]
async fn a_list_that_ends_outside_its_memory() {
    trapped(body(&return_list(2_048, 1_100)).await, "trap-abi");
    trapped(body(&return_list(2_048, u32::MAX)).await, "trap-abi");
}

#[tokio::test]
async fn a_text_that_ends_outside_its_memory() {
    let long = emit(
        "(i32.store (i32.const 2048) (i32.const 131000)) (i32.store (i32.const 2052) (i32.const 1000))",
    );
    trapped(body(&long).await, "trap-abi");
}

#[tokio::test]
async fn a_list_of_half_a_million_emissions() {
    let list = format!("{LARGE} {}", return_list(65_536, LARGE_BYTES / 128 - 512));
    limited(body(&list).await, "copy-limit");
}

#[tokio::test]
async fn a_thousand_and_one_emissions() {
    assert_eq!(
        done(body(&guests::emit_many(1_000)).await).emissions.len(),
        1_000
    );
    refused(body(&guests::emit_many(1_001)).await, "emission-limit");
}

#[tokio::test]
async fn one_megabyte_that_a_thousand_emissions_share() {
    // A gigabyte once it is copied out.
    let shared = format!(
        "{LARGE}
        (loop $again
            (i32.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 7))) (i32.const 1048576))
            (i32.store offset=4 (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 7))) (i32.const 1048576))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))
        {}",
        return_list(131_072, 1_000)
    );
    limited(body(&shared).await, "copy-limit");
}

#[tokio::test]
async fn a_giant_text() {
    let text = |bytes: u32| {
        let stores = "(i32.store (i32.const 2048) (i32.const 1048576))";
        let emit = emit(&format!(
            "{stores} (i32.store (i32.const 2052) (i32.const {bytes}))"
        ));
        format!("{LARGE} {emit}")
    };
    refused(body(&text((1 << 20) + 1)).await, "emission-limit");
    limited(body(&text(60 << 20)).await, "copy-limit");
}

#[tokio::test]
async fn ten_thousand_extensions() {
    assert_eq!(
        done(body(&guests::emit_extensions(64)).await).emissions[0]
            .extensions
            .len(),
        64
    );
    refused(body(&guests::emit_extensions(65)).await, "emission-limit");
    refused(
        body(&guests::emit_extensions(10_000)).await,
        "emission-limit",
    );
}

#[tokio::test]
async fn invalid_utf8() {
    let text = emit(
        "(i32.store8 (i32.const 4096) (i32.const 0xff))
         (i32.store (i32.const 2048) (i32.const 4096)) (i32.store (i32.const 2052) (i32.const 1))",
    );
    trapped(body(&text).await, "trap-abi");
}

#[tokio::test]
async fn invalid_tags_of_variants() {
    // The result itself, an option (`topic`), the record key, and the kind of a failure.
    let result = format!("(i32.store8 (i32.const {RESULT}) (i32.const 7)) (i32.const {RESULT})");
    let topic = emit("(i32.store8 (i32.const 2056) (i32.const 9))");
    let key = emit("(i32.store8 (i32.const 2068) (i32.const 4))");
    for lie in [result, topic, key, guests::fail(200, "code", "message")] {
        trapped(body(&lie).await, "trap-abi");
    }
}

#[tokio::test]
async fn a_failure_with_a_novel_for_a_message() {
    // Code and message are the same ten megabytes of line feeds.
    let novel = format!(
        "{LARGE}
        (memory.fill (i32.const 65536) (i32.const 10) (i32.const 5000000))
        (i32.store8 (i32.const {RESULT}) (i32.const 1))
        (i32.store8 offset=8 (i32.const {RESULT}) (i32.const 2))
        (i32.store offset=12 (i32.const {RESULT}) (i32.const 65536))
        (i32.store offset=16 (i32.const {RESULT}) (i32.const 5000000))
        (i32.store offset=20 (i32.const {RESULT}) (i32.const 65536))
        (i32.store offset=24 (i32.const {RESULT}) (i32.const 5000000))
        (i32.store8 offset=32 (i32.const {RESULT}) (i32.const 0))
        (i32.const {RESULT})"
    );
    let failure = refused(body(&novel).await, &"-".repeat(64));
    assert_eq!(failure.message.len(), 1_024);
}

#[tokio::test]
async fn a_wish_to_be_tried_again_in_a_million_years() {
    let later = format!(
        "{} (i64.store offset=40 (i32.const {RESULT}) (i64.const -1))",
        guests::fail(0, "later", "much later")
    );
    let failure = ends_in(body(&later).await, FailureKind::Transient, "later");
    assert_eq!(failure.retry_after_ms, Some(u64::MAX));
}

/// A guest that is honest but for its allocator.
async fn allocator(realloc: &str) -> Outcome {
    let guest_with = Guest {
        realloc,
        ..Guest::default()
    };
    guest(guest_with).await
}

#[tokio::test]
async fn an_allocation_outside_its_memory() {
    trapped(allocator("(i32.const -65536)").await, "trap-abi");
}

#[tokio::test]
async fn an_allocation_at_a_crooked_address() {
    trapped(allocator("(i32.const 65537)").await, "trap-abi");
}

#[tokio::test]
async fn an_allocator_that_traps() {
    trapped(allocator("unreachable").await, "trap-unreachable");
}

#[tokio::test]
async fn allocations_on_top_of_each_other() {
    // It gets a garbled event, which is nobody's loss but its own.
    done(allocator("(i32.const 65536)").await);
}

#[tokio::test]
async fn an_allocator_that_calls_the_host() {
    let calls = Guest {
        imports: r#"(import "weir:handler/context@0.1.0" "attempt" (func $attempt (result i32)))"#,
        realloc: "(drop (call $attempt)) (i32.const 65536)",
        ..Guest::default()
    };
    trapped(guest(calls).await, "trap-abi");
}

#[tokio::test]
async fn a_clean_up_that_calls_the_host() {
    let calls = guests::with_clean_up_and(
        r#"(import "weir:handler/context@0.1.0" "attempt" (func $attempt (result i32)))"#,
        "(drop (call $attempt))",
    );
    trapped(Trial::of(calls).run().await, "trap-abi");
}

#[tokio::test]
async fn a_clean_up_that_traps() {
    let outcome = Trial::of(guests::with_clean_up("unreachable")).run().await;
    trapped(outcome, "trap-unreachable");
}
