use super::*;

fn description(imports: &[&str], exports: &[&str]) -> Description {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Description {
        digest: "d".to_owned(),
        size_bytes: 2_000,
        core_module: false,
        imports: owned(imports),
        exports: owned(exports),
    }
}

/// A component that loads: the smallest there is has no handler.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

const MANIFEST: &str = r#"
name = "billing"
version = "1.2.0"
component = "billing.wasm"
[subscribe]
topics = ["public.invoices.v1", "public.refunds.v1"]
filter = [{ exact = { type = "InvoiceCreated" } }]
[emit]
topics = ["public.payments.v1"]
[limits]
memory_mib = 32
"#;

/// What is printed for a folder with this manifest and component, and what is wrong with it.
fn inspect(manifest: &str, component: Option<&[u8]>, json: bool) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("handler.toml"), manifest).unwrap();
    if let Some(bytes) = component {
        std::fs::write(folder.path().join("billing.wasm"), bytes).unwrap();
    }
    let mut out = Vec::new();
    let config = crate::config::Config::default();
    let faults = handler::run(folder.path(), &config, json, &mut out).err();
    let faults = faults.map_or_else(String::new, |error| error.to_string());
    (String::from_utf8(out).unwrap(), faults)
}

#[test]
fn the_world_is_the_handlers_with_an_interface_for_each_grant() {
    let imports = [
        "weir:handler/state@0.1.0",
        "weir:handler/log@0.1.0",
        "wasi:http/outgoing-handler@0.2.6",
    ];
    let found = description(&imports, &["weir:handler/handler@0.1.0"]);
    assert_eq!(needs(&found), [Grant::State, Grant::Http]);
    assert_eq!(
        world(&found).unwrap(),
        "weir:handler/event-handler@0.1.0 + state + http"
    );
    assert_eq!(world(&description(&imports, &["run"])), None);
}

#[test]
fn an_import_without_a_grant_needs_none() {
    for import in [
        "weir:handler/log@0.1.0",
        "weir:handler/http@0.1.0",
        "wasi:cli/environment@0.2.6",
    ] {
        assert_eq!(needed(import), None, "{import}");
    }
}

#[test]
fn a_folder_is_shown_in_its_deployed_form() {
    let (text, faults) = inspect(MANIFEST, Some(EMPTY_COMPONENT), false);
    for part in [
        "billing 1.2.0, tenant default",
        "weir.dev.default.billing",
        "dev.local.public.refunds.v1",
        "dlq.weir.dev.default.billing.dev.local.public.invoices.v1",
        r#"[{"exact":{"type":"InvoiceCreated"}}]"#,
        "dev.local.public.payments.v1",
        "cooperative-sticky",
        "memory 32 MiB, 250 ms of CPU",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(
        faults.contains("does not export `weir:handler/handler@0.1.0`"),
        "{faults}"
    );
}

/// As [`crate::kafka`] joins every group, whatever the handler reads.
#[test]
fn partitions_are_divided_by_number_and_move_one_at_a_time_for_every_handler() {
    let joining = "its topics, which need equal partition counts";
    for (more, joins) in [
        ("", false),
        ("[grants]\nstate = true\n", true),
        ("[ordering]\nacross_topics = true\n", true),
    ] {
        let manifest = format!("{MANIFEST}\n{more}");
        let (text, _) = inspect(&manifest, Some(EMPTY_COMPONENT), false);
        assert!(text.contains("cooperative-sticky (by partition number"));
        assert_eq!(text.contains(joining), joins, "{text}");
        let (text, _) = inspect(&manifest, Some(EMPTY_COMPONENT), true);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["handler"]["assignor"], "cooperative-sticky");
        assert_eq!(value["component"]["exports"], json!([]));
    }
}

#[test]
fn what_a_handler_is_granted_and_how_it_is_ordered_is_shown() {
    let manifest =
        format!("{MANIFEST}\n[grants]\nstate = true\n[ordering]\nacross_topics = true\n");
    let (text, _) = inspect(&manifest, Some(EMPTY_COMPONENT), true);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["handler"]["grants"], json!(["state"]));
    assert_eq!(value["handler"]["across_topics"], true);
}

#[test]
fn faults_of_manifest_and_component_are_told_together() {
    let wrong = MANIFEST.replace("1.2.0", "one") + "colour = 1\n";
    let (_, faults) = inspect(&wrong, Some(b"#!/bin/sh"), false);
    for part in ["version", "limits.colour", "it looks like a script"] {
        assert!(faults.contains(part), "{part:?} is not in {faults}");
    }
    let (text, faults) = inspect(&wrong, None, true);
    assert!(faults.contains("there is no file"), "{faults}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["handler"], Value::Null);
    assert_eq!(value["faults"].as_array().unwrap().len(), 3, "{value}");
}
