//! Guests that want all the memory there is, or what is not theirs.

use super::{Trial, body, done, guest, limited, trapped};
use crate::Fixture;
use crate::attempt;
use crate::fairness::spawn;
use crate::guests::{GROW_HIGH, Guest, MEMORY_BOMB, component, sleepy};

#[tokio::test]
async fn a_memory_bomb() {
    let failure = limited(body(MEMORY_BOMB).await, "memory-limit");
    assert!(failure.message.contains("67108864"), "{failure:?}");
}

#[tokio::test]
async fn memory_grown_to_the_limit_and_kept() {
    let fixture = Fixture::new();
    // 1,024 pages are the limit, and it has two.
    let kept = component("(drop (memory.grow (i32.const 1022))) (call $ok_empty)");
    let kept = fixture.load(kept).await.unwrap();
    for _ in 0..3 {
        done(kept.call(attempt()).await);
        assert_eq!(kept.idle_instances(), 0, "such an instance does not stay");
    }
    let high = fixture.load(component(GROW_HIGH)).await.unwrap();
    done(high.call(attempt()).await);
    assert_eq!(high.idle_instances(), 0);
}

#[tokio::test]
async fn memory_that_grows_a_little_in_each_attempt() {
    let fixture = Fixture::new();
    let leak = component("(drop (memory.grow (i32.const 100))) (call $ok_empty)");
    let leak = fixture.load(leak).await.unwrap();
    for _ in 0..50 {
        done(leak.call(attempt()).await);
    }
}

#[tokio::test]
async fn a_memory_declared_above_the_limit() {
    let declared = Guest {
        memory: "2000",
        ..Guest::default()
    };
    limited(guest(declared).await, "memory-limit");
}

#[tokio::test]
async fn a_table_that_grows() {
    let table = Guest {
        fields: "(table $t 1 funcref)",
        body: "(loop $again
            (drop (table.grow $t (ref.null func) (i32.const 1000)))
            (br $again)) unreachable",
        ..Guest::default()
    };
    limited(guest(table).await, "table-limit");
}

#[tokio::test]
async fn a_table_declared_above_the_limit() {
    let table = Guest {
        fields: "(table $t 0 funcref)",
        body: "(drop (table.grow $t (ref.null func) (i32.const 4000000000))) (call $ok_empty)",
        ..Guest::default()
    };
    limited(guest(table).await, "table-limit");
}

#[tokio::test]
async fn a_write_outside_its_memory() {
    trapped(
        body("(i64.store (i32.const -8) (i64.const 1)) (call $ok_empty)").await,
        "trap-memory-access",
    );
}

#[tokio::test]
async fn data_that_does_not_fit_its_memory() {
    let data = Guest {
        fields: r#"(data (i32.const 131070) "too long")"#,
        ..Guest::default()
    };
    trapped(guest(data).await, "trap-memory-access");
}

#[tokio::test]
async fn a_call_through_a_table_of_nothing() {
    let call = Guest {
        fields: "(table $t 10 funcref)",
        body: "(call_indirect $t (i32.const 3)) (call $ok_empty)",
        ..Guest::default()
    };
    trapped(guest(call).await, "trap-indirect-call");
}

#[tokio::test]
async fn a_call_through_a_table_as_another_function() {
    let call = Guest {
        fields: "(table $t 1 funcref) (elem (i32.const 0) $recurse)",
        body: "(call_indirect $t (i32.const 0)) (call $ok_empty)",
        ..Guest::default()
    };
    trapped(guest(call).await, "trap-indirect-call");
}

#[tokio::test]
async fn a_division_by_zero() {
    trapped(
        body("(drop (i32.div_s (i32.const 1) (local.get $i))) (call $ok_empty)").await,
        "trap-arithmetic",
    );
}

#[tokio::test]
async fn a_trap_in_every_attempt() {
    trapped(body("unreachable").await, "trap-unreachable");
}

#[tokio::test]
async fn a_trap_in_start_up() {
    let start = Guest {
        fields: "(start $begin) (func $begin unreachable)",
        ..Guest::default()
    };
    trapped(guest(start).await, "trap-unreachable");
}

#[tokio::test]
async fn a_memory_bomb_in_start_up() {
    let start = Guest {
        fields: "(start $begin)
            (func $begin (loop $again (drop (memory.grow (i32.const 16))) (br $again)))",
        ..Guest::default()
    };
    limited(guest(start).await, "memory-limit");
}

#[tokio::test]
async fn an_instance_that_turns_bad_after_its_first_event() {
    let fixture = Fixture::new();
    let turns = fixture
        .load(component(crate::guests::TRAP_WHEN_REUSED))
        .await
        .unwrap();
    for _ in 0..3 {
        done(turns.call(attempt()).await);
        trapped(turns.call(attempt()).await, "trap-unreachable");
        assert_eq!(turns.idle_instances(), 0);
    }
}

#[tokio::test]
async fn instances_kept_by_handlers_without_events() {
    let fixture = Fixture::new();
    let wasm = sleepy("(call $nap (i64.const 20000000)) (call $ok_empty)");
    let hoarder = fixture.load(wasm.clone()).await.unwrap();
    for outcome in spawn(&hoarder, 20).join_all().await {
        done(outcome);
    }
    assert_eq!(hoarder.idle_instances(), 16);
    let mut others = Vec::new();
    for _ in 0..199 {
        others.push(fixture.load(wasm.clone()).await.unwrap());
    }
    done(hoarder.call(attempt()).await);
    assert_eq!(hoarder.idle_instances(), 5, "a thousand for two hundred");
    drop(others);
}

#[tokio::test]
async fn an_exit() {
    let exit = Guest {
        imports: r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#,
        world: "import wasi:cli/exit@0.2.0;",
        body: "(call $exit (i32.const 0)) (call $ok_empty)",
        ..Guest::default()
    };
    let failure = trapped(Trial::of(exit.component()).run().await, "trap-exit");
    assert!(failure.message.contains("status 0"), "{failure:?}");
}
