use std::collections::BTreeSet;

use clap::Parser as _;

use super::*;
use crate::cli::Cli;

fn site(handler: &str, partition: Option<u32>) -> Site {
    Site::Handler {
        tenant: "default".into(),
        handler: handler.into(),
        partition,
    }
}

#[test]
fn every_alarm_has_a_code_of_its_own_a_meaning_and_a_remedy() {
    let codes: BTreeSet<_> = Alarm::ALL.iter().map(|alarm| alarm.code()).collect();
    assert_eq!(codes.len(), Alarm::ALL.len());
    for alarm in Alarm::ALL {
        let code = alarm.code();
        assert!(
            code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{code}"
        );
        let (meaning, remedy) = (alarm.meaning(), alarm.remedy(&site("billing", None)));
        assert!(meaning.ends_with('.') && meaning.len() > 30, "{meaning}");
        assert!(!meaning.contains("  ") && !remedy.contains("  "), "{code}");
        assert!(remedy.len() > 30, "{remedy}");
    }
}

#[test]
fn every_command_of_a_remedy_is_one_of_this_program() {
    for alarm in Alarm::ALL {
        let remedy = alarm.remedy(&site("billing", Some(3)));
        for command in remedy.split('`').skip(1).step_by(2) {
            let words: Vec<_> = command.split(' ').collect();
            assert_eq!(words[0], "weir", "{remedy}");
            if let Err(error) = Cli::try_parse_from(&words) {
                use clap::error::ErrorKind::{
                    DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument,
                };
                let incomplete = matches!(
                    error.kind(),
                    MissingRequiredArgument | DisplayHelpOnMissingArgumentOrSubcommand
                );
                assert!(incomplete, "{command}: {error}");
            }
        }
    }
}

#[test]
fn an_alarm_keeps_its_time_until_it_is_cleared_and_the_worst_comes_first() {
    let alarms = Alarms::default();
    alarms.raise(Alarm::InboxShort, site("a", Some(1)), "first");
    let since = alarms.raised()[0].since;
    alarms.raise(Alarm::InboxShort, site("a", Some(1)), "second");
    alarms.raise(Alarm::Stalled, site("a", Some(1)), "x");
    alarms.raise(Alarm::Stalled, site("a", Some(2)), "x");
    let raised = alarms.raised();
    let kinds: Vec<_> = raised.iter().map(|one| one.alarm).collect();
    assert_eq!(kinds, [Alarm::Stalled, Alarm::Stalled, Alarm::InboxShort]);
    assert_eq!(
        (raised[2].since, raised[2].detail.as_str()),
        (since, "second")
    );

    alarms.clear(Alarm::Stalled, &site("a", Some(2)));
    alarms.clear(Alarm::Stalled, &site("b", Some(1)));
    let sites: Vec<_> = alarms.raised().into_iter().map(|one| one.site).collect();
    assert_eq!(sites, [site("a", Some(1)), site("a", Some(1))]);
}

#[test]
fn a_handler_that_is_undeployed_leaves_no_alarms() {
    let alarms = Alarms::default();
    for handler in ["a", "b"] {
        alarms.raise(Alarm::Stalled, site(handler, Some(1)), "x");
        alarms.raise(Alarm::ReloadFailed, site(handler, None), "x");
    }
    alarms.raise(Alarm::IntakeStopped, Site::Host, "x");
    alarms.clear_handler("default", "a");
    let handlers: Vec<_> = alarms
        .raised()
        .iter()
        .map(|one| one.site.handler().map(str::to_owned))
        .collect();
    assert_eq!(handlers, [Some("b".to_owned()), None, Some("b".to_owned())]);
}

/// What `docs/operating.md` has to say of the alarms.
fn table() -> String {
    let row = |alarm: &Alarm| {
        format!(
            "| `{}` | {} | {} | {} |\n",
            alarm.code(),
            alarm.severity().name(),
            alarm.meaning(),
            alarm.remedy(&Site::Host)
        )
    };
    let rows: String = Alarm::ALL.iter().map(row).collect();
    format!("| Alarm | | What it means | What to do |\n|---|---|---|---|\n{rows}")
}

#[test]
fn the_manual_has_the_table_of_all_alarms() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = table();
    assert!(
        page.contains(&table),
        "docs/operating.md lacks this table:\n{table}"
    );
}
