//! The pictures of the README, drawn anew:
//! `cargo nextest run --run-ignored only -E 'test(pictures)'`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Browser, Gateway, SYNCPROMPT, Sandbox, TASKLIST, Upstream, answer, eventually, get, ok,
};

/// So long there is traffic before the first picture.
const MINUTES: u64 = 4;

/// A subscriber that fails now and then.
fn flaky() -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::scripted(move |_| match count.fetch_add(1, Ordering::Relaxed) % 5 {
        1 => answer(
            "503 Service Unavailable",
            "content-type: application/json\r\n",
            r#"{"code":-1,"msg":"busy"}"#,
        ),
        _ => ok(),
    })
}

#[tokio::test]
#[ignore = "draws the README's pictures, for minutes"]
async fn pictures() {
    let sandbox = Sandbox::start().await;
    let (crm, warehouse) = (Upstream::start(), flaky());
    let gateway = Gateway::before(&sandbox)
        .crm("rate_limits: [{limit: 100/s, burst: 200}, {limit: 6/m, burst: 2, endpoints: [syncprompt]}]")
        .with(format!(
            "subscribers: [{{name: crm-hook, url: {}/events}}, {{name: warehouse, url: {}/events, retry: [1s, 2s, 4s]}}]",
            crm.url(),
            warehouse.url()
        ))
        .start();
    let began = Instant::now();
    let mut number = 0_u64;
    while began.elapsed() < Duration::from_mins(MINUTES) {
        number += 1;
        let body = json!({ "app_id": "200000000", "page_no": 1, "page_size": 10 }).to_string();
        gateway.post(TASKLIST, if number.is_multiple_of(9) { "{}" } else { &body }).await;
        if number.is_multiple_of(11) {
            gateway.post(SYNCPROMPT, r#"{"app_id":"200000000"}"#).await;
            gateway.ask(get("/elsewhere")).await;
        }
        let record = json!({
            "task_id": "165001309410383252", "task_name": "回访", "call_sn": "165001309410387348", "call_sn_name": "十一月批次",
            "bot_id": "114660944623140864",
            "calls": [{ "call_id": number.to_string(), "num": format!("138{number:08}"), "state": 770 + number % 20 }],
        });
        gateway.push(record.to_string()).await;
        let pause = 60.0 + 40.0 * (began.elapsed().as_secs_f64() / 30.0).sin() + fastrand::f64() * 60.0;
        tokio::time::sleep(Duration::from_secs_f64(pause / 1000.0)).await;
    }
    let browser = Browser::at(&format!("http://{}/#/overview", gateway.admin)).await;
    browser.prefer("light").await;
    browser.reads("Errors of the last hour").await;
    save("overview", &browser).await;

    let events = gateway.operate("/api/v1/events?limit=50").await.json();
    let tried = |event: &&serde_json::Value| event["deliveries"][1]["attempts"].as_u64() > Some(1);
    let id =
        events["events"].as_array().unwrap().iter().find(tried).unwrap()["id"].as_str().unwrap().to_owned();
    let state = async || {
        gateway.operate(&format!("/api/v1/events/{id}")).await.json()["deliveries"][1]["state"].clone()
    };
    eventually(async || state().await == "delivered").await;
    browser.prefer("dark").await;
    browser.go(&format!("http://{}/#/events/{id}", gateway.admin)).await;
    browser.reads("Attempt 2 to warehouse").await;
    browser.reads("Show numbers").await;
    save("event", &browser).await;
}

async fn save(name: &str, browser: &Browser) {
    let picture = browser.picture().await;
    assert!(picture.len() < 150 << 10, "{name}: {} bytes", picture.len());
    std::fs::create_dir_all("docs/images").unwrap();
    std::fs::write(format!("docs/images/{name}.png"), picture).unwrap();
}
