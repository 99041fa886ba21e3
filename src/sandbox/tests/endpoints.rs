//! Admission, and the eight endpoints.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::support::{authorization, credential, numbers, settings, start};
use crate::sandbox::{Settings, bind};
use crate::xinyao::{Credential, Endpoint};

const SID: &str = "ad84177a55e14ce02a46331bd500243c";

#[tokio::test]
async fn only_a_right_and_timely_signature_is_admitted() {
    let sandbox = start(settings()).await;
    let (path, body) = (Endpoint::SyncPrompt.spec().path, json!({ "app_id": "app" }));
    for (offset, code) in [(0, 0), (-290, 0), (290, 0), (-360, -401_004), (360, -401_004)] {
        assert_eq!(sandbox.post_at(path, &body, offset).await.unwrap().code(), code, "{offset}");
    }
    let wrong = Credential { apisecret: "other".into(), ..credential() };
    let strange = Credential { apikey: "other".into(), ..credential() };
    for (value, code) in [
        (authorization(&wrong, 0), -401_003),
        (authorization(&strange, 0), -401_002),
        (b"Bearer x".to_vec(), -401_001),
    ] {
        let request = Request::post(path).header("authorization", value).body(body.to_string().into());
        let answer = sandbox.raw(request.unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, code));
    }
    let unsigned = Request::post(path).body(body.to_string().into()).unwrap();
    assert_eq!(sandbox.raw(unsigned).await.unwrap().code(), -401_001);

    let seen = sandbox.handle.requests();
    assert_eq!((seen.len() as u64, sandbox.handle.request_count()), (9, 9));
    assert_eq!(seen.iter().filter(|seen| seen.authorized).count(), 3);
    assert_eq!((seen[0].target.as_str(), &seen[0].body[..]), (path, body.to_string().as_bytes()));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_speed_must_be_above_nothing() {
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = bind(Settings { speed, ..settings() }).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{speed}");
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sandbox = start(settings()).await;
    let mut stream = tokio::net::TcpStream::connect(sandbox.address).await.unwrap();
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n{last}").as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 2);
    assert_eq!(answers.matches("-401001").count(), 1, "HEAD has no body: {answers}");
}

#[tokio::test]
async fn the_clock_can_be_put_ahead() {
    let sandbox = start(settings()).await;
    sandbox.handle.set_clock_offset(3600);
    let (path, body) = (Endpoint::SyncPrompt.spec().path, json!({ "app_id": "app" }));
    let late = sandbox.post_at(path, &body, 0).await.unwrap();
    assert_eq!(late.code(), -401_004);
    let date = jiff::fmt::rfc2822::parse(late.headers["date"].to_str().unwrap()).unwrap();
    let ahead = date.timestamp().as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..3610).contains(&ahead), "{ahead}");
    assert_eq!(sandbox.post_at(path, &body, 3600).await.unwrap().code(), 0);
}

#[tokio::test]
async fn an_address_off_the_whitelist_is_refused() {
    let elsewhere = Settings { allowed_ips: vec!["192.0.2.1".parse().unwrap()], ..settings() };
    let sandbox = start(elsewhere).await;
    let answer = sandbox.post(Endpoint::SyncPrompt, &json!({ "app_id": "app" })).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, -403_001));
    let here = Settings { allowed_ips: vec!["::ffff:127.0.0.1".parse().unwrap()], ..settings() };
    let sandbox = start(here).await;
    assert_eq!(sandbox.post(Endpoint::SyncPrompt, &json!({ "app_id": "app" })).await.code(), 0);
}

#[tokio::test]
async fn paths_methods_and_fields_are_checked() {
    let sandbox = start(settings()).await;
    let unknown = sandbox.post_at("/api/v1/other", &json!({}), 0).await.unwrap();
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, -404_001));
    let get = sandbox.get(Endpoint::TaskList.spec().path, None).await;
    assert_eq!(
        (get.status, &get.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let missing = sandbox.post(Endpoint::AddTask, &json!({ "app_id": "app" })).await;
    assert_eq!((missing.status, missing.code()), (StatusCode::OK, -170_001));
    assert!(missing.json()["msg"].as_str().unwrap().contains("task_name"));
    let text = sandbox.post(Endpoint::AddTask, &json!("text")).await;
    assert_eq!((text.status, text.code()), (StatusCode::INTERNAL_SERVER_ERROR, 999_999));
    let large = sandbox.post(Endpoint::AddTask, &json!("x".repeat(70_000))).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(sandbox.get("/coeus/82001/x.wav", None).await.code(), -404_002);
}

#[tokio::test]
async fn a_task_that_was_created_is_listed() {
    let sandbox = start(settings()).await;
    let first = sandbox.task(json!({ "task_name": "第一", "recall_policy": null })).await;
    let second = sandbox.task(json!({ "task_name": "第二" })).await;
    sandbox.task(json!({ "app_id": "another" })).await;
    let list = async |more: Value| {
        let mut body = json!({ "app_id": "app" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sandbox.post(Endpoint::TaskList, &body).await.json()
    };

    let all = list(json!({})).await;
    assert_eq!(
        (&all["total_rows"], &all["total_pages"], &all["num_per_page"]),
        (&2.into(), &1.into(), &10.into())
    );
    assert_eq!((&all["result"][0]["task_id"], &all["result"][1]["task_id"]), (&json!(second), &json!(first)));
    assert_eq!(all["result"][1]["recall_policy"], json!([]));
    assert_eq!(all["result"][0]["team_url"], "http://101.132.237.99:38081/xinyaoai/report");
    assert_eq!(list(json!({ "task_name": "一" })).await["result"][0]["task_id"], first);
    assert_eq!(list(json!({ "task_id": second })).await["total_rows"], 1);
    let page = list(json!({ "page_no": 2, "page_size": 1 })).await;
    assert_eq!((&page["total_pages"], &page["current_page"]), (&2.into(), &2.into()));
    assert_eq!(page["result"][0]["task_id"], first);
    assert_eq!(list(json!({ "page_no": i64::MAX, "page_size": 50 })).await["result"], json!([]));
    assert_eq!(sandbox.handle.tasks().len(), 3);
}

#[tokio::test]
async fn a_batch_counts_the_rows_that_are_numbers() {
    let sandbox = start(settings()).await;
    let task = sandbox.task(json!({ "team_url": null })).await;
    let answer = sandbox.upload(&task, "csv", &(numbers(30) + "nobody,x\n")).await.json();
    assert_eq!((&answer["code"], &answer["result"]["call_count"]), (&0.into(), &30.into()));
    let excel = sandbox.upload(&task, "excel", "PK\u{3}\u{4}\n\n").await.json();
    assert_eq!(excel["result"]["call_count"], 2);
    assert_ne!(answer["result"]["call_sn"], excel["result"]["call_sn"]);

    for (task, suffix, file, code) in [
        ("7", "csv", "phone\n13800138000", -170_101),
        (&task, "excel", "phone\n13800138000", -170_102),
        (&task, "csv", "13800138000\n13800138001", -170_102),
        (&task, "pdf", "phone\n13800138000", -170_001),
        (&task, "csv", "", -170_001),
    ] {
        assert_eq!(sandbox.upload(task, suffix, file).await.code(), code, "{suffix} {file}");
    }
    sandbox.handle.settled().await;
    let batches = sandbox.handle.batches();
    assert_eq!(batches.len(), 2);
    assert!(
        batches.iter().all(|batch| batch.settled && batch.task_id == task && batch.call_sn_name == "批次")
    );
    assert!((batches[0].called, batches[1].called) >= (30, 0) && batches[0].answered > 0);
    assert!(sandbox.handle.pushes().is_empty());
}

#[tokio::test]
async fn bots_are_those_of_the_document() {
    let sandbox = start(settings()).await;
    let answer = sandbox.post(Endpoint::SyncPrompt, &json!({ "app_id": "app" })).await;
    let expected: Value = serde_json::from_str(Endpoint::SyncPrompt.spec().answer_example).unwrap();
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.headers["content-type"], "application/json;charset=UTF-8");
}

#[tokio::test]
async fn a_chat_starts_answers_and_stops() {
    let sandbox = start(settings()).await;
    let start: Value = serde_json::from_str(Endpoint::BotdmStart.spec().example).unwrap();
    let expected: Value = serde_json::from_str(Endpoint::BotdmStart.spec().answer_example).unwrap();
    let opening = sandbox.post(Endpoint::BotdmStart, &start).await.json();
    for key in ["sid", "cmd", "prompt", "prompt_id", "channel", "ext"] {
        assert_eq!(opening["result"][key], expected["result"][key], "{key}");
    }

    let trigger = async |cmd: &str, text: &str, prompt_id: &str| {
        let body = json!({ "sid": SID, "cmd": cmd, "text": text, "prompt_id": prompt_id });
        sandbox.post(Endpoint::BotdmTrigger, &body).await.json()
    };
    let weather = trigger("evt.input", "明天北京天气怎么样?", "").await;
    assert_eq!(
        (&weather["result"]["cmd"], &weather["result"]["prompt_id"]),
        (&"evt.say".into(), &"ncYaq".into())
    );
    assert_eq!(weather["result"]["ext"]["g_vars"]["name"], "张三");
    assert_eq!(trigger("evt.complete", "", "ncYaq").await["result"]["cmd"], "evt.wait");
    assert_eq!(trigger("evt.complete", "", "iQwtR").await["code"], -170_001);
    assert!(trigger("evt.input", "嗯?", "").await["result"]["relation_list"].is_array());
    trigger("evt.input", "转人工", "").await;
    assert_eq!(trigger("evt.complete", "", "t7HqZ").await["result"]["cmd"], "evt.transfer");
    assert_eq!(trigger("evt.input", "在吗", "").await["code"], -170_201);

    let sid = json!({ "sid": SID });
    assert_eq!(sandbox.post(Endpoint::BotdmStop, &sid).await.code(), -170_201);
    sandbox.post(Endpoint::BotdmStart, &start).await;
    assert_eq!(sandbox.post(Endpoint::BotdmStop, &sid).await.json(), json!({ "code": 0, "msg": "success" }));
    assert_eq!(trigger("evt.input", "在吗", "").await["code"], -170_201);
    assert_eq!(sandbox.post(Endpoint::BotdmStop, &json!({ "sid": "x".repeat(32) })).await.code(), -170_201);
}
