use super::*;
use crate::telemetry::histogram::SPREAD;

fn reading(ok: u64, refused: u64) -> Reading {
    let mut took = Histogram::new(SPREAD);
    (0..ok).for_each(|_| took.observe(Duration::from_millis(20)));
    let complaint = Complaint { endpoint: "outnum", outcome: "rejected", code: "rate_limited".to_owned() };
    Reading {
        requests: vec![("ok", ok), ("rejected", refused)],
        took,
        errors: vec![(complaint, refused)],
        in_flight: 3,
        callbacks: ok,
        callbacks_refused: 0,
        delivered: ok,
        failed: 0,
        backlog: 7,
        dead_letters: 0,
        clock_skew_seconds: 0.5,
    }
}

#[test]
fn a_sample_has_what_came_in_its_step_and_what_stood_at_its_end() {
    let start = Instant::now();
    let history = History::new(reading(5, 1), start);
    history.take(reading(15, 1), start + STEP);
    history.take(reading(15, 4), start + 2 * STEP);
    let shown = history.shown(None);
    let samples = shown["samples"].as_array().unwrap();
    assert_eq!(samples[0]["requests"], json!({ "ok": 10, "rejected": 0 }));
    assert_eq!(samples[1]["requests"], json!({ "ok": 0, "rejected": 3 }));
    assert!((10.0..=25.0).contains(&samples[0]["latency_ms"]["p50"].as_f64().unwrap()));
    assert_eq!(samples[1]["latency_ms"]["p99"], Value::Null, "nothing ended");
    assert_eq!((&samples[1]["backlog"], &samples[1]["in_flight"]), (&json!(7), &json!(3)));
    assert_eq!(
        shown["errors"],
        json!([{ "endpoint": "outnum", "outcome": "rejected", "code": "rate_limited", "count": 3 }])
    );
    let last = samples[1]["at"].as_str().unwrap().parse().unwrap();
    let since = history.shown(Some(last));
    assert_eq!(since["samples"], json!([samples[1]]), "who knows the rest is told what is new");
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let start = Instant::now();
    let history = History::new(reading(0, 0), start);
    for step in 1..=400 {
        history.take(reading(u64::from(step), 0), start + step * STEP);
    }
    let shown = history.shown(None);
    let samples = shown["samples"].as_array().unwrap();
    assert_eq!(samples.len(), KEPT);
    let times: Vec<Timestamp> =
        samples.iter().map(|sample| sample["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted());
    assert_eq!(times[KEPT - 1].duration_since(times[0]).as_secs(), 3590);
}

#[test]
fn a_count_that_goes_back_is_none() {
    let start = Instant::now();
    let history = History::new(reading(9, 9), start);
    history.take(reading(2, 2), start + STEP);
    let shown = history.shown(None);
    assert_eq!(shown["samples"][0]["delivered"], 0);
    assert_eq!(shown["errors"], json!([]));
}
