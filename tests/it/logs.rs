//! JSON logs: every line is an object as the schema says, whatever happens.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{
    Binary, Gateway, Line, OUTNUM, Sandbox, TASKLIST, Upstream, callback, eventually, get, nobody, outnum,
    post,
};

const RECORD: &str = r#"{"bot_id":"1","call_sn":"9","calls":[{"call_id":"1"}]}"#;
const JSON: &str = "log: {format: json, level: debug}";

/// The schema that the program prints.
fn schema() -> Value {
    let printed = Binary::command().args(["schema", "--log"]).output().unwrap();
    assert!(printed.status.success());
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// The lines as objects, each of which is as the schema says and names no field twice.
fn valid(lines: &[String]) -> Vec<Value> {
    let validator = jsonschema::options().should_validate_formats(true).build(&schema()).unwrap();
    let read = |line: &String| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let faults: Vec<String> = validator.iter_errors(&object).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{line}: {faults:#?}");
        assert_eq!(&object.to_string(), line, "a field is there twice");
        object
    };
    lines.iter().map(read).collect()
}

/// Fields that occur, of the lines that are like this.
fn fields(lines: &[Value], like: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
    let lines = lines.iter().filter(|line| like(line));
    lines.flat_map(|line| line.as_object().unwrap().keys().map(String::as_str)).collect()
}

#[tokio::test]
async fn a_day_at_work_is_told_as_the_schema_says() {
    let sandbox = Sandbox::start().await;
    let hook = Upstream::start();
    let mut gateway = Binary::run(
        Gateway::before(&sandbox).crm("rate_limits: [{limit: 1/h, burst: 3, endpoints: [tasklist]}]").with(JSON).with(
            format!(
                "subscribers: [{{name: well, url: \"{}\"}}, {{name: gone, url: \"http://{}\", retry: [10ms]}}]",
                hook.url(),
                nobody()
            ),
        ),
    );
    requests(&gateway, &sandbox).await;
    for label in ["", "/13800138000"] {
        post(&format!("{}{label}", callback(None)), RECORD).send(gateway.callbacks).await;
    }
    post(&callback(None), RECORD).send(gateway.callbacks).await;
    post(&callback(None), r#"{"caller":"13515525820"}"#).send(gateway.callbacks).await;
    post("/callbacks/crm/0", RECORD).send(gateway.callbacks).await;
    get(&callback(None)).send(gateway.callbacks).await;
    for action in ["test", "pause", "resume", "purge"] {
        post(&format!("/api/v1/subscribers/gone/{action}"), "").send(gateway.admin).await;
    }
    eventually(async || gateway.log().iter().any(|line| line.contains("not delivered"))).await;
    gateway.signal("TERM");
    gateway.ended().await;

    let lines = valid(&gateway.log());
    let callbacks = fields(&lines, |line| line["target"] == "access" && line["message"] == "callback");
    let requests = fields(&lines, |line| line["target"] == "access" && line["message"].is_null());
    let schema = schema();
    for (kind, seen) in [("request", requests), ("callback", callbacks)] {
        let known = schema["$defs"][kind]["properties"].as_object().unwrap();
        let unseen: Vec<_> = known
            .keys()
            .filter(|field| {
                !seen.contains(field.as_str()) && !matches!(field.as_str(), "responder" | "failure")
            })
            .collect();
        assert!(unseen.is_empty(), "no {kind} has {unseen:?}");
    }
}

/// Requests that go well, are refused, fail, and are none.
async fn requests(gateway: &Binary, sandbox: &Sandbox) {
    let body = r#"{"app_id":"a","page_no":1,"page_size":10}"#;
    post(TASKLIST, body).send(gateway.proxy).await;
    post(TASKLIST, "{}").header("x-request-id", "\"quoted\"\\").send(gateway.proxy).await;
    sandbox.fault("drop=1");
    post(TASKLIST, body).send(gateway.proxy).await;
    post(TASKLIST, body).send(gateway.proxy).await.refused(429, -42901, "rate_limited");
    outnum("1", "number\n13800138000\n").send(gateway.proxy).await;
    post("/elsewhere/\u{e9}13800138000", body).send(gateway.proxy).await;
    get(OUTNUM).send(gateway.proxy).await;
    let mut line = Line::to(gateway.proxy).await;
    line.send("no HTTP\r\n\r\n").await;
    line.answer().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_like_all_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let listen = format!("listen: {{admin: \"{}\"}}", taken.local_addr().unwrap());
    std::fs::write(&file, Gateway::at("http://127.0.0.1:9").with(JSON).with(listen).text()).unwrap();
    let ended = Binary::command().arg("--config").arg(&file).current_dir(folder.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8(ended.stderr).unwrap();
    let lines = valid(&text.lines().map(str::to_owned).collect::<Vec<_>>());
    let last = lines.last().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"the gateway cannot run".into()));
    assert!(last["error"].as_str().unwrap().contains("listen.admin"), "{last}");
}
