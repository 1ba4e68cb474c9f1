use std::io::Write as _;

use weir_tests::ports;

use super::*;

const BROKERS: u16 = 3;

/// The first of so many free ports in a row.
fn row() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    loop {
        let first = ports::next().unwrap();
        if (first..first + BROKERS).all(|port| is_free(&port)) {
            return first;
        }
    }
}

/// What a test that fails has started ends with it.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // It fails where nothing was made.
        drop(down(self.0, true));
    }
}

#[test]
fn three_brokers_come_up_together_keep_their_data_and_go_down_together() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if let Err(kafka::Missing(why)) = kafka::libraries(root) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nSKIPPED: a cluster for people: no Kafka: {why}").unwrap();
        return;
    }
    let kept = tempfile::tempdir().unwrap();
    let folder = kept.path().join("cluster");
    assert!(!status(&folder).unwrap(), "there is none yet");
    let _ended = Ended(&folder);
    let first = row();
    let up = |brokers, port| up(root, &folder, brokers, port);

    let taken = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let error = up(Some(BROKERS), Some(first)).unwrap_err();
    let told = format!(
        "broker 2 cannot have port {}: name another one with --port",
        first + 1
    );
    assert!(error.to_string().contains(&told), "{error:#}");
    drop(taken);

    assert!(up(Some(BROKERS), Some(first)).unwrap());
    assert!(status(&folder).unwrap());
    assert!(up(None, None).unwrap(), "it runs already");
    let error = up(Some(1), None).unwrap_err().to_string();
    assert!(error.contains("down --wipe"), "{error}");

    assert!(down(&folder, false).unwrap());
    assert!(!status(&folder).unwrap());
    let left = Cluster::made(&folder, &[first, first + 1, first + 2]);
    assert!((1..=3).all(|node| !left.is_running(node)));
    // The brokers find one another where they did before, whoever listens there by now.
    let controller = left.controller_port(3).unwrap();
    let taken = TcpListener::bind(("127.0.0.1", controller)).unwrap();
    let error = up(None, None).unwrap_err().to_string();
    let told = format!("broker 3 cannot have port {controller}: end what listens there");
    assert!(error.contains(&told), "{error}");
    drop(taken);
    assert!(down(&folder, true).unwrap());
    assert!(!folder.exists());
}
