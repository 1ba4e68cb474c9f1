use super::*;

const MANIFEST: &str = r#"
name = "billing"
version = "1.2.0"
component = "billing.wasm"
[subscribe]
topics = ["public.invoices.v1", "public.refunds.v1"]
"#;

fn manifest(text: &str) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("handler.toml"), text).unwrap();
    std::fs::write(folder.path().join("billing.wasm"), "").unwrap();
    Manifest::load(folder.path(), &Config::default()).unwrap()
}

#[test]
fn what_is_fixed_for_a_subscription_may_not_change_and_all_else_may() {
    let old = manifest(MANIFEST);
    let check = |text: &str, says: Option<&str>| {
        let reason = fixed(&old, &manifest(text));
        match says {
            Some(says) => assert!(
                reason.as_ref().is_some_and(|r| r.contains(says)),
                "{reason:?}"
            ),
            None => assert_eq!(reason, None),
        }
    };
    check(&MANIFEST.replace("1.2.0", "1.3.0"), None);
    check(&format!("{MANIFEST}[limits]\ncpu_ms = 100\n"), None);
    check(&MANIFEST.replace("refunds", "credits"), Some("topics"));
    let swapped = r#"["public.refunds.v1", "public.invoices.v1"]"#;
    let topics = r#"["public.invoices.v1", "public.refunds.v1"]"#;
    check(&MANIFEST.replace(topics, swapped), Some("topics"));
    check(
        &format!("{MANIFEST}[inbox]\nenabled = false\n"),
        Some("inbox.enabled"),
    );
    check(
        &format!("{MANIFEST}[inbox]\nkey = \"orderid\"\n"),
        Some("inbox.key (\"orderid\", and was none)"),
    );
    check(
        &format!("{MANIFEST}[ordering]\nacross_topics = true\n"),
        Some("ordering.across_topics"),
    );
}

#[test]
fn manifests_and_components_are_looked_at_and_nothing_else() {
    for (name, is_looked_at) in [
        ("handler.toml", true),
        ("billing.wasm", true),
        ("Cargo.toml", false),
        ("notes.md", false),
    ] {
        assert_eq!(
            is_handlers(&Path::new("plugins/billing").join(name)),
            is_looked_at,
            "{name}"
        );
    }
}
