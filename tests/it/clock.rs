//! The SaaS rejects timestamps that are off by over five minutes: the gateway signs by the SaaS's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Act, Gateway, Sandbox, Seen, TASKLIST, Upstream, answer, eventually, logged};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed_at(seen: &Seen) -> i64 {
    seen.signature()[1].parse::<i64>().unwrap() - i64::try_from(now()).unwrap()
}

/// `Date` for so many seconds from now.
fn date(offset: i64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(now()).unwrap() + offset).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
}

fn dated(offset: i64) -> Act {
    answer("200 OK", &format!("date: {}\r\n", date(offset)), r#"{"code":0}"#)
}

#[tokio::test]
async fn requests_are_signed_by_the_saass_clock_once_several_answers_agree() {
    for offset in [400, -400] {
        let sandbox = Sandbox::start().await;
        sandbox.set_clock_offset(offset);
        let gateway = Gateway::before(&sandbox).start();
        let first = gateway.post(TASKLIST, "{}").await;
        assert_eq!(first.status, 401, "the sandbox takes it: {first:?}");
        eventually(async || {
            gateway.post(TASKLIST, r#"{"app_id":"a","page_num":1,"page_size":1}"#).await.status == 200
        })
        .await;
        let skew = gateway.metrics().await.value("xinyao_clock_skew_seconds").unwrap();
        assert!((skew - offset as f64).abs() < 3.0, "{skew}");
        let status = gateway.status().await;
        assert!((status["clock_skew_seconds"].as_f64().unwrap() - offset as f64).abs() < 3.0, "{status}");
        assert!(!logged(&["WARN", "clock"]).is_empty());
    }
}

#[tokio::test]
async fn one_odd_date_never_moves_it() {
    let upstream =
        Upstream::in_turn([dated(0), dated(0), dated(3600), dated(0), dated(-3600), dated(7200), dated(0)]);
    let gateway = Gateway::to(&upstream).start();
    for _ in 0..10 {
        gateway.post(TASKLIST, "{}").await;
        assert!(signed_at(upstream.seen().last().unwrap()).abs() <= 2);
    }
    assert!(gateway.metrics().await.value("xinyao_clock_skew_seconds").unwrap().abs() < 3.0);
}

#[tokio::test]
async fn a_single_odd_date_at_first_is_not_believed_either() {
    let upstream = Upstream::in_turn([dated(3600), dated(0)]);
    let gateway = Gateway::to(&upstream).start();
    for _ in 0..5 {
        gateway.post(TASKLIST, "{}").await;
        assert!(signed_at(upstream.seen().last().unwrap()).abs() <= 2);
    }
}

#[tokio::test]
async fn a_skew_up_to_thirty_seconds_is_shown_and_not_signed_with() {
    let upstream = Upstream::scripted(|_| dated(20));
    let gateway = Gateway::to(&upstream).start();
    for _ in 0..8 {
        gateway.post(TASKLIST, "{}").await;
        assert!(signed_at(upstream.seen().last().unwrap()).abs() <= 2);
    }
    let skew = gateway.metrics().await.value("xinyao_clock_skew_seconds").unwrap();
    assert!((skew - 20.0).abs() < 3.0, "{skew}");
}
