use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::xinyao::Endpoint;

/// What fails, as `field check`.
fn told(failures: &[Failure]) -> Vec<String> {
    assert!(failures.iter().all(|failure| failure.to_string().is_ascii()), "{failures:?}");
    failures.iter().map(|failure| format!("{} {}", failure.field, failure.check.name())).collect()
}

/// The endpoint's example with `key` set, or taken away.
fn changed(endpoint: Endpoint, key: &str, value: Option<Value>) -> Vec<String> {
    let mut body: serde_json::Map<String, Value> = serde_json::from_str(endpoint.spec().example).unwrap();
    match value {
        Some(value) => body.insert(key.into(), value),
        None => body.remove(key),
    };
    told(&json(endpoint, &serde_json::to_vec(&body).unwrap()))
}

fn form(fields: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    let mut form = Form::new(Endpoint::Outnum);
    for (name, value) in fields {
        form.part(name, false);
        form.data(value.as_bytes(), &mut ());
    }
    if let Some(file) = file {
        form.part("file", true);
        form.data(file.as_bytes(), &mut ());
    }
    told(&form.finish(true, None, &mut ()))
}

const FIELDS: [(&str, &str); 5] = [
    ("app_id", "200000000"),
    ("task_id", "5682792453123984"),
    ("call_count", "2"),
    ("file_suffix", "csv"),
    ("disnum_group_id", "1"),
];
const FILE: &str = "phone,name,sex,fees\n9998,压测号码,先生,2341.25\n13800138000,,,\n";

/// §10.3, §11.3 … §16.3 to the letter, the backslashes of §10.3 included.
const EXAMPLES: [(Endpoint, &str); 7] = [
    (
        Endpoint::AddTask,
        r#"{
    "app_id": "81351552582062080",
    "task_name": "xxx外呼任务0920",
    "is_record": 2,
    "bot_id": "102094990155681792",
    "voice": "aixia",
    "disnumber": "xxx",
    "team_url": "http://101.132.237.99:38081/xinyaoai/report",
    "forbid_policy": ["00:00-08:00", "12:00-13:00", "20:00-23:59"],
    "recall_policy": ["777","781","775","776","787","788","790"],
    "recall_interval": 30,
    "is_ring_asr":1,
    "ring_asr_code":
    ["777,781","\775,776,787,788,790","\778,780,791,793,794,796","\773\"],
    "makecall_timeout":45
}"#,
    ),
    (
        Endpoint::TaskList,
        r#"{
    "app_id": "81351552582062080",
    "page_no": 1,
    "page_size": 10
}"#,
    ),
    (
        Endpoint::SyncPrompt,
        r#"{
    "app_id": "81351552582062080"
}"#,
    ),
    (
        Endpoint::FollowedData,
        r#"{
    "session_id": "9082792453545984"
}"#,
    ),
    (
        Endpoint::BotdmStart,
        r#"{
  "app_id":"200000000",
  "bot_id":"12705770053645123",
  "sid":"ad84177a55e14ce02a46331bd500243c",
  "channel":"wx_mp",
  "var_json":{"name":"张三","sex":"先生","age":24},
  "user_data":"this is user data"
}"#,
    ),
    (
        Endpoint::BotdmTrigger,
        r#"{
    "cmd": "evt.input",
    "text": "明天北京天气怎么样?",
    "sid": "ad84177a55e14ce02a46331bd500243c"
}"#,
    ),
    (
        Endpoint::BotdmStop,
        r#"{
    "sid":"ad84177a55e14ce02a46331bd500243c"
}"#,
    ),
];

#[test]
fn the_documents_own_examples_pass() {
    for (endpoint, example) in EXAMPLES {
        assert_eq!(json(endpoint, example.as_bytes()), [], "{example}");
        assert_eq!(json(endpoint, endpoint.spec().example.as_bytes()), []);
    }
    assert_eq!(form(&FIELDS, Some(FILE)), [""; 0]);
    // What §6.3 shows of the fields; the others that §6.2 requires are not in it.
    let shown = [("app_id", "200000000"), ("task_id", "5682792453123984"), ("call_count", "50000")];
    assert_eq!(form(&shown, None), ["file_suffix required", "disnum_group_id required", "file required"]);
}

#[test]
fn whoever_writes_codes_as_the_column_of_types_has_them_is_not_told() {
    for codes in [
        json!("777,781"),
        json!("[\"777,781\",\"775\"]"),
        json!(["777,781", "\\775", "\"773"]),
        json!([]),
        json!("773"),
    ] {
        assert_eq!(changed(Endpoint::AddTask, "ring_asr_code", Some(codes.clone())), [""; 0], "{codes}");
    }
}

#[test]
fn each_kind_of_field_is_held_to() {
    for (endpoint, key, value, expected) in [
        (Endpoint::AddTask, "task_name", None, "required"),
        (Endpoint::AddTask, "task_name", Some(json!("")), "required"),
        (Endpoint::AddTask, "task_name", Some(json!(null)), "required"),
        (Endpoint::AddTask, "task_name", Some(json!(7)), "type"),
        (Endpoint::AddTask, "app_id", Some(json!(7)), "type"),
        (Endpoint::AddTask, "team_url", Some(json!(["http://a"])), "type"),
        (Endpoint::AddTask, "is_record", Some(json!(3)), "enum"),
        (Endpoint::AddTask, "is_record", Some(json!(true)), "type"),
        (Endpoint::AddTask, "is_record", Some(json!("1")), "type"),
        (Endpoint::AddTask, "is_ring_asr", Some(json!(0)), "enum"),
        (Endpoint::AddTask, "forbid_policy", Some(json!("08:00-09:00")), "type"),
        (Endpoint::AddTask, "forbid_policy", Some(json!(["08:00-09:00", "8:00-9:00"])), "format"),
        (Endpoint::AddTask, "forbid_policy", Some(json!(["20:00-24:00"])), "format"),
        (Endpoint::AddTask, "forbid_policy", Some(json!(["+8:00-09:00"])), "format"),
        (Endpoint::AddTask, "forbid_policy", Some(json!([8])), "type"),
        (Endpoint::AddTask, "recall_policy", Some(json!(["busy"])), "format"),
        (Endpoint::AddTask, "recall_policy", Some(json!([775])), "type"),
        (Endpoint::AddTask, "ring_asr_code", Some(json!(["busy,1"])), "format"),
        (Endpoint::AddTask, "ring_asr_code", Some(json!(7)), "type"),
        (Endpoint::AddTask, "recall_interval", Some(json!(-1)), "range"),
        (Endpoint::AddTask, "recall_interval", Some(json!(30.5)), "type"),
        (Endpoint::TaskList, "page_size", Some(json!(51)), "range"),
        (Endpoint::TaskList, "page_size", Some(json!(0)), "range"),
        (Endpoint::TaskList, "page_size", Some(json!(18_446_744_073_709_551_615_u64)), "range"),
        (Endpoint::TaskList, "page_size", Some(json!({"a": 1})), "type"),
        (Endpoint::FollowedData, "session_id", None, "required"),
        (Endpoint::BotdmStart, "sid", Some(json!("short")), "length"),
        (Endpoint::BotdmStart, "channel", Some(json!("fax")), "enum"),
        (Endpoint::BotdmStart, "var_json", Some(json!({"a": 1, "b": {"c": 1}})), "flat"),
        (Endpoint::BotdmStart, "var_json", Some(json!({"a": [1]})), "flat"),
        (Endpoint::BotdmStart, "var_json", Some(json!("{\"a\":1}")), "type"),
        (Endpoint::BotdmStop, "sid", Some(json!("")), "required"),
        (Endpoint::BotdmTrigger, "cmd", Some(json!("evt.say")), "enum"),
        (Endpoint::BotdmTrigger, "text", None, "required"),
        (Endpoint::BotdmTrigger, "text", Some(json!("")), "required"),
    ] {
        assert_eq!(changed(endpoint, key, value.clone()), [format!("{key} {expected}")], "{value:?}");
    }
    let complete = Some(json!("evt.complete"));
    assert_eq!(changed(Endpoint::BotdmTrigger, "cmd", complete), ["prompt_id required"]);
    let good = [("is_record", json!(null)), ("forbid_policy", json!([])), ("new", json!({"a": {"b": []}}))];
    for (key, value) in good {
        assert_eq!(changed(Endpoint::AddTask, key, Some(value)), [""; 0], "{key}");
    }
}

#[test]
fn every_failure_is_told() {
    let body = r#"{"app_id":7,"page_no":0,"page_size":51,"app_id":"1"}"#;
    assert_eq!(
        told(&json(Endpoint::TaskList, body.as_bytes())),
        ["app_id type", "page_no range", "page_size range", "app_id repeated"]
    );
    assert_eq!(
        told(&json(Endpoint::AddTask, b"{}")),
        ["app_id required", "task_name required", "bot_id required", "voice required", "disnumber required"]
    );
}

#[test]
fn a_field_that_is_repeated_is_told_of_once() {
    let body = format!("{{{}\"cmd\":1}}", "\"cmd\":1,".repeat(1000));
    let failures = told(&json(Endpoint::BotdmTrigger, body.as_bytes()));
    assert_eq!(failures, ["cmd type", "cmd repeated", "sid required"]);
    let mut form = Form::new(Endpoint::Outnum);
    for as_file in [false, true] {
        for _ in 0..1000 {
            form.part("call_count", as_file);
            form.data(b"x", &mut ());
            form.part("file", !as_file);
        }
    }
    let told = told(&form.finish(true, None, &mut ()));
    assert_eq!(told.iter().filter(|told| told.starts_with("call_count")).count(), 2, "{told:?}");
    assert!(told.len() < 10, "{told:?}");
}

#[test]
fn bodies_that_are_no_object() {
    for body in
        ["", " ", "[]", "7", "\"x\"", "{", "{\"app_id\":\"1\",}", "{}{}", "\u{feff}{}", "app_id=1", "{'a':1}"]
    {
        assert_eq!(told(&json(Endpoint::SyncPrompt, body.as_bytes())), ["body body"], "{body}");
    }
    assert_eq!(told(&json(Endpoint::SyncPrompt, b"{\"app_id\":\"\xff\"}")), ["body body"]);
}

#[test]
fn nothing_of_the_callers_own_is_repeated() {
    for (endpoint, key, value) in [
        (Endpoint::TaskList, "page_size", json!(13_800_138_000_i64)),
        (Endpoint::BotdmStart, "channel", json!("13800138000")),
        (Endpoint::AddTask, "forbid_policy", json!(["13800138000"])),
        (Endpoint::AddTask, "app_id", json!(13_800_138_000_i64)),
    ] {
        let mut body: Value = serde_json::from_str(endpoint.spec().example).unwrap();
        body[key] = value;
        let failures = json(endpoint, body.to_string().as_bytes());
        assert!(failures.len() == 1 && !failures[0].to_string().contains("138"), "{failures:?}");
    }
    for body in [r#"{"app_id": 13800138000x}"#, r#""13800138000""#, "[13800138000]"] {
        let failures = json(Endpoint::SyncPrompt, body.as_bytes());
        assert!(!failures[0].to_string().contains("138"), "{failures:?}");
    }
}

#[test]
fn a_forms_fields_and_file() {
    let with = |name: &str, value: &str| {
        let fields: Vec<_> = FIELDS
            .map(|(key, old)| if key == name { (key, value.to_owned()) } else { (key, old.to_owned()) })
            .into();
        let fields: Vec<_> =
            fields.iter().map(|(key, value): &(&str, String)| (*key, value.as_str())).collect();
        form(&fields, Some(FILE))
    };
    assert_eq!(with("call_count", " 2 "), [""; 0]);
    assert_eq!(with("call_count", "3"), ["call_count call_count"]);
    assert_eq!(with("call_count", "150001"), ["call_count range",]);
    assert_eq!(with("call_count", "two"), ["call_count type"]);
    assert_eq!(with("call_count", ""), ["call_count required"]);
    assert_eq!(with("file_suffix", "pdf"), ["file_suffix enum"]);
    assert_eq!(with("file_suffix", "excel"), ["file file_format"]);
    assert_eq!(with("file_suffix", "txt"), [""; 0]);
    assert_eq!(form(&FIELDS, Some("")), ["file file_rows"]);
    assert_eq!(form(&FIELDS, Some("13800138000\n13800138001\n")), ["file file_header"]);
    assert_eq!(form(&FIELDS, None), ["file required"]);
    let twice = [&FIELDS[..], &[("app_id", "200000000")]].concat();
    assert_eq!(form(&twice, Some(FILE)), ["app_id repeated"]);
    let as_text = [&FIELDS[..], &[("file", FILE)]].concat();
    assert_eq!(form(&as_text, None), ["file type"]);
    assert_eq!(told(&Form::new(Endpoint::Outnum).finish(false, None, &mut ())), ["body body"]);
}

#[test]
fn a_form_may_come_in_any_order() {
    let mut form = Form::new(Endpoint::Outnum);
    form.part("file", true);
    form.data(FILE.as_bytes(), &mut ());
    for (name, value) in FIELDS {
        form.part(name, false);
        value.bytes().for_each(|byte| {
            form.data(&[byte], &mut ());
        });
    }
    assert_eq!(form.finish(true, None, &mut ()), []);
}

proptest! {
    #[test]
    fn any_bytes_do(body in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:a-z0-9 ]{0,60}") {
        for endpoint in Endpoint::ALL {
            json(endpoint, &body);
            json(endpoint, text.as_bytes());
        }
    }
}
