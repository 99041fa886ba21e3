//! The process: how it starts, what it survives, how it ends.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Binary, Gateway, Line, OUTNUM, TASKLIST, Upstream, bytes, eventually, get, post};

#[tokio::test]
async fn on_sigterm_what_is_under_way_finishes_and_the_exit_is_clean() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::by_hand();
        let mut gateway = Binary::run(Gateway::to(&upstream));
        let mut line = Line::to(gateway.proxy).await;
        line.send(post(TASKLIST, "{}").to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        gateway.signal(signal);
        // Nobody new is let in, and balancers are told.
        eventually(async || tokio::net::TcpStream::connect(gateway.proxy).await.is_err()).await;
        let ready = get("/readyz").send(gateway.admin).await;
        assert_eq!(ready.status, 503);
        assert_eq!(ready.json()["checks"]["draining"]["ok"], false, "{ready:?}");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
        let answer = line.answer().await;
        assert_eq!((answer.status, answer.code()), (200, 0));
        line.closed().await;
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_streaming_answer_finishes_too() {
    let upstream = Upstream::by_hand();
    let mut gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc").await;
    line.head().await.unwrap();
    let stopping = gateway.stop();
    eventually(async || tokio::net::TcpStream::connect(gateway.proxy).await.is_err()).await;
    server.send("def").await;
    assert_eq!(line.exactly(6).await, b"abcdef");
    stopping.await;
}

#[tokio::test]
async fn an_idle_connection_holds_nothing_up() {
    let upstream = Upstream::start();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    let mut line = Line::to(gateway.proxy).await;
    assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    let fresh = Line::to(gateway.proxy).await;
    gateway.signal("TERM");
    line.closed().await;
    assert_eq!(gateway.ended().await.code(), Some(0));
    drop(fresh);
}

#[tokio::test]
async fn a_request_that_came_before_the_end_is_answered() {
    let upstream = Upstream::start();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    // While it stands still, connections are made for it by the kernel.
    gateway.signal("STOP");
    let mut lines = Vec::new();
    for _ in 0..8 {
        let mut line = Line::to(gateway.proxy).await;
        line.send(post(TASKLIST, "{}").to_bytes()).await;
        lines.push(line);
    }
    gateway.signal("TERM");
    gateway.signal("CONT");
    for line in &mut lines {
        let answer = line.answer().await;
        if answer.status != 200 {
            answer.refused(503, -50302, "draining");
            assert!(!answer.header("retry-after").is_empty());
        }
    }
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_lack_of_files_is_survived() {
    let upstream = Upstream::start();
    let gateway = Binary::run_as(Gateway::to(&upstream), "ulimit -n 60; exec \"$0\" \"$@\"");
    let mut kept = Line::to(gateway.proxy).await;
    assert_eq!(post(TASKLIST, "{}").send_on(&mut kept).await.status, 200);
    let crowd = join_all((0..100).map(|_| Line::to(gateway.proxy))).await;
    eventually(async || gateway.log().iter().any(|line| line.contains("cannot accept connections"))).await;
    // Who was there before is still served.
    assert_eq!(post(TASKLIST, "{}").send_on(&mut kept).await.status, 200);
    drop(crowd);
    assert_eq!(post(TASKLIST, "{}").send(gateway.proxy).await.status, 200);
}

#[tokio::test]
async fn four_hundred_tricklers_slow_nobody_and_are_cut_off() {
    let upstream = Upstream::start();
    let limits = "limits: {header_timeout: 1s, body_idle_timeout: 1s}";
    let gateway = Gateway::to(&upstream).with(limits).crm("max_in_flight: 250").start();
    let begun = Instant::now();
    let mut tricklers = join_all((0..400).map(|_| Line::to(gateway.proxy))).await;
    let start = |n: usize| match n % 2 {
        // Half of them are slow with the head, half with the body.
        0 => format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\nx-slow: "),
        _ => format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n"),
    };
    for (n, line) in tricklers.iter_mut().enumerate() {
        line.send(start(n)).await;
    }
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_millis(900) {
        for line in tricklers.iter_mut().step_by(2) {
            drop(line.try_send("x").await);
        }
        let asked = Instant::now();
        assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    let answers = join_all(tricklers.iter_mut().map(|line| line.try_answer(false))).await;
    for answer in answers {
        answer.unwrap().refused(408, -40801, "request_timeout");
    }
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let upstream = Upstream::start();
    for listener in ["proxy", "admin"] {
        let file = format!("listen: {{{listener}: \"{address}\"}}");
        let error = Gateway::to(&upstream).with(file).try_start().err().expect("it does not start");
        assert!(error.contains(&address.to_string()) && error.contains(listener), "{error}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    let upstream = Upstream::start();
    let file = "
credentials: {default: {apikey: key, apisecret: the-apisecret}}
admin: {token: the-admin-token}
log: {level: trace}
";
    let mut gateway = Binary::run(Gateway::to(&upstream).with(file).crm("token: the-app-token"));
    for token in ["the-app-token", "wrong"] {
        post(TASKLIST, "{}").token(token).send(gateway.proxy).await;
        get("/api/v1/config").token("the-admin-token").send(gateway.admin).await;
    }
    gateway.signal("TERM");
    gateway.ended().await;
    let log = gateway.log();
    assert!(log.iter().any(|line| line.contains("tasklist")), "{log:#?}");
    for line in log {
        assert!(!line.contains("the-a"), "{line}");
    }
}

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let upstream = Upstream::start();
    let mut gateway = Binary::run(Gateway::to(&upstream).with("log: {format: json}"));
    let id = "the-id-of-this-request";
    post(TASKLIST, "{}").header("x-request-id", id).send(gateway.proxy).await;
    gateway.signal("TERM");
    gateway.ended().await;
    let log = gateway.log();
    let lines: Vec<serde_json::Value> =
        log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of_request: Vec<_> = lines.iter().filter(|line| line["id"] == id).collect();
    assert_eq!(of_request.len(), 1, "{log:#?}");
    assert_eq!((&of_request[0]["app"], &of_request[0]["status"]), (&"crm".into(), &200.into()));
}

#[tokio::test]
async fn a_client_reads_its_refusal_though_its_upload_is_not_read() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).crm("endpoints: [tasklist]").start();
    let upload = post(OUTNUM, bytes(2 << 20));
    for _ in 0..5 {
        gateway.ask(upload.clone()).await.refused(403, -40302, "endpoint_not_allowed");
    }
}

#[tokio::test]
async fn each_worker_keeps_to_a_processor_of_its_own() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream));
    let own = processors_of("self");
    let threads = std::thread::available_parallelism().unwrap().get();
    // Where a quota leaves it less than its processors, it keeps to none of them.
    let expected =
        if own.len() == threads { own.iter().map(|&at| vec![at]).collect() } else { vec![own; threads] };
    eventually(async || workers_of(&gateway) == expected).await;
}

#[tokio::test]
async fn a_narrower_set_of_processors_is_kept_to() {
    let upstream = Upstream::by_hand();
    let last = *processors_of("self").last().unwrap();
    let gateway = Binary::run_as(Gateway::to(&upstream), &format!("exec taskset -c {last} \"$0\" \"$@\""));
    eventually(async || workers_of(&gateway) == [[last]]).await;
}

#[tokio::test]
async fn no_huge_page_is_taken_for_a_corner_of_it() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream));
    let memory = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", gateway.id())).unwrap();
    let huge = memory.lines().find(|line| line.starts_with("AnonHugePages:")).unwrap();
    assert_eq!(huge.split_whitespace().nth(1), Some("0"), "{memory}");
}

/// The processors that each of the proxy's threads may run on, in the order of the threads.
fn workers_of(gateway: &Binary) -> Vec<Vec<usize>> {
    let mut workers: Vec<_> = std::fs::read_dir(format!("/proc/{}/task", gateway.id()))
        .unwrap()
        .map(|thread| thread.unwrap().path())
        .filter_map(|thread| {
            // One may have ended since.
            let name = std::fs::read_to_string(thread.join("comm")).ok()?;
            let at: usize = name.trim().strip_prefix("proxy-")?.parse().unwrap();
            let task = format!("{}/task/{}", gateway.id(), thread.file_name()?.to_str()?);
            Some((at, processors_of(&task)))
        })
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, processors)| processors).collect()
}

/// The processors that a process or thread may run on, from `/proc`.
fn processors_of(task: &str) -> Vec<usize> {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let ranges = list.trim().split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    ranges.flat_map(|(first, last)| first.parse::<usize>().unwrap()..=last.parse().unwrap()).collect()
}
