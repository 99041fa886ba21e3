//! How long clients are waited for.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::support::{Server, settings};
use crate::net::ListenSettings;

const SHORT: Duration = Duration::from_millis(300);
const HEALTHY: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn impatient() -> Server {
    Server::start(ListenSettings { header_timeout: SHORT, ..settings() })
}

#[tokio::test]
async fn half_a_head_is_answered_when_its_time_is_over() {
    let server = impatient();
    let before = Instant::now();
    let answer = server.exchange("GET / HTTP/1.1\r\nho").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("<HeadTooSlow>"), "{answer}");
    assert!(before.elapsed() >= SHORT);
}

#[tokio::test]
async fn who_says_nothing_is_told_nothing() {
    assert_eq!(impatient().exchange("").await, "");
}

#[tokio::test]
async fn a_kept_connection_may_rest_but_not_dawdle() {
    let server = impatient();
    let mut client = server.client().await;
    // As some clients end a request; it begins no other.
    client.send([HEALTHY, "\r\n"].concat()).await;
    client.until("<>").await;
    // It is this rest that is tested: over the limit for heads, it must not end the connection.
    tokio::time::sleep(SHORT * 2).await;
    client.send(HEALTHY).await;
    client.until("<>").await;
    client.send("GET").await;
    assert!(client.rest().await.ends_with("<HeadTooSlow>"));
}

#[tokio::test]
async fn a_slow_service_is_not_the_clients_fault() {
    let server = impatient();
    let mut client = server.client().await;
    client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\nGET / HT").await;
    server.signals.came.notified().await;
    // Half a head waits behind the request for longer than it may by itself.
    tokio::time::sleep(SHORT * 2).await;
    server.signals.release.notify_one();
    client.until("<released>").await;
    client.send("TP/1.0\r\n\r\n").await;
    assert!(client.rest().await.ends_with("<>"));
}

#[tokio::test]
async fn four_hundred_tricklers_are_cut_off_and_slow_nobody_down() {
    let server = impatient();
    let mut tricklers = JoinSet::new();
    for _ in 0..400 {
        let mut client = server.client().await;
        tricklers.spawn(async move {
            client.send("GET / HTTP/1.1\r\nx: ").await;
            let (mut read, mut write) = client.0.split();
            let mut answer = String::new();
            let trickle = async {
                while tokio::io::AsyncWriteExt::write_all(&mut write, b"x").await.is_ok() {
                    tokio::time::sleep(SHORT / 6).await;
                }
            };
            tokio::select! {
                () = trickle => {}
                read = tokio::io::AsyncReadExt::read_to_string(&mut read, &mut answer) => { read.unwrap(); }
            }
            answer
        });
    }
    let mut healthy = server.client().await;
    let mut slowest = Duration::ZERO;
    while !tricklers.is_empty() && slowest < super::support::PATIENCE {
        let before = Instant::now();
        healthy.send(HEALTHY).await;
        healthy.until("<>").await;
        slowest = slowest.max(before.elapsed());
        while let Some(answer) = tricklers.try_join_next() {
            let answer = answer.unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("<HeadTooSlow>"), "{answer}");
        }
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
