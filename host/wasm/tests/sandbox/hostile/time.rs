//! Guests that want all the time there is.

use std::time::Duration;

use super::{Trial, body, guest, limited, trapped};
use crate::guests::{self, Guest, IGNORE, LOOP, RECURSE, sleepy};

/// A memory of 60 MiB, below the limit.
const PAGES: &str = "960";
/// All of it.
const BYTES: u32 = 960 << 16;

#[tokio::test]
async fn an_endless_loop() {
    limited(body(LOOP).await, "cpu-limit");
}

#[tokio::test]
async fn a_tree_of_calls_without_a_loop() {
    let tree = Guest {
        fields: "(func $tree (param i32)
            (if (local.get 0) (then
                (call $tree (i32.sub (local.get 0) (i32.const 1)))
                (call $tree (i32.sub (local.get 0) (i32.const 1))))))",
        body: "(call $tree (i32.const 60)) (call $ok_empty)",
        ..Guest::default()
    };
    limited(guest(tree).await, "cpu-limit");
}

#[tokio::test]
async fn deep_recursion() {
    trapped(body(RECURSE).await, "trap-stack-overflow");
}

#[tokio::test]
async fn calls_of_the_host_from_the_end_of_the_stack() {
    // Frames of a kilobyte and a call in each: the last ones are made where hardly any stack is left.
    let live: String = (0..128)
        .map(|n| format!("(i64.load (i32.const {}))\n", n * 8))
        .collect();
    let fields = format!(
        "(func $down (param i32) (result i64)
            {live}
            (drop (call $attempt))
            (call $down (i32.add (local.get 0) (i32.const 1)))
            {})",
        "i64.add\n".repeat(128)
    );
    let deep = Guest {
        imports: r#"(import "weir:handler/context@0.1.0" "attempt" (func $attempt (result i32)))"#,
        fields: &fields,
        body: "(drop (call $down (i32.const 0))) (call $ok_empty)",
        ..Guest::default()
    };
    trapped(guest(deep).await, "trap-stack-overflow");
}

#[tokio::test]
async fn a_loop_over_filling_all_of_its_memory() {
    let fill = format!(
        "(loop $again
            (memory.fill (i32.const 0) (i32.const 7) (i32.const {BYTES}))
            (br $again)) unreachable"
    );
    let fill = Guest {
        memory: PAGES,
        body: &fill,
        ..Guest::default()
    };
    limited(guest(fill).await, "cpu-limit");
}

#[tokio::test]
async fn a_loop_over_copying_all_of_its_memory() {
    let copy = format!(
        "(loop $again
            (memory.copy (i32.const 0) (i32.const 1) (i32.const {}))
            (br $again)) unreachable",
        BYTES - 1
    );
    let copy = Guest {
        memory: PAGES,
        body: &copy,
        ..Guest::default()
    };
    limited(guest(copy).await, "cpu-limit");
}

#[tokio::test]
async fn a_thousand_fills_of_all_memory_in_a_row() {
    // No loop and no call between them, where a tick would be noticed.
    let fill = format!("(memory.fill (i32.const 0) (i32.const 7) (i32.const {BYTES}))\n");
    let fills = Guest {
        memory: PAGES,
        body: &format!("{} {IGNORE}", fill.repeat(1_000)),
        ..Guest::default()
    };
    limited(guest(fills).await, "cpu-limit");
}

#[tokio::test]
async fn a_loop_over_filling_a_table() {
    let fill = Guest {
        fields: "(table $t 10000 funcref)",
        body: "(loop $again
            (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000))
            (br $again)) unreachable",
        ..Guest::default()
    };
    limited(guest(fill).await, "cpu-limit");
}

#[tokio::test]
async fn endless_calls_of_the_host() {
    limited(
        Trial::of(guests::stateful(guests::CALL_FOR_EVER))
            .run()
            .await,
        "host-call-limit",
    );
}

#[tokio::test]
async fn endless_calls_of_wasi() {
    limited(
        Trial::of(guests::printing(&guests::print_often(u32::MAX, 1)))
            .run()
            .await,
        "host-call-limit",
    );
}

#[tokio::test]
async fn a_sleep_for_ever() {
    let sleep = Trial::of(sleepy("(call $nap (i64.const -1)) (call $ok_empty)"));
    let outcome = sleep
        .with(|options| options.limits.wall = Duration::from_millis(300))
        .run()
        .await;
    limited(outcome, "wall-limit");
}

#[tokio::test]
async fn work_hidden_between_naps() {
    // A millisecond of sleep, then about as long at work: it is never at work for as long as a tick.
    let body = "(loop $for_ever
        (call $nap (i64.const 1000000))
        (local.set $i (i32.const 0))
        (loop $work
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $work (i32.lt_u (local.get $i) (i32.const 2000000))))
        (br $for_ever)) unreachable";
    let outcome = Trial::of(sleepy(body))
        .with(|options| options.limits.wall = Duration::from_secs(600))
        .run()
        .await;
    limited(outcome, "cpu-limit");
}

#[tokio::test]
async fn a_look_at_the_clock_until_time_is_over() {
    let outcome = Trial::of(sleepy(
        "(loop $again (drop (call $now)) (br $again)) unreachable",
    ));
    limited(outcome.run().await, "host-call-limit");
}

#[tokio::test]
async fn a_start_function_that_never_ends() {
    let start = Guest {
        fields: "(start $begin) (func $begin (loop $again (br $again)))",
        ..Guest::default()
    };
    limited(guest(start).await, "cpu-limit");
}

#[tokio::test]
async fn an_allocator_that_never_ends() {
    let realloc = Guest {
        realloc: LOOP,
        ..Guest::default()
    };
    limited(guest(realloc).await, "cpu-limit");
}

#[tokio::test]
async fn a_clean_up_that_never_ends() {
    let outcome = Trial::of(guests::with_clean_up("(loop $again (br $again))"));
    limited(outcome.run().await, "cpu-limit");
}
