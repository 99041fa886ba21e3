//! What is sent again, and what never is: a second outnum calls people twice.

use std::time::Duration;

use futures_util::StreamExt;

use crate::support::{
    ADDTASK, Act, BOTDM_START, BOTDM_STOP, BOTDM_TRIGGER, FOLLOWED_DATA, Gateway, Line, OUTNUM, SYNCPROMPT,
    TASKLIST, Upstream, eventually, get, nobody, ok, post,
};

const READING: [&str; 3] = [TASKLIST, SYNCPROMPT, FOLLOWED_DATA];
const ACTING: [&str; 5] = [ADDTASK, OUTNUM, BOTDM_START, BOTDM_TRIGGER, BOTDM_STOP];

#[tokio::test]
async fn a_lost_connection_is_made_up_for_where_the_request_only_reads() {
    for path in READING {
        let upstream = Upstream::in_turn([Act::Close, ok()]);
        let gateway = Gateway::to(&upstream).start();
        let answer = gateway.post(path, r#"{"a":1}"#).await;
        assert_eq!((answer.status, answer.code()), (200, 0), "{path}");
        let bodies: Vec<Vec<u8>> = upstream.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, [br#"{"a":1}"#.to_vec(), br#"{"a":1}"#.to_vec()]);
    }
}

#[tokio::test]
async fn a_second_loss_is_told() {
    let upstream = Upstream::scripted(|_| Act::Close);
    let gateway = Gateway::to(&upstream).start();
    gateway.post(TASKLIST, "{}").await.refused(502, -50202, "upstream_broke_off");
    assert_eq!(upstream.seen().len(), 2);
    let line =
        r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="502",outcome="upstream_error"}"#;
    gateway.counts(line, 1.0).await;
}

#[tokio::test]
async fn what_acts_is_never_sent_twice() {
    for path in ACTING {
        let upstream = Upstream::scripted(|_| Act::Close);
        let gateway = Gateway::to(&upstream).start();
        let message = gateway.post(path, "{}").await.refused(502, -50202, "upstream_broke_off");
        assert!(message.contains("unknown"), "{message}");
        assert_eq!(upstream.seen().len(), 1, "{path}");
    }
}

#[tokio::test]
async fn what_acts_is_not_sent_twice_over_a_kept_connection_either() {
    for path in ACTING {
        let upstream = Upstream::in_turn([ok(), Act::Close]);
        let gateway = Gateway::to(&upstream).start();
        let mut line = gateway.line().await;
        assert_eq!(post(path, "{}").send_on(&mut line).await.status, 200);
        post(path, "{}").send_on(&mut line).await.refused(502, -50202, "upstream_broke_off");
        assert_eq!((upstream.seen().len(), upstream.accepted()), (2, 1), "{path}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nobody_an_answer() {
    let upstream = Upstream::scripted(|_| {
        Act::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}".to_vec())
    });
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    for _ in 0..20 {
        assert_eq!(post(OUTNUM, "{}").send_on(&mut line).await.status, 200);
    }
    assert_eq!(upstream.seen().len(), 20);
}

#[tokio::test]
async fn half_an_answers_head_is_no_answer() {
    let upstream = Upstream::scripted(|_| Act::Last(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()));
    let gateway = Gateway::to(&upstream).start();
    gateway.post(OUTNUM, "{}").await.refused(502, -50202, "upstream_broke_off");
    let upstream = Upstream::scripted(|_| Act::Last(b"220 smtp.example ESMTP\r\n".to_vec()));
    let gateway = Gateway::to(&upstream).start();
    gateway.post(OUTNUM, "{}").await.refused(502, -50202, "upstream_broke_off");
}

#[tokio::test]
async fn an_upstream_that_can_not_be_reached_is_named_as_such() {
    let gateway = Gateway::at(&format!("http://{}", nobody())).start();
    for path in [OUTNUM, TASKLIST] {
        let message = gateway.post(path, "{}").await.refused(502, -50201, "upstream_unreachable");
        assert!(message.contains("nothing was sent"), "{message}");
    }
    let gateway = Gateway::at("http://no-such-host.invalid").start();
    gateway.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
}

#[tokio::test]
async fn an_upstream_whose_handshake_takes_all_the_time_is_out_of_time() {
    let upstream = Upstream::by_hand();
    let url = upstream.url().replace("http://", "https://");
    let gateway = Gateway::to(&upstream)
        .with(format!("upstream: {{base_url: '{url}', response_timeout: 200ms, connect_timeout: 20s}}"))
        .start();
    gateway.post(OUTNUM, "{}").await.refused(504, -50401, "upstream_timeout");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_given_up() {
    let upstream = Upstream::scripted(|_| Act::Hang);
    let gateway = Gateway::to(&upstream).with("upstream: {response_timeout: 200ms}").start();
    for path in [OUTNUM, TASKLIST] {
        gateway.post(path, "{}").await.refused(504, -50401, "upstream_timeout");
    }
    assert_eq!(upstream.seen().len(), 2);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn a_slow_upload_is_no_slow_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {response_timeout: 300ms}").start();
    let mut line = gateway.line().await;
    line.send(format!("POST {OUTNUM} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for _ in 0..6 {
        line.send("1\r\nx\r\n").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    line.send("0\r\n\r\n").await;
    assert_eq!(line.answer().await.status, 200);
}

#[tokio::test]
async fn after_five_failures_in_a_row_an_address_is_left_alone() {
    let address = nobody();
    let gateway = Gateway::at(&format!("http://{address}")).start();
    for _ in 0..5 {
        gateway.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
    }
    let answer = gateway.post(OUTNUM, "{}").await;
    answer.refused(503, -50301, "overloaded");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&seconds), "{answer:?}");
    let status = gateway.status().await;
    assert_eq!(status["upstreams"][0]["open_circuits"][0], address.to_string(), "{status}");
    assert_eq!(status["upstreams"][0]["healthy"], false);

    // One request probes, and finds that the upstream is back.
    let upstream = Upstream::at(address.to_string());
    eventually(async || gateway.post(OUTNUM, "{}").await.status == 200).await;
    for _ in 0..5 {
        assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    }
    assert!(upstream.seen().len() >= 6);
    assert_eq!(gateway.status().await["upstreams"][0]["healthy"], true);
}

#[tokio::test]
async fn timeouts_open_the_circuit_too_and_one_request_probes_it() {
    let upstream = Upstream::scripted(|_| Act::Hang);
    let gateway = Gateway::to(&upstream).with("upstream: {response_timeout: 50ms}").start();
    for _ in 0..5 {
        gateway.post(OUTNUM, "{}").await.refused(504, -50401, "upstream_timeout");
    }
    gateway.post(OUTNUM, "{}").await.refused(503, -50301, "overloaded");
    assert_eq!(upstream.seen().len(), 5);
    // However many ask at once, one of them probes, when its time has come.
    let mut probes = 0;
    eventually(async || {
        let answers = futures_util::future::join_all((0..10).map(|_| gateway.post(OUTNUM, "{}"))).await;
        probes = answers.iter().filter(|answer| answer.status == 504).count();
        probes > 0
    })
    .await;
    assert_eq!((probes, upstream.seen().len()), (1, 6));
    // Now for twice as long.
    let refused = gateway.post(OUTNUM, "{}").await;
    refused.refused(503, -50301, "overloaded");
    assert_eq!(refused.header("retry-after"), "2");
}

#[tokio::test]
async fn an_answer_between_failures_keeps_the_circuit_closed() {
    let acts = (0..4).map(|_| Act::Hang).chain([ok()]).chain((0..4).map(|_| Act::Hang)).chain([ok()]);
    let upstream = Upstream::in_turn(acts);
    let gateway = Gateway::to(&upstream).with("upstream: {response_timeout: 50ms}").start();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(gateway.post(OUTNUM, "{}").await.status);
    }
    assert_eq!(statuses, [504, 504, 504, 504, 200, 504, 504, 504, 504, 200]);
}

#[tokio::test]
async fn retries_have_a_budget() {
    // So many requests at once, and the connection of each is lost once all have come.
    const COUNT: usize = 10;
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut lines = Vec::new();
    let mut servers: Vec<Line> = Vec::new();
    for _ in 0..COUNT {
        let mut line = gateway.line().await;
        line.send(post(TASKLIST, "{}").to_bytes()).await;
        lines.push(line);
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        servers.push(server);
    }
    drop(servers);
    // Three are always allowed; a fifth of ten under way would be two.
    let mut again = Vec::new();
    for _ in 0..3 {
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        again.push(server);
    }
    let mut answers = futures_util::stream::FuturesUnordered::new();
    for line in &mut lines {
        answers.push(line.answer());
    }
    for _ in 0..COUNT - 3 {
        answers.next().await.unwrap().refused(502, -50202, "upstream_broke_off");
    }
    for server in &mut again {
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    }
    for _ in 0..3 {
        assert_eq!(answers.next().await.unwrap().status, 200);
    }
    assert_eq!(upstream.accepted(), COUNT + 3);
}

#[tokio::test]
async fn recordings_are_not_among_what_is_sent_twice() {
    let upstream = Upstream::scripted(|_| Act::Close);
    let gateway = Gateway::to(&upstream).start();
    gateway.ask(get("/coeus/a.wav")).await.refused(502, -50202, "upstream_broke_off");
    assert_eq!(upstream.seen().len(), 1);
}
