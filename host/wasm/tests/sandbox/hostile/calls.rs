//! Guests that misuse what the host offers.

use tracing::Level;
use weir_core::event::Outcome;
use weir_wasm::Attempt;

use super::{Trial, done, guest, keyed, limited, trapped};
use crate::guests::{self, Guest};
use crate::lines::Lines;

/// A guest with the import `write` of the log, `$write`: level, message, fields.
fn logging(body: &str) -> Vec<u8> {
    guests::component_with(
        r#"(import "weir:handler/log@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))"#,
        body,
        "",
    )
}

/// What it ends with, and the lines of all attempts.
async fn logged(wasm: Vec<u8>) -> (Outcome, Vec<(Level, String)>) {
    let lines = Lines::capture();
    let outcome = Trial::of(wasm).run().await;
    (outcome, lines.take())
}

/// Lines within the allowance of the attempts of a trial, and one for each that says that there were more.
#[track_caller]
fn assert_bounded(lines: &[(Level, String)]) {
    let (notes, lines): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|(_, line)| line.contains("lines are dropped"));
    assert_eq!(notes.len(), super::TRIES, "{notes:?}");
    let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
    assert!(bytes <= super::TRIES * 65_536, "{bytes}");
}

#[tokio::test]
async fn a_log_flood() {
    let body = "(memory.fill (i32.const 8192) (i32.const 120) (i32.const 1000))
        (loop $again
            (call $write (i32.const 4) (i32.const 8192) (i32.const 1000) (i32.const 0) (i32.const 0))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 9000))))
        (call $ok_empty)";
    let (outcome, lines) = logged(logging(body)).await;
    done(outcome);
    assert_bounded(&lines);
}

#[tokio::test]
async fn log_lines_of_ten_megabytes() {
    let body = "(drop (memory.grow (i32.const 200)))
        (memory.fill (i32.const 65536) (i32.const 10) (i32.const 10000000))
        (loop $again
            (call $write (i32.const 4) (i32.const 65536) (i32.const 10000000) (i32.const 0) (i32.const 0))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 3))))
        (call $ok_empty)";
    let (outcome, lines) = logged(logging(body)).await;
    done(outcome);
    assert_bounded(&lines);
}

#[tokio::test]
async fn a_log_line_that_looks_like_two() {
    // `a`, a line feed, an escape, `b`.
    let body = "(i32.store (i32.const 8192) (i32.const 0x621b0a61))
        (call $write (i32.const 2) (i32.const 8192) (i32.const 4) (i32.const 0) (i32.const 0))
        (call $ok_empty)";
    let (outcome, lines) = logged(logging(body)).await;
    done(outcome);
    assert_eq!(lines[0], (Level::INFO, "a  b".to_owned()));
}

#[tokio::test]
async fn a_printed_line_that_never_ends() {
    let body = "(local.set $stream (call $stdout))
        (memory.fill (i32.const 8192) (i32.const 120) (i32.const 4096))
        (loop $again
            (call $print (local.get $stream) (i32.const 8192) (i32.const 4096) (i32.const 5000))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 5000))))
        (call $ok_empty)";
    let (outcome, lines) = logged(guests::printing(body)).await;
    done(outcome);
    assert_bounded(&lines);
}

#[tokio::test]
async fn a_state_flood() {
    limited(
        Trial::of(guests::stateful(guests::HOARD)).run().await,
        "state-limit",
    );
}

#[tokio::test]
async fn a_flood_of_empty_values_under_many_names() {
    // Names of 200 bytes, all different in their first four.
    let body = "(memory.fill (i32.const 8192) (i32.const 97) (i32.const 200))
        (loop $again
            (i32.store8 (i32.const 8192) (i32.add (i32.const 97) (i32.and (local.get $i) (i32.const 15))))
            (i32.store8 (i32.const 8193) (i32.add (i32.const 97)
                (i32.and (i32.shr_u (local.get $i) (i32.const 4)) (i32.const 15))))
            (i32.store8 (i32.const 8194) (i32.add (i32.const 97)
                (i32.and (i32.shr_u (local.get $i) (i32.const 8)) (i32.const 15))))
            (call $set (i32.const 8192) (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 4000))))
        (call $ok_empty)";
    limited(Trial::of(guests::stateful(body)).run().await, "state-limit");
}

#[tokio::test]
async fn names_that_are_removed_under_a_key_of_eight_kilobytes() {
    // Two thousand of them, each kept as a removal under the whole key.
    let body = "(loop $again
            (i32.store16 (i32.const 8192) (i32.add (i32.const 0x6161)
                (i32.or (i32.and (local.get $i) (i32.const 15))
                    (i32.shl (i32.and (i32.shr_u (local.get $i) (i32.const 4)) (i32.const 15)) (i32.const 8)))))
            (i32.store8 (i32.const 8194) (i32.add (i32.const 97) (i32.shr_u (local.get $i) (i32.const 8))))
            (call $remove (i32.const 8192) (i32.const 3))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 2000))))
        (call $ok_empty)";
    let mut trial = Trial::of(guests::stateful(body));
    trial.attempt = || Attempt {
        key: Some(vec![b'k'; 8 << 10].into()),
        ..keyed()
    };
    limited(trial.run().await, "state-limit");
}

#[tokio::test]
async fn a_name_of_state_that_is_a_book() {
    limited(
        Trial::of(guests::stateful(&guests::set_long_name(60_000)))
            .run()
            .await,
        "name-limit",
    );
}

#[tokio::test]
async fn a_timer_flood() {
    limited(
        Trial::of(guests::timed(&guests::fill_timers(101)))
            .run()
            .await,
        "timer-limit",
    );
}

#[tokio::test]
async fn a_timer_with_more_data_than_timers_have() {
    limited(
        Trial::of(guests::timed(&guests::set_timer_data(65_537)))
            .run()
            .await,
        "timer-limit",
    );
}

#[tokio::test]
async fn a_timer_after_the_end_of_time() {
    let body = "(call $after (i32.const 4096) (i32.const 1) (i64.const -1) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $ok_empty)";
    let effects = done(Trial::of(guests::timed(body)).run().await);
    let due = effects.timers[0].set.as_ref().map(|set| set.due.0);
    assert_eq!(due, Some(u64::MAX), "it does not wrap around and fire now");
}

#[tokio::test]
async fn handles_that_are_kept() {
    let body = "(loop $again (drop (call $stdout)) (br $again)) unreachable";
    let failure = trapped(Trial::of(guests::printing(body)).run().await, "trap-other");
    assert!(failure.message.contains("no free keys"), "{failure:?}");
}

#[tokio::test]
async fn a_handle_that_was_never_given() {
    let body = "(call $print (i32.const 77) (i32.const 4096) (i32.const 1) (i32.const 5000))
        (call $ok_empty)";
    trapped(Trial::of(guests::printing(body)).run().await, "trap-other");
}

#[tokio::test]
async fn a_handle_that_was_given_back() {
    let back = Guest {
        imports: r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
            (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))"#,
        world: "import wasi:cli/stdout@0.2.0;",
        body: "(local.set $stream (call $stdout))
            (call $drop (local.get $stream)) (call $drop (local.get $stream)) (call $ok_empty)",
        ..Guest::default()
    };
    trapped(guest(back).await, "trap-other");
}

#[tokio::test]
async fn random_bytes_without_end() {
    let random = Guest {
        imports: r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
        world: "import wasi:random/random@0.2.0;",
        body: "(call $random (i64.const -1) (i32.const 4096)) (call $ok_empty)",
        ..Guest::default()
    };
    trapped(guest(random).await, "trap-other");
}

#[tokio::test]
async fn a_search_for_files_sockets_and_the_environment() {
    let search = Guest {
        imports: r#"(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $files (param i32)))
            (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
            (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $socket (param i32 i32)))"#,
        world: "import wasi:filesystem/preopens@0.2.0; import wasi:cli/environment@0.2.0;
            import wasi:sockets/tcp-create-socket@0.2.0;",
        // Traps when it finds a folder, a variable, or gets a socket.
        body: "(call $files (i32.const 4096))
            (if (i32.load offset=4 (i32.const 4096)) (then unreachable))
            (call $environment (i32.const 4096))
            (if (i32.load offset=4 (i32.const 4096)) (then unreachable))
            (call $socket (i32.const 0) (i32.const 4096))
            (if (i32.eqz (i32.load8_u (i32.const 4096))) (then unreachable))
            (call $ok_empty)",
        ..Guest::default()
    };
    done(guest(search).await);
}
