use super::*;

#[test]
fn host_of_a_fleet_is_told_from_one_that_has_all_in_its_data_directory() {
    for (status, in_fleet) in [
        (r#"{"store":null,"hosts":[],"alone":null}"#, false),
        (
            r#"{"store":null,"hosts":[{"host_id":"a"}],"alone":null}"#,
            true,
        ),
        (
            r#"{"store":null,"hosts":[],"alone":"the cluster has no topic"}"#,
            true,
        ),
        // An older host has neither.
        ("{}", false),
    ] {
        let status_of: Status = serde_json::from_str(status).unwrap();
        assert_eq!(status_of.in_fleet(), in_fleet, "{status}");
    }
}
