//! One process takes the place of another, and nobody notices.

use std::collections::HashSet;
use std::net::TcpListener;

use crate::support::{
    Binary, Builder, Gateway, Line, Load, TASKLIST, Upstream, eventually, get, outnum, post,
};

/// A gateway between `saas` and a subscriber that gets every callback of `crm`.
fn between(saas: &Upstream, subscriber: &Upstream) -> Builder {
    let subscribers = format!("subscribers: [{{name: hook, url: \"{}\"}}]", subscriber.url());
    Gateway::to(saas).with(subscribers)
}

/// Waits until `subscriber` has got all of these.
async fn gets(subscriber: &Upstream, acknowledged: Vec<String>) {
    eventually(async || {
        let seen = subscriber.seen();
        let got: HashSet<&[u8]> = seen.iter().map(|seen| seen.body.as_slice()).collect();
        acknowledged.iter().all(|record| got.contains(record.as_bytes()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_takes_the_sockets_over_under_load() {
    let (saas, subscriber) = (Upstream::start(), Upstream::start());
    let mut gateway = Binary::run(between(&saas, &subscriber));
    let load = Load::on(gateway.proxy, gateway.callbacks);
    for _ in 0..3 {
        load.goes_on(100).await;
        let next = gateway.successor();
        next.says("waiting for it").await;
        eventually(async || gateway.log().iter().any(|line| line.contains("waits to take over"))).await;
        gateway.signal("TERM");
        let next = next.ready();
        assert_eq!(
            (next.proxy, next.callbacks, next.admin),
            (gateway.proxy, gateway.callbacks, gateway.admin)
        );
        assert_eq!(gateway.ended().await.code(), Some(0));
        gateway = next;
        load.goes_on(100).await;
    }
    gets(&subscriber, load.end().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_the_supervisor_keeps_outlive_the_process() {
    let (saas, subscriber) = (Upstream::start(), Upstream::start());
    let sockets = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let mut gateway = Binary::activated(between(&saas, &subscriber), &sockets);
    assert_eq!(
        sockets.each_ref().map(|socket| socket.local_addr().unwrap()),
        [gateway.proxy, gateway.callbacks]
    );
    let load = Load::on(gateway.proxy, gateway.callbacks);
    for _ in 0..3 {
        load.goes_on(100).await;
        gateway.signal("TERM");
        assert_eq!(gateway.ended().await.code(), Some(0));
        gateway = gateway.activated_again(&sockets);
        load.goes_on(100).await;
    }
    gets(&subscriber, load.end().await).await;
}

#[tokio::test]
async fn the_next_process_waits_for_what_must_not_be_sent_twice() {
    let upstream = Upstream::by_hand();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    let mut line = Line::to(gateway.proxy).await;
    line.send(outnum("1", "number\r\n13800138000\r\n").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    let next = gateway.successor();
    eventually(async || gateway.log().iter().any(|line| line.contains("waits to take over"))).await;
    gateway.signal("TERM");
    // Operators are served by the next one already, which says what it waits for.
    let ready = async || get("/readyz").send(gateway.admin).await;
    eventually(async || ready().await.text().contains("has the store open")).await;
    assert_eq!(ready().await.status, 503);
    assert_eq!(get("/healthz").send(gateway.admin).await.status, 200);
    // Apps are not refused: they wait.
    let mut waiting = Line::to(gateway.proxy).await;
    waiting.send(get("/coeus/a.wav").to_bytes()).await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 59\r\n\r\n").await;
    server.send(r#"{"code":0,"msg":"success","result":{"call_sn":"1234567890"}}"#).await;
    let answer = line.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    let next = next.ready();
    assert_eq!(gateway.ended().await.code(), Some(0));
    eventually(async || get("/readyz").send(next.admin).await.status == 200).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(waiting.answer().await.status, 200);
    let again = outnum("1", "number\r\n13800138000\r\n").send(next.proxy).await;
    assert_eq!(again.status, 409, "{again:?}");
}

#[tokio::test]
async fn a_request_that_is_sent_as_draining_begins_is_served_and_told_to_go_elsewhere() {
    let upstream = Upstream::start();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    let mut line = Line::to(gateway.proxy).await;
    assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    gateway.signal("TERM");
    eventually(async || get("/readyz").send(gateway.admin).await.status == 503).await;
    let answer = post(TASKLIST, "{}").send_on(&mut line).await;
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    line.closed().await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_supervisor_is_told_when_it_is_ready_and_when_it_stops() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let told = tokio::net::UnixDatagram::bind(&path).unwrap();
    let script = format!("export NOTIFY_SOCKET={}; exec \"$0\" \"$@\"", path.display());
    let gateway = Binary::run_as(Gateway::to(&upstream), &script);
    let mut message = [0; 256];
    let size = told.recv(&mut message).await.unwrap();
    assert!(message[..size].starts_with(b"READY=1\n"));
    gateway.signal("TERM");
    let size = told.recv(&mut message).await.unwrap();
    assert!(message[..size].starts_with(b"STOPPING=1\n"));
}
