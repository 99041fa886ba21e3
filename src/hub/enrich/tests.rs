use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn enriched(body: &str) -> String {
    let bytes = enrich(&Bytes::copy_from_slice(body.as_bytes()), "http://gateway:8080");
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// §7.3, cut down to one call of two dialogs.
const RECORD: &str = r#"{
    "bot_id": "134614200106471424",
    "call_sn": "177356849321648128",
    "calls": [{
        "num": "18533765401",
        "state": 775,
        "state_desc": "200",
        "duration": 16,
        "record_url": "/coeus/82001/200000000/82b18191.mp3",
        "dialogs": [{
            "dialog_type": 1,
            "dialog_text": "\u003cspeak\u003e\u003cphoneme alphabet=\"py\" ph=\"wei2\" \u003e喂\u003c/phoneme\u003e，您好\u003cbreak time=\"500ms\"/\u003e您好\u003c/speak\u003e"
        }, {
            "dialog_type": 2,
            "dialog_text": "好的好的",
            "intention_name": "yes"
        }]
    }],
    "task_id": "174212519459778560"
}"#;

#[test]
fn a_call_record_gets_what_it_lacks() {
    let mut expected: Value = serde_json::from_str(RECORD).unwrap();
    let call = &mut expected["calls"][0];
    call["record_url"] = json!("http://gateway:8080/coeus/82001/200000000/82b18191.mp3");
    call["state_text"] = json!("无人接听");
    call["dialogs"][0]["dialog_plain"] = json!("喂，您好您好");
    call["dialogs"][1]["dialog_plain"] = json!("好的好的");
    assert_eq!(serde_json::from_str::<Value>(&enriched(RECORD)).unwrap(), expected);
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let body = "\u{feff}{ \"n\":12345678901234567890.10, \"n\" : 1e999,\"calls\":[ {\"state\":\"770\" ,\"x\":1.0}]}\n";
    let expected = "\u{feff}{ \"n\":12345678901234567890.10, \"n\" : 1e999,\"calls\":[ {\"state\":\"770\",\
                    \"state_text\":\"关机\" ,\"x\":1.0}]}\n";
    assert_eq!(enriched(body), expected);
}

#[test]
fn what_is_there_already_or_unknown_is_left() {
    for body in [
        r#"{"calls":[{"state":775,"state_text":"theirs","record_url":"https://other/x.mp3"}]}"#,
        r#"{"calls":[{"state":1,"record_url":"","dialogs":[{"dialog_text":null}]}]}"#,
        r#"{"calls":[{"state":{},"record_url":7,"dialogs":{}}, 7, null]}"#,
        r#"{"calls":{"state":775},"state":775,"record_url":"/x"}"#,
        r#"{"degrees":[{"degree_name":"A类"}]}"#,
        r#"[{"calls":[]}]"#,
        r#"{"calls":[{"state":775}]"#,
        "not json",
        "",
    ] {
        assert_eq!(enriched(body), body);
    }
    let invalid = Bytes::from_static(b"{\"calls\":[{\"state\":775}],\"x\":\"\xff\"}");
    assert_eq!(enrich(&invalid, "http://gateway"), invalid);
}

#[test]
fn the_order_of_fields_makes_no_difference() {
    let body = r#"{"calls":[{"dialogs":[{"dialog_text":"a"}],"record_url":"x","state":770}]}"#;
    let expected = r#"{"calls":[{"dialogs":[{"dialog_text":"a","dialog_plain":"a"}],"record_url":"http://gateway:8080/x","state":770,"state_text":"关机"}]}"#;
    assert_eq!(enriched(body), expected);
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{{\"calls\":[{}{}]}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(enriched(&deep), deep);
}

proptest! {
    #[test]
    fn what_was_json_stays_json(state in -5_i64..900, text in "\\PC{0,20}", url in "[a-z/:]{0,10}") {
        let body = json!({"calls": [{"dialogs": [{"dialog_text": text}], "state": state, "record_url": url}]});
        let after: Value = serde_json::from_str(&enriched(&body.to_string())).unwrap();
        prop_assert_eq!(&after["calls"][0]["dialogs"][0]["dialog_text"], &json!(text));
        prop_assert_eq!(&after["calls"][0]["state"], &json!(state));
    }
}
