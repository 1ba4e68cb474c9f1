//! Bounds of connections and requests, and their end.

use tokio::net::TcpSocket;

use super::*;

#[tokio::test]
async fn a_body_that_does_not_come_is_a_timeout_and_half_a_request_is_nothing() {
    let host = start_with(HttpConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {STRUCTURED}\r\ncontent-length: 90\r\n\r\n"
    );
    let answer = host.raw(format!("{head}{{").as_bytes()).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection"), Some("close"));

    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream
        .write_all(format!("{head}{}", &EVENT[..80]).as_bytes())
        .await
        .unwrap();
    drop(stream);
    assert_eq!(host.get("/livez").await.status, 200);
    assert!(host.records().is_empty());
}

#[tokio::test]
async fn a_head_that_is_slow_or_too_large_ends_the_connection() {
    let host = start_with(HttpConfig {
        head_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the host closes")
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    let huge = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES_MAX)
    );
    assert_eq!(host.raw(huge.as_bytes()).await.status, 431);
    let many = "x: 1\r\n".repeat(HEADERS_MAX);
    assert_eq!(
        host.raw(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes())
            .await
            .status,
        431
    );
}

#[tokio::test]
async fn a_body_in_chunks_is_bounded_like_any_other() {
    let host = start().await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {STRUCTURED}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let (start, end) = EVENT.split_at(40);
    let chunks = format!(
        "{:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n",
        start.len(),
        end.len()
    );
    assert_eq!(
        host.raw(format!("{head}{chunks}").as_bytes()).await.status,
        202
    );
    let chunk = format!("800\r\n{}\r\n", " ".repeat(0x800));
    assert_eq!(
        host.raw(format!("{head}{chunk}{chunk}").as_bytes())
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_tails_and_takes_no_more() {
    let host = start().await;
    let mut tail = follow(&host).await;
    let mut idle = TcpStream::connect(host.address).await.unwrap();
    host.shutdown.cancel();
    timeout(PATIENCE, host.running)
        .await
        .expect("the drain ends")
        .unwrap();
    let mut rest = String::new();
    tail.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest:?}");
    // Closed, or reset when the host had not come to accept it.
    drop(idle.read(&mut [0]).await);
    assert!(TcpStream::connect(host.address).await.is_err());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_off() {
    let host = start_with(HttpConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    // The first byte of a head keeps a connection busy until the head timeout, which is long here.
    stream.write_all(b"GET /livez").await.unwrap();
    assert_eq!(host.get("/livez").await.status, 200);
    host.shutdown.cancel();
    timeout(PATIENCE / 2, host.running)
        .await
        .expect("the drain is bounded")
        .unwrap();
}

/// A connection from this address of the machine.
async fn connect_from(host: &Host, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(host.address).await.unwrap()
}

/// Whether a request on a connection is answered, and not closed unanswered.
async fn is_served(mut stream: TcpStream) -> bool {
    const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    // One that is closed may be known to be so by now.
    drop(stream.write_all(LIVE).await);
    let mut answer = Vec::new();
    drop(
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("it ends"),
    );
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn an_address_with_its_share_of_connections_leaves_the_others_to_the_rest() {
    let host = start_with(HttpConfig {
        connections_per_address_max: 4,
        ..config()
    })
    .await;
    let greedy = [127, 0, 0, 2];
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(connect_from(&host, greedy).await);
    }
    assert!(!is_served(connect_from(&host, greedy).await).await);
    assert!(is_served(connect_from(&host, [127, 0, 0, 3]).await).await);
    assert_eq!(host.get("/livez").await.status, 200);
    // Its place is free once the host has seen that one has ended.
    drop(idle.pop());
    let again = async {
        while !is_served(connect_from(&host, greedy).await).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("it is served again");
}
