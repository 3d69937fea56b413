//! How many connections there are, how large a request may be, and errors of the host.

use crate::support::Server;
use novanet_http::WhenFull;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn one_source_cannot_keep_another_out() {
    let server = Server::start(64, WhenFull::Refuse);
    let mut silent: Vec<_> = (0..1200).map(|_| server.connect(1)).collect();
    let mut other = server.connect(2);
    assert!(other.ask("/").await.ends_with("0 bytes"));
    let counts = server.counts();
    assert_eq!((counts.open, counts.refused_source), (16 + 1, 1200 - 16));
    for refused in &mut silent[16..20] {
        assert!(refused.is_ended().await);
    }
    assert!(!silent[15].is_ended().await);
    // When they end there is room again for their source, too.
    drop(silent);
    sleep(Duration::from_secs(1)).await;
    assert!(server.connect(1).ask("/").await.ends_with("0 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_unix_sockets_clients_wait_for_a_place_and_are_never_refused() {
    let server = Server::start(2, WhenFull::Wait);
    let (first, mut second) = (server.connect_as(None), server.connect_as(None));
    second.ask("/").await;
    let mut third = server.connect_as(None);
    third
        .send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.counts().open, 2);
    drop(first);
    assert!(third.rest().await.ends_with("0 bytes"));
    assert_eq!(server.counts().refused_total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_accept_is_tried_again_and_not_in_a_loop() {
    let server = Server::start(4, WhenFull::Refuse);
    for _ in 0..10 {
        server.fail(ErrorKind::OutOfMemory);
    }
    let began = Instant::now();
    assert!(server.connect(1).ask("/").await.ends_with("0 bytes"));
    // 10, 20, 40 … 640 ms, then a second each.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    assert!(server.accepts() <= 12, "{}", server.accepts());
    // A client that has gone before it was accepted delays no other.
    server.fail(ErrorKind::ConnectionAborted);
    let began = Instant::now();
    server.connect(1).ask("/").await;
    assert!(began.elapsed() < Duration::from_millis(10));
    assert!(!server.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_or_none_is_answered_while_it_is_sent() {
    let server = Server::start(4, WhenFull::Refuse);
    let long = "x".repeat(1 << 20);
    for (sent, status) in [
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "413"),
        (format!("GET / HTTP/1.1\r\nfiller: {long}\r\n\r\n"), "413"),
        (long.clone(), "413"),
        ("no request at all\r\n\r\n".to_owned(), "400"),
    ] {
        let mut client = server.connect(1);
        client.send(&sent).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("the request") || answer.contains("not an HTTP"));
    }
    // After good requests on the same connection, too.
    let mut client = server.connect(1);
    client.ask("/").await;
    client.send(&format!("GET /{long} HTTP/1.1\r\n\r\n")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 413 "));
}
