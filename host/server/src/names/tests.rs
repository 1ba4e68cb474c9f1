use super::*;

fn check(name: &str, full: Option<&str>) {
    let found = expand_topic(name, "dev", "local");
    assert_eq!(found.ok().as_deref(), full, "{name:?}");
}

#[test]
fn short_names_are_completed_and_full_and_literal_ones_are_kept() {
    check("public.invoices.v1", Some("dev.local.public.invoices.v1"));
    check(
        "prod.shop.public.invoices.v12",
        Some("prod.shop.public.invoices.v12"),
    );
    check("=orders", Some("orders"));
    check("=legacy.orders_EU-1", Some("legacy.orders_EU-1"));
}

#[test]
fn every_other_name_is_refused_with_the_rule() {
    for name in [
        "",
        "orders",
        "a.b",
        "a.b.c",
        "a.b.v",
        "a.b.vx",
        "a.b.c.v1",
        "a..v1",
        "a b.c.v1",
        "=",
        "=.",
        "=..",
        "=a b",
        "a.b.c.d.e.f",
    ] {
        check(name, None);
    }
    check(&format!("={}", "x".repeat(250)), None);
    check(&format!("{}.b.v1", "x".repeat(240)), None);
    let error = expand_topic("orders", "dev", "local")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"orders\"") && error.contains(TOPIC_RULE),
        "{error}"
    );
}

#[test]
fn groups_and_dead_letter_topics_keep_their_wire_format() {
    let group = group("prod", "acme", "billing");
    assert_eq!(group, "weir.prod.acme.billing");
    assert_eq!(
        dlq_topic(&group, "prod.shop.public.invoices.v1"),
        "dlq.weir.prod.acme.billing.prod.shop.public.invoices.v1"
    );
    assert_eq!(control_topic("prod"), "_weir.prod.control");
}

#[test]
fn names_beyond_the_limit_end_with_a_hash_of_the_whole() {
    let fits = dlq_topic("weir.g", &"t".repeat(NAME_BYTES_MAX - "dlq.weir.g.".len()));
    assert_eq!(fits, format!("dlq.weir.g.{}", "t".repeat(238)));
    let long = dlq_topic("weir.g", &"t".repeat(239));
    assert_eq!(
        long,
        format!(
            "dlq.weir.g.{}.{}",
            "t".repeat(205),
            "8a1787c64dcdc6703f8b924dee203f3a"
        )
    );
    assert_eq!(long.len(), NAME_BYTES_MAX);
    let other = dlq_topic("weir.g", &format!("{}u", "t".repeat(238)));
    assert_ne!(long, other);
}

#[test]
fn names_on_kafka_are_what_other_systems_know() {
    let group = group("dev", "default", "billing");
    assert_eq!(group, "weir.dev.default.billing");
    assert_eq!(
        ledger_topic(&group),
        "_weir.weir.dev.default.billing.ledger"
    );
    assert_eq!(park_topic(&group), "_weir.weir.dev.default.billing.park");
    assert_eq!(
        commands_topic(&group),
        "_weir.weir.dev.default.billing.commands"
    );
    assert_eq!(
        transactional_id(&group, "host-1", 1),
        "weir.dev.default.billing.host-1.1"
    );
}

#[test]
fn labels_are_lower_case_letters_digits_and_hyphens() {
    for (name, is) in [
        ("billing", true),
        ("b-2", true),
        ("", false),
        ("Billing", false),
        ("a.b", false),
        ("a_b", false),
    ] {
        assert_eq!(is_label(name), is, "{name:?}");
    }
    assert!(is_label(&"x".repeat(64)) && !is_label(&"x".repeat(65)));
}

#[test]
fn dead_letters_and_internal_topics_are_weirs_own() {
    let letters = dlq_topic("weir.dev.default.billing", "dev.local.public.orders.v1");
    assert!(is_own_topic(&letters) && is_own_topic("_weir.g.ledger"));
    assert!(!is_own_topic("dev.local.public.orders.v1") && !is_own_topic("dlq-of-others"));
    for internal in ["_weir.dev.control", "_weir.g.ledger", "__consumer_offsets"] {
        assert!(is_internal_topic(internal) && is_own_topic(internal));
    }
    assert!(!is_internal_topic(&letters) && !is_internal_topic("_orders"));
}

#[test]
fn what_others_wrote_cannot_drive_a_terminal() {
    assert_eq!(printable("plain é"), "plain é");
    assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
}
