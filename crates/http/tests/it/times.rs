//! What a client may take its time for, and how long.

use crate::support::{BODY, HEADERS, IDLE, Server, WRITE};
use novanet_http::WhenFull;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn server() -> Server {
    Server::start(100, WhenFull::Refuse)
}

/// The clock moved by this, give or take a tenth of a second.
#[track_caller]
fn took(began: Instant, limit: Duration) {
    let took = began.elapsed();
    let near = took.abs_diff(limit) < Duration::from_millis(100);
    assert!(near, "{took:?} instead of {limit:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_without_a_word() {
    let server = server();
    let mut client = server.connect(1);
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    took(began, HEADERS);
    assert_eq!((server.counts().open, server.counts().too_slow), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_answered_and_closed_however_often_a_byte_comes() {
    let server = server();
    let mut client = server.connect(1);
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: ").await;
    for _ in 0..4 {
        sleep(HEADERS / 5).await;
        client.send("x").await;
    }
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("did not arrive in time\n"), "{answer}");
    took(began, HEADERS);
    assert_eq!(server.counts().too_slow, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests_and_then_half_a_request_is_not() {
    let server = server();
    let mut client = server.connect(1);
    for _ in 0..5 {
        assert!(client.ask("/").await.ends_with("0 bytes"));
        sleep(IDLE.mul_f32(0.9)).await;
    }
    assert!(client.ask("/").await.ends_with("0 bytes"));
    let began = Instant::now();
    assert_eq!(client.rest().await, "");
    took(began, IDLE);

    let mut client = server.connect(1);
    client.ask("/").await;
    sleep(HEADERS * 2).await;
    let began = Instant::now();
    client.send("G").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
    took(began, HEADERS);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_ends_in_time() {
    let server = server();
    let mut client = server.connect(1);
    let began = Instant::now();
    client
        .send("POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\n")
        .await;
    for _ in 0..20 {
        client.send("x").await;
        sleep(Duration::from_secs(1)).await;
    }
    let answer = client.rest().await;
    assert!(answer.ends_with("did not arrive within 30s"), "{answer}");
    took(began, BODY);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_its_time() {
    let server = server();
    let mut client = server.connect(1);
    client
        .send("GET /slow HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    assert!(client.rest().await.ends_with("at last"));
    assert_eq!(server.counts().too_slow, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let server = server();
    let mut client = server.connect(1);
    client.send("GET /long HTTP/1.1\r\n\r\n").await;
    sleep(WRITE + Duration::from_secs(1)).await;
    assert_eq!((server.counts().open, server.counts().too_slow), (0, 1));
    assert!(client.rest().await.len() < 1 << 20);

    // One that reads slowly gets all of it.
    let mut client = server.connect(1);
    client
        .send("GET /long HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    sleep(WRITE / 2).await;
    assert!(client.rest().await.len() > 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_ends_idle_connections_and_answers_the_others() {
    let server = server();
    let (mut idle, mut busy) = (server.connect(1), server.connect(1));
    idle.ask("/").await;
    busy.send("GET /slow HTTP/1.1\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let running = server.stop();
    assert_eq!(idle.rest().await, "");
    took(began, Duration::ZERO);
    assert!(busy.rest().await.ends_with("at last"));
    running.await.unwrap();
}
