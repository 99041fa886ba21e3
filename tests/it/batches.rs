//! The ledger: what was submitted against what came back.

use serde_json::{Value, json};

use crate::support::{Binary, Gateway, Upstream, answer, bytes, eventually, outnum, post};

/// A SaaS that gives each outnum a batch of its own.
pub fn saas() -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(1);
    Upstream::scripted(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = json!({ "code": 0, "result": { "call_sn": format!("batch-{number}"), "call_count": 3 } });
        answer("200 OK", "content-type: application/json\r\n", body.to_string())
    })
}

pub fn record(call_sn: &str, calls: Value) -> String {
    json!({ "task_id": "7", "task_name": "任务", "call_sn": call_sn, "bot_id": "1", "calls": calls })
        .to_string()
}

async fn batch(gateway: &Gateway, call_sn: &str) -> Value {
    gateway.operate(&format!("/api/v1/batches/{call_sn}")).await.json()
}

#[tokio::test]
async fn a_batch_is_followed_from_its_outnum_to_its_last_record() {
    let upstream = saas();
    let gateway = Gateway::to(&upstream).start();
    let sent = gateway.ask(outnum("7", "phone\n1\n2\n3\n4\n")).await;
    assert_eq!((sent.status, sent.json()["result"]["call_sn"].as_str()), (200, Some("batch-1")));
    eventually(async || gateway.operate("/api/v1/batches/batch-1").await.status == 200).await;
    let fresh = batch(&gateway, "batch-1").await;
    let expected = json!({
        "call_sn": "batch-1", "app": "crm", "task_id": "7", "sent": 4, "accepted": 3, "returned": 0,
        "connected": 0, "by_state": {}, "by_degree": {}, "first_record_at": null, "quiet": false,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&fresh[key], value, "{key}: {fresh}");
    }
    let calls = json!([
        { "call_id": "a", "num": "13800138000", "state": 775 },
        { "call_id": "b", "num": "13900139000", "state": 785, "answered_time": "2026-11-24 10:00:00" },
    ]);
    for calls in [calls.clone(), calls, json!([{ "call_id": "c", "num": "13800138000", "state": 775 }])] {
        assert_eq!(gateway.push(record("batch-1", calls)).await.status, 200);
    }
    let intent = json!({ "call_sn": "batch-1", "degrees": [{ "num": "13900139000", "degree_name": "A类" }] });
    assert_eq!(gateway.push(intent.to_string()).await.status, 200);
    eventually(async || batch(&gateway, "batch-1").await["by_degree"] == json!({ "A类": 1 })).await;
    let found = batch(&gateway, "batch-1").await;
    assert_eq!((&found["returned"], &found["connected"]), (&2.into(), &1.into()), "{found}");
    assert_eq!(found["by_state"], json!({ "775": 2, "785": 1 }));
    assert_eq!(found["task_name"], "任务");
    assert!(found["submitted_at"].is_string() && found["last_record_at"].is_string(), "{found}");
    assert_eq!(gateway.operate("/api/v1/batches/nothing").await.status, 404);
    assert_eq!(gateway.metrics().await.value("xinyao_batches_quiet"), Some(0.0));
}

#[tokio::test]
async fn every_outnum_is_booked_guarded_or_not_and_answers_pass_as_they_are() {
    let upstream = saas();
    let gateway = Gateway::to(&upstream).crm("outnum_duplicate_window: 0s").start();
    for (number, ask) in [
        outnum("1", "phone\n1\n"),
        outnum("1", "phone\n1\n"),
        outnum("2", bytes(300_000)),
        outnum("3", "phone\n1\n").header("idempotency-key", "k"),
        outnum("3", "phone\n1\n").header("idempotency-key", "k"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gateway.ask(ask).await;
        let expected = format!("batch-{}", (number + 1).min(4));
        assert_eq!(answer.json()["result"]["call_sn"], expected.as_str(), "{answer:?}");
    }
    let listed = async || gateway.operate("/api/v1/batches?app=crm").await.json()["batches"].clone();
    eventually(async || listed().await.as_array().unwrap().len() == 4).await;
    let tasks: Vec<_> = listed().await.as_array().unwrap().iter().map(|row| row["task_id"].clone()).collect();
    assert_eq!(tasks, ["3", "2", "1", "1"]);
    let first = gateway.operate("/api/v1/batches?limit=3").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = gateway.operate(&format!("/api/v1/batches?limit=3&cursor={cursor}")).await.json();
    assert_eq!((rest["batches"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
}

#[tokio::test]
async fn what_the_saas_refused_is_no_batch_and_a_long_answer_passes() {
    let long = format!(r#"{{"code":0,"result":{{"call_sn":"x"}},"padding":"{}"}}"#, "x".repeat(200_000));
    let size = long.len();
    let upstream = Upstream::in_turn([
        answer("200 OK", "", r#"{"code":1,"result":{"call_sn":"x"}}"#),
        answer("200 OK", "", long),
    ]);
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.ask(outnum("1", "phone\n1\n")).await.code(), 1);
    assert_eq!(gateway.ask(outnum("1", "phone\n1\n")).await.body.len(), size);
    assert_eq!(gateway.operate("/api/v1/batches").await.json()["batches"], json!([]));
}

#[tokio::test]
async fn it_outlives_a_kill_and_counts_nothing_twice() {
    let upstream = saas();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    assert_eq!(outnum("7", "phone\n1\n").send(gateway.proxy).await.status, 200);
    let read = async |gateway: &Binary| {
        crate::support::get("/api/v1/batches/batch-1").send(gateway.admin).await.json()
    };
    for round in 1..=3 {
        let call =
            json!([{ "call_id": format!("c{round}"), "num": format!("1380013800{round}"), "state": 775 }]);
        let path = crate::support::callback(None);
        for _ in 0..2 {
            let pushed = post(&path, record("batch-1", call.clone())).send(gateway.callbacks).await;
            assert_eq!(pushed.status, 200);
        }
        gateway = gateway.kill_and_run_again();
        eventually(async || read(&gateway).await["returned"] == round).await;
        assert_eq!(read(&gateway).await["by_state"], json!({ "775": round }));
        assert_eq!(read(&gateway).await["accepted"], 3);
    }
}

#[tokio::test]
async fn the_command_line_shows_progress() {
    let upstream = saas();
    let gateway = Gateway::to(&upstream).start();
    let run = async |words: &[&str]| {
        let mut command = Binary::command();
        command.arg("batches").args(words).args(["--admin", &format!("http://{}", gateway.admin)]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&[]).await, "no batches\n");
    assert_eq!(gateway.ask(outnum("7", "phone\n1\n")).await.status, 200);
    let call = json!([{ "call_id": "a", "num": "13800138000", "state": 770, "answered_time": "x" }]);
    gateway.push(record("batch-1", call)).await;
    eventually(async || batch(&gateway, "batch-1").await["returned"] == 1).await;
    let listed = run(&[]).await;
    assert!(listed.contains("batch-1") && listed.contains("[######..............]  33 %"), "{listed}");
    let one = run(&["batch-1"]).await;
    assert!(one.contains("770") && one.contains("关机") && !one.contains("13800138000"), "{one}");
    let listed: Value = serde_json::from_str(&run(&["--json"]).await).unwrap();
    assert_eq!(listed["batches"][0]["connected"], 1);
}
