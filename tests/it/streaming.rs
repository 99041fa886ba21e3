//! Bodies stream both ways, with back-pressure; who goes away takes the other side's work along.

use std::time::Duration;

use crate::support::{Binary, Gateway, Line, OUTNUM, TASKLIST, Upstream, bytes, get, post};

const MIB: usize = 1 << 20;

/// An upload of `size` bytes, of which the head is sent.
async fn upload(line: &mut Line, size: usize) {
    let head = format!(
        "POST {OUTNUM} HTTP/1.1\r\nhost: g\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: {size}\r\n\r\n"
    );
    line.send(head).await;
}

#[tokio::test]
async fn the_first_bytes_of_an_upload_arrive_before_the_last_are_sent() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    upload(&mut line, 2 * MIB).await;
    line.send(bytes(MIB)).await;
    let mut server = upstream.accept().await;
    assert!(server.head().await.unwrap().contains(&format!("content-length: {}", 2 * MIB)));
    // The newest part is held back, in case it is the last and something is wrong with the whole.
    server.exactly(MIB / 2).await;
    line.send(bytes(MIB)).await;
    server.exactly(2 * MIB - MIB / 2).await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(line.answer().await.status, 200);
}

#[tokio::test]
async fn the_first_bytes_of_an_answer_arrive_before_the_last_are_sent() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    line.head().await.unwrap();
    assert_eq!(line.text_line().await.unwrap(), "3");
    assert_eq!(line.text_line().await.unwrap(), "abc");
    server.send("1\r\nd\r\n0\r\n\r\n").await;
    assert_eq!(line.text_line().await.unwrap(), "1");
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_is_through() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    upload(&mut line, 4 * MIB).await;
    line.send(bytes(1000)).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    server.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 11\r\n\r\n{\"code\":-1}").await;
    let answer = line.answer().await;
    assert_eq!((answer.status, answer.code()), (401, -1));
}

#[tokio::test]
async fn a_client_that_goes_away_after_an_early_head_leaves_nothing_behind() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/extra]}").start();
    let mut line = gateway.line().await;
    line.send(format!("POST /extra HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", 4 * MIB)).await;
    line.send(bytes(1000)).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
    assert!(line.head().await.unwrap().starts_with("HTTP/1.1 200"));
    drop(line);
    server.rest().await;
    gateway.counts(r#"xinyao_upstream_connections{source_ip="any",state="active"}"#, 0.0).await;
}

#[tokio::test]
async fn an_upload_that_the_saas_does_not_take_waits_at_the_client() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream).with("limits: {max_body: 1GiB}"));
    let mut line = Line::to(gateway.proxy).await;
    upload(&mut line, 300 * MIB).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    let before = gateway.resident();
    let sent = line.send_until_stuck(&vec![b'x'; MIB], Duration::from_millis(300)).await;
    // Sockets hold some; the gateway next to nothing.
    let grown = gateway.resident().saturating_sub(before);
    assert!(sent < 100 * MIB, "{sent} bytes were taken, with nobody reading");
    assert!(grown < 16 * MIB as u64, "{grown} bytes more after {sent} sent");
}

#[tokio::test]
async fn a_download_that_the_client_does_not_take_waits_at_the_saas() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream));
    let mut line = Line::to(gateway.proxy).await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 300 * MIB)).await;
    line.head().await.unwrap();
    let before = gateway.resident();
    let sent = server.send_until_stuck(&vec![b'x'; MIB], Duration::from_millis(300)).await;
    let grown = gateway.resident().saturating_sub(before);
    assert!(sent < 100 * MIB, "{sent} bytes were taken, with nobody reading");
    assert!(grown < 16 * MIB as u64, "{grown} bytes more after {sent} sent");
}

#[tokio::test]
async fn a_large_upload_passes_whole_in_little_memory() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream));
    let mut line = Line::to(gateway.proxy).await;
    upload(&mut line, 48 * MIB).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    let before = gateway.resident();
    let piece = bytes(MIB);
    let sending = async {
        for _ in 0..48 {
            line.send(&piece).await;
        }
    };
    let taking = async {
        for _ in 0..48 {
            assert!(server.exactly(MIB).await == piece);
        }
    };
    tokio::join!(sending, taking);
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(line.answer().await.status, 200);
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "{grown} bytes more");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_cancels_its_request() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    for path in [TASKLIST, OUTNUM] {
        let mut line = gateway.line().await;
        line.send(post(path, "{}").to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        drop(line);
        server.closed().await;
    }
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
    // Nobody is told anything, and nothing is sent a second time.
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn an_answer_that_comes_just_after_its_client_has_gone_frees_the_connection() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    // The answer may be too late, on a machine with other things to do.
    for _ in 0..20 {
        let mut line = gateway.line().await;
        line.send(post(TASKLIST, "{}").to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        drop(line);
        gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
        if server.try_send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await.is_err() {
            continue;
        }
        tokio::select! {
            gone = server.request_whenever() => assert!(gone.is_none()),
            () = gateway.counts(r#"xinyao_upstream_connections{source_ip="any",state="idle"}"#, 1.0) => return,
        }
    }
    panic!("the connection is never kept");
}

#[tokio::test]
async fn a_client_that_goes_away_in_an_upload_cancels_it() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    upload(&mut line, MIB).await;
    line.send(bytes(MIB / 2)).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    server.exactly(1000).await;
    drop(line);
    assert!(server.rest().await.len() < MIB / 2);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_a_download_cancels_it() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc").await;
    line.head().await.unwrap();
    line.exactly(3).await;
    drop(line);
    server.closed().await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_broken_off() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).with("limits: {body_idle_timeout: 200ms}").start();
    let mut line = gateway.line().await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc").await;
    assert!(line.head().await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(line.rest().await, b"abc");
    server.closed().await;
    gateway
        .counts(
            r#"xinyao_requests_total{app="crm",endpoint="recordings",status="200",outcome="upstream_error"}"#,
            1.0,
        )
        .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    for framing in ["content-length: 100\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut line = gateway.line().await;
        line.send(get("/coeus/a.wav").to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        server.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        assert!(line.head().await.unwrap().starts_with("HTTP/1.1 200"));
        drop(server);
        let rest = line.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "ended as if it were whole");
    }
    gateway
        .counts(
            r#"xinyao_requests_total{app="crm",endpoint="recordings",status="200",outcome="upstream_error"}"#,
            2.0,
        )
        .await;
}
