//! Which numbers of an upload have no call record, by their rows in the file.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::batches::{record, saas};
use crate::support::{
    Ask, Binary, Gateway, Upstream, answer, callback, eventually, get, outnum, outnum_as, post, workbook,
};

/// Rows 2, 3, 5 and 6 have a number, two of them the same; the names are GB18030.
const CSV: &[u8] = b"phone,name\n13800138000,\xd5\xc5\n+8613900139000,b\n\n13800138000,c\n9998,\xc8\xfd\n";

async fn missing(gateway: &Binary, call_sn: &str) -> Value {
    get(&format!("/api/v1/batches/{call_sn}/missing")).send(gateway.admin).await.json()
}

async fn is_seen(gateway: &Binary, call_sn: &str) {
    eventually(async || missing(gateway, call_sn).await["seen"] == true).await;
}

async fn called(gateway: &Binary, call_sn: &str, numbers: &[&str]) {
    let calls = numbers.iter().map(|number| json!({ "call_id": number, "num": number, "state": 775 }));
    let record = record(call_sn, calls.collect());
    assert_eq!(post(&callback(None), record).send(gateway.callbacks).await.status, 200);
}

async fn send(gateway: &Binary, ask: Ask) {
    let answer = ask.send(gateway.proxy).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn rows_that_did_not_come_back_are_told_whatever_is_checked() {
    let upstream = saas();
    for (round, checks) in ["off", "report", "enforce"].into_iter().enumerate() {
        let gateway = Gateway::to(&upstream).crm(format!("checks: '{checks}'"));
        let mut gateway = Binary::run(gateway);
        let [csv, txt, excel] = [1, 2, 3].map(|number| format!("batch-{}", round * 3 + number));
        send(&gateway, outnum_as("csv", 4, "7", CSV)).await;
        send(&gateway, outnum_as("txt", 2, "7", "phone\tx\n9998\ta\n13900139000\tb")).await;
        send(&gateway, outnum_as("excel", 2, "7", workbook("13900139000"))).await;
        for (name, sent) in [(&csv, 4), (&txt, 2), (&excel, 2)] {
            is_seen(&gateway, name).await;
            let all = missing(&gateway, name).await;
            assert_eq!((&all["sent"], &all["unexpected"]), (&sent.into(), &0.into()), "{checks} {all}");
            // A recall tells of the same number again, and so does a second push.
            called(&gateway, name, &["13900139000", "8888"]).await;
            called(&gateway, name, &["13900139000"]).await;
        }
        gateway = gateway.kill_and_run_again();
        let expected = [
            (&csv, json!([{ "row": 2, "repeats": [5] }, { "row": 6, "repeats": [] }]), 3),
            (&txt, json!([{ "row": 2, "repeats": [] }]), 2),
            (&excel, json!([{ "row": 2, "repeats": [] }]), 2),
        ];
        for (name, rows, distinct) in expected {
            eventually(async || missing(&gateway, name).await["unexpected"] == 1).await;
            let found = missing(&gateway, name).await;
            assert_eq!(
                (&found["missing"], &found["distinct"]),
                (&rows, &distinct.into()),
                "{checks} {found}"
            );
            assert_eq!(found["missing_count"].as_u64(), rows.as_array().map(|rows| rows.len() as u64));
            assert_eq!((&found["why"], &found["app"]), (&Value::Null, &"crm".into()));
        }
    }
}

#[tokio::test]
async fn what_was_not_seen_is_said_to_be() {
    let upstream = saas();
    let gateway = Gateway::to(&upstream).start();
    let missing = async |name: &str| gateway.operate(&format!("/api/v1/batches/{name}/missing")).await;
    assert_eq!(missing("batch-1").await.status, 404);
    let unclosed = "phone,name\n13800138000,\"a\n13900139000,b\n";
    assert_eq!(gateway.ask(outnum("7", unclosed)).await.status, 200);
    let cut = outnum("7", "phone\n13800138000\n");
    let end = cut.content().len() - 4;
    let cut = cut.clone().body(&cut.content()[..end]);
    assert_eq!(gateway.ask(cut).await.status, 200);
    gateway.push(record("elsewhere", json!([{ "call_id": "a", "num": "1" }]))).await;
    for (name, why) in [("batch-1", "unreadable"), ("batch-2", "unreadable"), ("elsewhere", "elsewhere")] {
        eventually(async || missing(name).await.json()["why"] == why).await;
        let found = missing(name).await.json();
        assert_eq!(found["seen"], false);
        assert_eq!((&found["missing"], &found["sent"]), (&json!([]), &Value::Null), "{found}");
    }
}

#[tokio::test]
async fn another_upload_for_the_same_batch_takes_the_place_of_the_first() {
    let body = r#"{"code":0,"result":{"call_sn":"x","call_count":1}}"#;
    let upstream = Upstream::scripted(move |_| answer("200 OK", "", body));
    let gateway = Gateway::to(&upstream).start();
    let sent = async || gateway.operate("/api/v1/batches/x/missing").await.json()["sent"].clone();
    for (numbers, count) in [("phone\n1\n2\n3\n", 3), ("phone\n4\n", 1)] {
        assert_eq!(gateway.ask(outnum("7", numbers)).await.status, 200);
        eventually(async || sent().await == count).await;
    }
}

#[tokio::test]
async fn killed_at_any_moment_the_numbers_of_a_batch_are_all_there_or_not_seen() {
    const ROWS: u64 = 300;
    let upstream = saas();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    let numbers = (0..ROWS).fold("phone\n".to_owned(), |file, row| file + &format!("138001{row:05}\n"));
    send(&gateway, outnum("first", &numbers)).await;
    is_seen(&gateway, "batch-1").await;
    for round in 0..4 {
        let sending = tokio::spawn({
            let (proxy, numbers) = (gateway.proxy, numbers.clone());
            async move {
                join_all((0..16).map(async |task| {
                    let ask = outnum(&format!("{round}-{task}"), &numbers);
                    let mut line = crate::support::Line::to(proxy).await;
                    drop(line.try_send(ask.to_bytes()).await);
                    drop(line.try_answer(false).await);
                }))
                .await;
            }
        });
        // Into what follows the answers.
        upstream.has_seen(upstream.seen().len() + 1 + round * 5).await;
        gateway = gateway.kill_and_run_again();
        drop(sending.await);
        let listed = get("/api/v1/batches?limit=1000").send(gateway.admin).await.json();
        for batch in listed["batches"].as_array().unwrap() {
            let found = missing(&gateway, batch["call_sn"].as_str().unwrap()).await;
            if found["seen"] == true {
                assert_eq!((&found["sent"], &found["distinct"]), (&ROWS.into(), &ROWS.into()), "{found}");
                assert_eq!(found["missing_count"], ROWS);
            } else {
                assert_eq!(found["why"], "not_kept", "{found}");
            }
        }
        assert_eq!(missing(&gateway, "batch-1").await["seen"], true);
    }
}

#[tokio::test]
async fn the_command_line_lists_rows() {
    let upstream = saas();
    let gateway = Binary::run(Gateway::to(&upstream));
    let run = async |words: &[&str]| {
        let mut command = Binary::command();
        command.arg("batches").args(words).args(["--admin", &format!("http://{}", gateway.admin)]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    send(&gateway, outnum_as("csv", 4, "7", CSV)).await;
    is_seen(&gateway, "batch-1").await;
    called(&gateway, "batch-1", &["13900139000", "8888"]).await;
    eventually(async || missing(&gateway, "batch-1").await["unexpected"] == 1).await;
    let expected = "2 of the 3 numbers in 4 rows have no call record\n\
                    1 numbers with a call record are not in the file\n\n\
                    ROW  AND AGAIN IN\n2    5\n6\n";
    assert_eq!(run(&["batch-1", "--missing"]).await, (Some(0), expected.to_owned()));
    let (_, page) = run(&["batch-1", "--missing", "--limit", "1", "--json"]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = run(&["batch-1", "--missing", "--cursor", cursor]).await;
    assert!(rest.ends_with("ROW  AND AGAIN IN\n6\n"), "{rest}");
    called(&gateway, "elsewhere", &["1"]).await;
    eventually(async || missing(&gateway, "elsewhere").await["seen"] == false).await;
    let (_, unseen) = run(&["elsewhere", "--missing"]).await;
    assert!(unseen.contains("did not come through this gateway"), "{unseen}");
    for wrong in [&["--missing"][..], &["batch-1", "--cursor", "x"]] {
        assert_eq!(run(wrong).await.0, Some(2), "{wrong:?}");
    }
}
