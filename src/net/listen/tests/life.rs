//! How connections end.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{PATIENCE, Server, settings};
use crate::net::listen::Sockets;

const HANG: &str = "GET /hang HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn an_answer_to_an_unread_body_can_be_read() {
    let server = Server::start(settings());
    let mut client = server.client().await;
    let body = vec![b'x'; 8 << 20];
    client.send(format!("POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    // Without a linger, the reset that this meets throws the answer away.
    client.send(body).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("<ignored>"), "{answer}");
}

#[tokio::test]
async fn a_request_is_dropped_with_its_client() {
    let server = Server::start(settings());
    for behind in ["", "\r\n", "\r\n\r", "GET / HT"] {
        let mut client = server.client().await;
        client.send([HANG, behind].concat()).await;
        timeout(PATIENCE, server.signals.came.notified()).await.unwrap();
        drop(client);
        timeout(PATIENCE, server.signals.dropped.notified()).await.expect(behind);
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::start(settings());
    let mut client = server.client().await;
    for body in ["a", "bc", "def"] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        client.send(head + body).await;
        let answer = client.until(&format!("<{body}>")).await;
        assert!(answer.contains("200 OK") && !answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let server = Server::start(settings());
    let post =
        |body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut requests: String = (0..100).map(|at| post(&at.to_string())).collect();
    requests.push_str("BAD\r\n\r\n");
    let answers = server.exchange(requests).await;
    let bodies: Vec<_> =
        answers.split("\r\n\r\n").skip(1).map(|part| part.split('>').next().unwrap()).collect();
    let expected: Vec<_> = (0..100).map(|at| format!("<{at}")).chain(["<Malformed".to_owned()]).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn draining_ends_idle_connections_and_finishes_requests() {
    let server = Server::start(settings());
    let (mut fresh, mut idle, mut busy) =
        (server.client().await, server.client().await, server.client().await);
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.until("<>").await;
    busy.send(HANG).await;
    server.signals.came.notified().await;
    server.trigger.start(Sockets::Close);
    assert_eq!(idle.rest().await, "");
    assert_eq!(fresh.rest().await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    assert!(!server.ended.is_finished());
    server.signals.release.notify_one();
    let answer = busy.rest().await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("<released>"), "{answer}");
    timeout(PATIENCE, server.ended).await.expect("serve returns").unwrap();
}

#[tokio::test]
async fn serve_dropped_cuts_connections_off() {
    let server = Server::start(settings());
    let mut client = server.client().await;
    client.send(HANG).await;
    server.signals.came.notified().await;
    server.ended.abort();
    timeout(PATIENCE, server.signals.dropped.notified()).await.unwrap();
}

#[tokio::test]
async fn one_address_may_have_several_listeners() {
    let server = Server::start(settings());
    assert!(crate::net::listen::bind(server.address, true).is_ok());
    assert!(crate::net::listen::bind(server.address, false).is_err());
}

#[tokio::test]
async fn the_word_is_heard_before_and_after_it_is_said() {
    let (trigger, drain) = crate::net::listen::Drain::new();
    let early = tokio::spawn({
        let drain = drain.clone();
        async move { drain.started().await }
    });
    tokio::task::yield_now().await;
    assert!(!drain.is_started() && !early.is_finished());
    trigger.start(Sockets::Close);
    timeout(Duration::from_secs(5), early).await.unwrap().unwrap();
    timeout(Duration::from_secs(5), drain.started()).await.unwrap();
    assert!(drain.is_started());
}
