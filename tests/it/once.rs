//! Nobody is called twice: what was sent, or may have been, is not sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::TcpStream;
use xinyao_gateway::store::{MemoryStore, Once, RequestState, StoreError};

use crate::support::{
    ADDTASK, Act, Answer, Ask, Binary, Gateway, OUTNUM, TASKLIST, Upstream, answer, bytes, eventually,
    nobody, ok, outnum, outnum_with, post,
};

const NUMBERS: &str = "phone\n13800138000\n13900139000\n";
const TASK: &str = r#"{"app_id":"1","name":"a task"}"#;

fn keyed(ask: &Ask, key: &str) -> Ask {
    ask.clone().header("idempotency-key", key)
}

fn forced(ask: &Ask) -> Ask {
    ask.clone().header("x-gateway-force", "true")
}

#[track_caller]
fn duplicate(answer: &Answer, word: &str) {
    let message = answer.refused(409, -40901, "duplicate_request");
    assert!(message.contains(word), "{message}");
}

#[track_caller]
fn replayed(answer: &Answer) {
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, "true"), "{answer:?}");
}

#[track_caller]
fn sent(answer: &Answer) {
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, ""), "{answer:?}");
}

/// An upstream whose answers tell them apart.
fn counting() -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::scripted(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let body = format!(r#"{{"code":0,"result":{{"call_sn":"{number}"}}}}"#);
        answer("200 OK", "content-type: application/json\r\nx-saas: a\r\nx-saas: b\r\n", body)
    })
}

async fn unknown(gateway: &Gateway) -> Vec<Value> {
    let page = gateway.operate("/api/v1/requests?state=unknown").await.json();
    page["requests"].as_array().unwrap().clone()
}

async fn settle(gateway: &Gateway, id: &str, outcome: &str) -> Answer {
    let told = format!(r#"{{"outcome":"{outcome}"}}"#);
    post(&format!("/api/v1/requests/{id}/settle"), told).send(gateway.admin).await
}

#[tokio::test]
async fn a_key_has_one_answer() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    let asks = [post(ADDTASK, TASK), outnum("1", NUMBERS), outnum("2", bytes(300_000))];
    for (number, ask) in asks.iter().enumerate() {
        let key = format!("\"key-{number}\"");
        let first = gateway.ask(keyed(ask, &key)).await;
        sent(&first);
        for _ in 0..2 {
            let again = gateway.ask(keyed(ask, &key)).await;
            replayed(&again);
            assert_eq!(again.body, first.body);
            assert_eq!(again.headers.get_all("x-saas").iter().collect::<Vec<_>>(), ["a", "b"]);
            assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
        }
        // Another body is another request, whatever the app says of it.
        for other in [outnum("3", NUMBERS), outnum("1", bytes(200_000)), post(ADDTASK, "{}")] {
            duplicate(&gateway.ask(forced(&keyed(&other, &key))).await, "another body");
        }
        assert_eq!(upstream.seen().len(), number + 1);
    }
    for seen in upstream.seen() {
        assert!(!seen.headers.contains_key("idempotency-key"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_form_is_the_same_whatever_its_boundary() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    sent(&gateway.ask(keyed(&outnum_with("one", "1", NUMBERS), "k")).await);
    replayed(&gateway.ask(keyed(&outnum_with("another", "1", NUMBERS), "k")).await);
    duplicate(&gateway.ask(outnum_with("a-third", "1", NUMBERS)).await, "the same numbers");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_key_is_its_apps_own() {
    let upstream = counting();
    let apps = "apps: [{name: crm, networks: [127.0.0.1]}, {name: erp, networks: [127.0.0.2]}]";
    let gateway = Gateway::to(&upstream).with(apps).start();
    for address in ["127.0.0.1", "127.0.0.2"] {
        sent(&gateway.ask(keyed(&outnum("1", NUMBERS), "k").from(address)).await);
    }
    for address in ["127.0.0.1", "127.0.0.2"] {
        replayed(&gateway.ask(keyed(&outnum("1", NUMBERS), "k").from(address)).await);
    }
}

#[tokio::test]
async fn a_key_is_visible_ascii_of_at_most_255() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    let ask = post(ADDTASK, TASK);
    let long = "k".repeat(256);
    for key in ["", "a b", "键", "a\tb", long.as_str()] {
        gateway.ask(keyed(&ask, key)).await.refused(400, -40001, "invalid_request");
    }
    gateway.ask(keyed(&keyed(&ask, "a"), "b")).await.refused(400, -40001, "invalid_request");
    sent(&gateway.ask(keyed(&ask, &long[1..])).await);
    // Elsewhere it says nothing.
    sent(&gateway.ask(keyed(&post(TASKLIST, "{}"), &long)).await);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn while_the_first_is_under_way_the_second_waits_outside() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let with_key = keyed(&outnum("1", NUMBERS), "k");
    let without = outnum("2", NUMBERS);
    for ask in [with_key, without] {
        let mut line = gateway.line().await;
        line.send(ask.to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        let refused = gateway.ask(ask.clone()).await;
        duplicate(&refused, "still under way");
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
        sent(&line.answer().await);
    }
    replayed(&gateway.ask(keyed(&outnum("1", NUMBERS), "k")).await);
}

#[tokio::test]
async fn the_same_numbers_for_the_same_task_are_held_back() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    for numbers in [NUMBERS.as_bytes(), &bytes(300_000)] {
        let ask = outnum("1", numbers);
        sent(&gateway.ask(ask.clone()).await);
        let seen = upstream.seen().len();
        for _ in 0..3 {
            let refused = gateway.ask(ask.clone()).await;
            duplicate(&refused, "X-Gateway-Force");
            assert!(refused.header("retry-after").is_empty(), "{refused:?}");
        }
        assert_eq!(upstream.seen().len(), seen);
        sent(&gateway.ask(outnum("2", numbers)).await);
        sent(&gateway.ask(outnum("1", [numbers, b"1"].concat())).await);
        sent(&gateway.ask(forced(&ask)).await);
        // A key says that it is meant.
        sent(&gateway.ask(keyed(&ask, &numbers.len().to_string())).await);
        assert_eq!(upstream.seen().len(), seen + 4);
    }
    gateway
        .counts(
            r#"xinyao_requests_total{app="crm",endpoint="outnum",status="409",outcome="rejected_duplicate_request"}"#,
            6.0,
        )
        .await;
}

#[tokio::test]
async fn numbers_are_held_back_for_a_window_only_and_not_at_all_without_one() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).crm("outnum_duplicate_window: 0s").start();
    for _ in 0..2 {
        sent(&gateway.ask(outnum("1", NUMBERS)).await);
    }
    let gateway = Gateway::to(&upstream).crm("outnum_duplicate_window: 300ms").start();
    sent(&gateway.ask(outnum("1", NUMBERS)).await);
    eventually(async || gateway.ask(outnum("1", NUMBERS)).await.status == 200).await;
    // A task may well be made twice.
    for _ in 0..2 {
        sent(&gateway.post(ADDTASK, TASK).await);
    }
}

#[tokio::test]
async fn a_duplicate_is_never_completed_upstream() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let ask = outnum("1", bytes(300_000));
    let mut line = gateway.line().await;
    line.send(ask.to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    let (refused, second) =
        tokio::join!(gateway.ask(ask.clone()), async { upstream.accept().await.request().await });
    duplicate(&refused, "the same numbers");
    assert!(second.is_err(), "{second:?}");
}

#[tokio::test]
async fn of_many_at_once_one_goes_through() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    for (round, ask) in [outnum("1", NUMBERS), outnum("2", bytes(200_000)), keyed(&outnum("3", NUMBERS), "k")]
        .iter()
        .enumerate()
    {
        let answers = join_all((0..16).map(|_| gateway.ask(ask.clone()))).await;
        let fresh = answers
            .iter()
            .filter(|answer| answer.status == 200 && answer.header("idempotency-replayed").is_empty());
        assert_eq!(fresh.count(), 1, "{answers:?}");
        assert_eq!(upstream.seen().len(), round + 1);
    }
}

#[tokio::test]
async fn when_the_upstream_breaks_off_the_outcome_is_unknown_until_somebody_decides() {
    for ask in [keyed(&post(ADDTASK, TASK), "k"), keyed(&outnum("1", NUMBERS), "k"), outnum("2", NUMBERS)] {
        let upstream = Upstream::in_turn([Act::Close, ok(), ok(), ok()]);
        let gateway = Gateway::to(&upstream).start();
        let message = gateway.ask(ask.clone()).await.refused(502, -50202, "upstream_broke_off");
        assert!(message.contains("unknown"), "{message}");
        for _ in 0..2 {
            duplicate(&gateway.ask(ask.clone()).await, "unknown");
        }
        let listed = unknown(&gateway).await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0]["app"], &listed[0]["state"]), (&"crm".into(), &"unknown".into()));
        // The app decides.
        sent(&gateway.ask(forced(&ask)).await);
        assert!(unknown(&gateway).await.is_empty());
        assert_eq!(upstream.seen().len(), 2);
        let again = gateway.ask(ask.clone()).await;
        assert!(again.status == 409 || again.header("idempotency-replayed") == "true", "{again:?}");
        assert_eq!(upstream.seen().len(), 2);
    }
}

#[tokio::test]
async fn operators_settle_what_is_unknown() {
    for (ask, after_done) in
        [(keyed(&outnum("1", NUMBERS), "k"), "carried out"), (outnum("2", NUMBERS), "carried out")]
    {
        let upstream = Upstream::in_turn([Act::Close, Act::Close, ok()]);
        let gateway = Gateway::to(&upstream).start();
        gateway.ask(ask.clone()).await.refused(502, -50202, "upstream_broke_off");
        let id = unknown(&gateway).await[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(settle(&gateway, &id, "perhaps").await.status, 400);
        assert_eq!(settle(&gateway, "999", "done").await.status, 404);
        assert_eq!(settle(&gateway, "x", "done").await.status, 404);
        assert_eq!(settle(&gateway, &id, "not_sent").await.json()["outcome"], "not_sent");
        assert_eq!(settle(&gateway, &id, "not_sent").await.status, 404);
        gateway.ask(ask.clone()).await.refused(502, -50202, "upstream_broke_off");
        let id = unknown(&gateway).await[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(settle(&gateway, &id, "done").await.status, 200);
        assert_eq!(settle(&gateway, &id, "not_sent").await.status, 409);
        duplicate(&gateway.ask(ask.clone()).await, after_done);
        assert_eq!(upstream.seen().len(), 2);
        sent(&gateway.ask(forced(&ask)).await);
    }
}

#[tokio::test]
async fn the_command_line_lists_and_settles() {
    let upstream = Upstream::in_turn([Act::Close, ok()]);
    let gateway = Gateway::to(&upstream).start();
    let run = async |words: &[&str]| {
        let mut command = Binary::command();
        command.arg("requests").args(words).args(["--admin", &format!("http://{}", gateway.admin)]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&[]).await, "no such requests\n");
    gateway.ask(keyed(&outnum("4711", NUMBERS), "the-key")).await.refused(502, -50202, "upstream_broke_off");
    let listed = run(&[]).await;
    assert!(listed.contains("4711") && listed.contains("the-key") && listed.contains("unknown"), "{listed}");
    let listed: Value = serde_json::from_str(&run(&["--json"]).await).unwrap();
    let id = listed["requests"][0]["id"].as_str().unwrap();
    let told = run(&["settle", id, "--outcome", "not-sent"]).await;
    assert!(told.contains("may be sent again"), "{told}");
    sent(&gateway.ask(keyed(&outnum("4711", NUMBERS), "the-key")).await);
    assert!(run(&["--state", "any"]).await.contains("done"));
}

#[tokio::test]
async fn what_the_saas_did_not_do_may_be_sent_again() {
    let refusals = [
        answer("200 OK", "", r#"{"code":1001,"msg":"no such task"}"#),
        answer("500 Oh", "", r#"{"code":500,"msg":"no"}"#),
        answer("404 Not Found", "", "nothing here"),
    ];
    for refusal in refusals {
        for ask in [keyed(&post(ADDTASK, TASK), "k"), keyed(&outnum("1", NUMBERS), "k"), outnum("2", NUMBERS)]
        {
            let upstream = Upstream::in_turn([refusal.clone(), refusal.clone(), ok()]);
            let gateway = Gateway::to(&upstream).start();
            for _ in 0..2 {
                let refused = gateway.ask(ask.clone()).await;
                assert_eq!(refused.header("x-gateway-error"), "", "{refused:?}");
                assert_eq!(refused.header("idempotency-replayed"), "");
            }
            sent(&gateway.ask(ask.clone()).await);
            assert_eq!(upstream.seen().len(), 3);
        }
    }
}

#[tokio::test]
async fn behind_a_bare_5xx_anything_may_have_happened() {
    let outcomes = [
        answer("502 Bad Gateway", "content-type: text/html\r\n", "<html>"),
        Act::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"msg\":".to_vec()),
    ];
    for (outcome, status) in outcomes.into_iter().zip([502, 502]) {
        for ask in [keyed(&post(ADDTASK, TASK), "k"), outnum("2", NUMBERS)] {
            let upstream = Upstream::in_turn([outcome.clone(), ok()]);
            let gateway = Gateway::to(&upstream).start();
            assert_eq!(gateway.ask(ask.clone()).await.status, status);
            duplicate(&gateway.ask(ask.clone()).await, "unknown");
            assert_eq!(upstream.seen().len(), 1);
        }
    }
}

#[tokio::test]
async fn what_was_not_answered_in_time_is_unknown() {
    let upstream = Upstream::scripted(|_| Act::Hang);
    let gateway = Gateway::to(&upstream).with("upstream: {response_timeout: 200ms}").start();
    for ask in [keyed(&post(ADDTASK, TASK), "k"), outnum("2", NUMBERS)] {
        gateway.ask(ask.clone()).await.refused(504, -50401, "upstream_timeout");
        duplicate(&gateway.ask(ask.clone()).await, "unknown");
    }
}

#[tokio::test]
async fn what_was_not_sent_may_be_sent() {
    let address = nobody();
    let gateway =
        Gateway::at(&format!("http://{address}")).crm("rate_limits: [{limit: 4/h, burst: 4}]").start();
    let asks = [keyed(&post(ADDTASK, TASK), "k"), outnum("2", NUMBERS)];
    for ask in &asks {
        gateway.ask(ask.clone()).await.refused(502, -50201, "upstream_unreachable");
    }
    let upstream = Upstream::at(address.to_string());
    for ask in &asks {
        sent(&gateway.ask(ask.clone()).await);
    }
    gateway.ask(keyed(&post(ADDTASK, TASK), "another")).await.refused(429, -42901, "rate_limited");
    assert_eq!(upstream.seen().len(), 2);
    let listed = gateway.operate("/api/v1/requests").await.json();
    assert_eq!(listed["requests"].as_array().unwrap().len(), 2, "{listed}");
}

#[tokio::test]
async fn who_gave_up_waiting_has_the_answer_at_the_next_try() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    for ask in [keyed(&post(ADDTASK, TASK), "a"), keyed(&outnum("1", bytes(200_000)), "b")] {
        let mut line = gateway.line().await;
        line.send(ask.to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        drop(line);
        gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 1.0).await;
        duplicate(&gateway.ask(ask.clone()).await, "still under way");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
        eventually(async || gateway.ask(ask.clone()).await.status == 200).await;
        replayed(&gateway.ask(ask).await);
    }
}

#[tokio::test]
async fn who_left_while_the_answer_came_has_it_at_the_next_try() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    for ask in [keyed(&post(ADDTASK, TASK), "a"), keyed(&outnum("1", bytes(200_000)), "b")] {
        let mut line = gateway.line().await;
        line.send(ask.to_bytes()).await;
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"cod").await;
        let still = async || {
            for _ in 0..10 {
                duplicate(&gateway.ask(ask.clone()).await, "still under way");
            }
        };
        still().await;
        drop(line);
        still().await;
        server.send("e\":0}").await;
        eventually(async || gateway.ask(ask.clone()).await.status == 200).await;
        replayed(&gateway.ask(ask).await);
    }
}

#[tokio::test]
async fn what_goes_on_without_its_client_is_finished_before_the_end() {
    let upstream = Upstream::by_hand();
    let store = Arc::new(MemoryStore::new());
    let mut gateway = Gateway::to(&upstream).store(Arc::clone(&store) as _).start();
    let mut line = gateway.line().await;
    line.send(keyed(&post(ADDTASK, TASK), "k").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    drop(line);
    let stopped = gateway.stop();
    eventually(async || TcpStream::connect(gateway.proxy).await.is_err()).await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
    stopped.await;
    let states: Vec<_> =
        store.requests(None, 9, None).await.unwrap().rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [RequestState::Done]);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_is_the_end_of_it() {
    for code in [0, 1001] {
        let upstream = Upstream::by_hand();
        let gateway = Gateway::to(&upstream).start();
        let ask = keyed(&outnum("1", bytes(300_000)), "k");
        let whole = ask.to_bytes();
        let mut line = gateway.line().await;
        line.send(&whole[..150_000]).await;
        let mut server = upstream.accept().await;
        server.head().await.unwrap();
        let body = format!("{{\"code\":{code}}}");
        server.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(line.answer().await.text(), body);
        // The gateway may have closed by now.
        drop(line.try_send(&whole[150_000..]).await);
        drop(line);
        assert!(server.rest().await.len() < ask.content().len());
        let states = async || {
            let page = gateway.operate("/api/v1/requests").await.json();
            page["requests"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect::<Vec<_>>()
        };
        if code == 0 {
            assert_eq!(states().await, ["unknown"]);
            duplicate(&gateway.ask(ask).await, "unknown");
            continue;
        }
        assert!(states().await.is_empty());
        let (answered, ()) = tokio::join!(gateway.ask(ask), async {
            let mut server = upstream.accept().await;
            server.request().await.unwrap();
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
        });
        sent(&answered);
        assert_eq!(states().await, ["done"]);
    }
}

#[tokio::test]
async fn a_forced_key_is_for_the_same_request() {
    for size in [1_000, 200_000] {
        let upstream = Upstream::in_turn([Act::Close, ok(), ok()]);
        let gateway = Gateway::to(&upstream).start();
        let plain = outnum("1", bytes(size));
        let ask = keyed(&plain, "k");
        gateway.ask(ask.clone()).await.refused(502, -50202, "upstream_broke_off");
        let other = keyed(&outnum("1", bytes(size + 1)), "k");
        duplicate(&gateway.ask(forced(&other)).await, "another body");
        // It stands in the way as before.
        assert_eq!(unknown(&gateway).await.len(), 1);
        duplicate(&gateway.ask(plain).await, "unknown");
        duplicate(&gateway.ask(ask.clone()).await, "unknown");
        assert_eq!(upstream.seen().len(), 1);
        sent(&gateway.ask(forced(&ask)).await);
        replayed(&gateway.ask(forced(&ask)).await);
        assert_eq!(upstream.seen().len(), 2);
    }
}

#[tokio::test]
async fn an_upload_that_broke_off_may_be_sent_again() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    for ask in [keyed(&outnum("1", bytes(200_000)), "k"), outnum("2", bytes(200_000))] {
        let whole = ask.to_bytes();
        let mut line = gateway.line().await;
        line.send(&whole[..150_000]).await;
        let mut server = upstream.accept().await;
        server.some().await;
        drop(line);
        assert!(server.request().await.is_err());
        gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
        let (answered, ()) = tokio::join!(gateway.ask(ask), async {
            let mut server = upstream.accept().await;
            server.request().await.unwrap();
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
        });
        sent(&answered);
    }
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_passed_on_and_not_asked_for_again() {
    let body = format!(r#"{{"code":0,"result":"{}"}}"#, "x".repeat(300_000));
    let upstream = Upstream::scripted(move |_| answer("200 OK", "", &body));
    let gateway = Gateway::to(&upstream).start();
    let first = gateway.ask(keyed(&post(ADDTASK, TASK), "k")).await;
    assert_eq!((first.status, first.body.len()), (200, 300_000 + 22));
    duplicate(&gateway.ask(keyed(&post(ADDTASK, TASK), "k")).await, "carried out");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_sent() {
    let upstream = counting();
    let store = Arc::new(MemoryStore::new());
    let gateway = Gateway::to(&upstream).store(Arc::clone(&store) as _).start();
    store.refuse(Some(StoreError::Full("as the test wants it".into())));
    let guarded = [
        keyed(&post(ADDTASK, TASK), "k"),
        keyed(&outnum("1", bytes(200_000)), "k"),
        outnum("2", NUMBERS),
        outnum("3", bytes(200_000)),
    ];
    for ask in &guarded {
        let refused = gateway.ask(ask.clone()).await;
        let message = refused.refused(503, -50301, "overloaded");
        assert!(message.contains("nothing was sent") && message.contains("store"), "{message}");
    }
    assert_eq!(upstream.seen().len(), 0);
    // What need not be remembered goes on.
    sent(&gateway.post(ADDTASK, TASK).await);
    sent(&gateway.post(TASKLIST, "{}").await);
    store.refuse(None);
    sent(&gateway.ask(outnum("2", NUMBERS)).await);
}

#[tokio::test]
async fn an_outnum_without_numbers_is_the_saass_to_judge() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).start();
    let form = "--B\r\ncontent-disposition: form-data; name=\"task_id\"\r\n\r\n1\r\n--B--\r\n";
    for ask in [
        post(OUTNUM, "{}"),
        crate::support::request("POST", OUTNUM)
            .header("content-type", "multipart/form-data; boundary=B")
            .body(form),
    ] {
        for _ in 0..2 {
            sent(&gateway.ask(ask.clone()).await);
        }
    }
    // A form that can't be told apart into its parts is the same if all of it is.
    let odd = crate::support::request("POST", OUTNUM)
        .header("content-type", "multipart/form-data; boundary=B")
        .body(format!("preamble\r\n{form}"));
    sent(&gateway.ask(odd.clone()).await);
    duplicate(&gateway.ask(odd).await, "the same numbers");
}

#[tokio::test]
async fn with_checks_enforced_it_is_the_same() {
    let upstream = counting();
    let gateway = Gateway::to(&upstream).crm("checks: enforce").start();
    sent(&gateway.ask(outnum("1", NUMBERS)).await);
    duplicate(&gateway.ask(outnum_with("another", "1", NUMBERS)).await, "the same numbers");
    let ask = keyed(&outnum("2", NUMBERS), "k");
    sent(&gateway.ask(ask.clone()).await);
    replayed(&gateway.ask(ask).await);
    duplicate(&gateway.ask(keyed(&outnum("3", NUMBERS), "k")).await, "another body");
    // What the checks refuse was never sent, and needs no new key.
    gateway.ask(keyed(&outnum("", NUMBERS), "l")).await.refused(400, -40001, "invalid_request");
    sent(&gateway.ask(keyed(&outnum("4", NUMBERS), "l")).await);
    assert_eq!(upstream.seen().len(), 3);
    let batches = async || gateway.operate("/api/v1/batches").await.json()["batches"].clone();
    eventually(async || batches().await.as_array().unwrap().len() == 3).await;
    let tasks: Vec<_> =
        batches().await.as_array().unwrap().iter().map(|row| row["task_id"].clone()).collect();
    assert_eq!(tasks, ["4", "2", "1"]);
}
