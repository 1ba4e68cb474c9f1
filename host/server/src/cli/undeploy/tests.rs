use super::*;

#[test]
fn deletion_wants_the_name_typed_or_the_word_written() {
    for (input, is_terminal, says) in [
        ("billing\n", true, None),
        ("  billing", true, None),
        ("yes\n", true, Some("nothing was deleted")),
        ("", true, Some("nothing was deleted")),
        ("billing\n", false, Some("--yes")),
    ] {
        let result = confirm(
            "billing",
            &mut input.as_bytes(),
            &mut Vec::new(),
            is_terminal,
        );
        let message = result.err().map(|error| error.to_string());
        match says {
            Some(says) => assert!(
                message.as_ref().is_some_and(|text| text.contains(says)),
                "{input:?}: {message:?}"
            ),
            None => assert_eq!(message, None, "{input:?}"),
        }
    }
}

#[test]
fn without_the_word_purge_it_is_said_what_stays() {
    let mut out = Vec::new();
    explain("billing", &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for part in [
        "position, inbox and state",
        "dead letters",
        "weir undeploy billing --purge",
        "In a fleet",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
