use clap::CommandFactory;

use super::*;

#[test]
fn faults_of_the_config_and_of_the_handlers_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let (config, handler) = (folder.path().join("weir.toml"), folder.path().join("h"));
    std::fs::write(&config, "colour = 1\nhandlers = [\"h\"]\n").unwrap();
    std::fs::create_dir(&handler).unwrap();
    std::fs::write(handler.join("handler.toml"), "nam = \"h\"\n").unwrap();
    let args = RunArgs {
        config: Some(config),
        data: None,
        json_logs: false,
    };
    let faults = args.load().unwrap_err().0;
    let keys: Vec<_> = faults.iter().map(|fault| &*fault.key).collect();
    for key in ["colour", "nam", "subscribe.topics"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn run_without_a_data_directory_leaves_it_to_the_config() {
    let cli = Cli::try_parse_from(["weir", "run", "--data", "d", "--json-logs"]).unwrap();
    let Some(Command::Run(args)) = cli.command else {
        panic!("no run command")
    };
    assert!(args.json_logs && args.data.is_some());
    let (_, data) = args.load().unwrap();
    assert_eq!(data, Path::new("d"));
}

#[test]
fn the_exit_code_tells_what_to_correct_from_what_failed() {
    let file = |kind| CliError::Output(kind);
    for (error, code) in [
        (CliError::Usage(String::new()), 2),
        (CliError::Faults(Faults::of_file(Path::new("f"), "m")), 2),
        (
            CliError::Client(ClientError::NoHost { url: String::new() }),
            1,
        ),
        (file(io::Error::other("full")), 1),
    ] {
        assert_eq!(error.exit_code(), code, "{error}");
    }
    assert!(file(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
    assert!(!file(io::Error::other("full")).is_broken_pipe());
}

#[test]
fn addresses_that_cannot_be_called_are_refused_with_the_remedy() {
    for (url, words) in [
        ("localhost:8080", "write --url http://HOST:PORT"),
        ("http://", "write --url http://HOST:PORT"),
        ("http://a/b", "write --url http://HOST:PORT"),
        ("https://", "or https://"),
    ] {
        let error = Client::new(url, None, None)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains(words), "{url}: {error}");
    }
    assert!(matches!(
        Client::new("http://a", Some("two words"), None),
        Err(ClientError::Token)
    ));
}

#[test]
fn a_file_that_vouches_for_nobody_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for text in [None, Some("no certificate")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let error = Client::new("https://a", None, Some(&file)).err().unwrap();
        let message = error.to_string();
        assert!(
            message.contains("ca.pem") && message.contains("--ca FILE"),
            "{message}"
        );
        assert!(!error.is_temporary());
    }
}
