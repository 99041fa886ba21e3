//! Each kind of fault, as a client meets it.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;

use super::support::{Answered, Running, settings, start};
use crate::sandbox::Settings;
use crate::xinyao::Endpoint;

async fn with(fault: &str) -> Running {
    start(Settings { faults: vec![fault.parse().unwrap()], ..settings() }).await
}

async fn ask(sandbox: &Running) -> hyper::Result<Answered> {
    sandbox.try_post(Endpoint::SyncPrompt, &json!({ "app_id": "app" })).await
}

#[tokio::test]
async fn latency_comes_before_the_answer() {
    let sandbox = with("latency:150ms=1").await;
    let asked = Instant::now();
    assert_eq!(ask(&sandbox).await.unwrap().code(), 0);
    assert!(asked.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn statuses_and_codes_are_answered() {
    let answer = ask(&with("http-500=1").await).await.unwrap();
    assert_eq!((answer.status, answer.code()), (StatusCode::INTERNAL_SERVER_ERROR, 999_999));
    let answer = ask(&with("http-503=1").await).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::SERVICE_UNAVAILABLE, b"503 Service Unavailable".as_slice())
    );
    let answer = ask(&with("code:1001=1").await).await.unwrap();
    assert_eq!((answer.status, answer.code()), (StatusCode::OK, 1001));
}

#[tokio::test]
async fn drop_acts_and_does_not_answer() {
    for fault in ["drop=1", "drop-mid=1"] {
        let sandbox = with(fault).await;
        let task: serde_json::Value = serde_json::from_str(Endpoint::AddTask.spec().example).unwrap();
        assert!(sandbox.try_post(Endpoint::AddTask, &task).await.is_err(), "{fault}");
        assert_eq!(sandbox.handle.tasks().len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn drop_mid_sends_the_head_and_half_of_the_body() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sandbox = with("drop-mid=1").await;
    let mut stream = tokio::net::TcpStream::connect(sandbox.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.contains("\r\n\r\n{\"code\"") && !answer.ends_with('}'),
        "{answer}"
    );
}

#[tokio::test]
async fn skew_turns_the_date_and_not_the_clock() {
    let answer = ask(&with("skew:-10m=1").await).await.unwrap();
    assert_eq!(answer.code(), 0);
    let date = jiff::fmt::rfc2822::parse(answer.headers["date"].to_str().unwrap()).unwrap();
    let behind = jiff::Timestamp::now().as_second() - date.timestamp().as_second();
    assert!((590..620).contains(&behind), "{behind}");
}

#[tokio::test]
async fn hang_gives_no_answer_and_stopping_ends_it() {
    let sandbox = with("hang=1").await;
    let asked = tokio::time::timeout(Duration::from_millis(100), ask(&sandbox)).await;
    assert!(asked.is_err());
    sandbox.stop().await;
}

#[tokio::test]
async fn faults_come_and_go_and_keep_to_their_rate() {
    let sandbox = start(settings()).await;
    sandbox.handle.add_fault("code:7=0.5".parse().unwrap());
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(ask(&sandbox).await.unwrap().code() == 7);
    }
    assert!((8..33).contains(&failed), "{failed}");
    sandbox.handle.clear_faults();
    for _ in 0..10 {
        assert_eq!(ask(&sandbox).await.unwrap().code(), 0);
    }
}
