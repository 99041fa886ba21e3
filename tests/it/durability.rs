//! What was acknowledged reaches its subscribers, whatever happens to process and disk.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{
    Answer, Binary, Builder, Gateway, Line, OK, Seen, Upstream, callback, eventually, get, ok, post,
};

const LINES: usize = 16;

/// A gateway with one subscriber, at `hook`.
pub fn gateway(hook: &Upstream) -> Builder {
    let subscriber =
        format!("subscribers: [{{name: hook, url: \"{}/\", retry: [100ms, 1s, 5s]}}]", hook.url());
    Gateway::at("http://127.0.0.1:9").with(subscriber).with("log: {access: false}")
}

/// The call record of that number, of at least `size` bytes.
pub fn record(number: usize, size: usize) -> String {
    format!(r#"{{"bot_id":"1","call_sn":"{number}","calls":[{{"dialog_text":"{}"}}]}}"#, "x".repeat(size))
}

fn number(seen: &Seen) -> usize {
    let record: Value = serde_json::from_slice(&seen.body).unwrap();
    record["call_sn"].as_str().unwrap().parse().unwrap()
}

/// A subscriber that notes which records it got.
pub fn noting() -> (Upstream, Arc<Mutex<BTreeSet<usize>>>) {
    let got = Arc::<Mutex<BTreeSet<usize>>>::default();
    let notes = Arc::clone(&got);
    let hook = Upstream::scripted(move |seen| {
        notes.lock().unwrap().insert(number(seen));
        ok()
    });
    (hook, got)
}

/// The real gateway is killed at random moments while callbacks come in and deliveries go out.
/// `HUB_KILL_ROUNDS=100` has it killed more often, by hand.
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let rounds = std::env::var("HUB_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let (hook, got) = noting();
    let mut gateway = Binary::run(gateway(&hook));
    let next = AtomicUsize::new(0);
    let mut acked = BTreeSet::new();
    for _ in 0..rounds {
        acked.extend(push_and_kill(&gateway, &next).await);
        gateway = gateway.kill_and_run_again();
    }
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    assert!(!gateway.log().iter().any(|line| line.contains("the disk has lost")), "{:#?}", gateway.log());
    let deliveries = hook.seen().len();
    eprintln!(
        "{rounds} kills, {} callbacks acknowledged, all delivered; {deliveries} deliveries",
        acked.len()
    );
}

/// Pushes until the gateway is killed; the numbers that were acknowledged.
pub async fn push_and_kill(gateway: &Binary, next: &AtomicUsize) -> BTreeSet<usize> {
    let acks = AtomicUsize::new(0);
    let enough = fastrand::usize(1..1500);
    let pushing = (0..LINES).map(async |_| {
        let mut acked = Vec::new();
        let mut line = Line::to(gateway.callbacks).await;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match push(&mut line, number).await {
                Some(answer) if answer.status == 200 => acked.push(number),
                _ => return acked,
            }
            if acks.fetch_add(1, Ordering::Relaxed) == enough {
                gateway.signal("KILL");
            }
        }
    });
    let acked: BTreeSet<usize> = join_all(pushing).await.into_iter().flatten().collect();
    assert!(acked.len() > enough, "it ended by itself: {:#?}", gateway.log());
    acked
}

/// `None`: the connection broke off.
async fn push(line: &mut Line, number: usize) -> Option<Answer> {
    let asked = post(&callback(None), record(number, number * 97 % 5000)).to_bytes();
    line.try_send(asked).await.ok()?;
    line.try_answer(false).await.ok().filter(|answer| answer.status != 200 || answer.text() == OK)
}

/// No file may become larger than this: what a full disk is like to those who write.
const LIMIT: usize = 4 << 20;

#[tokio::test]
async fn a_full_disk_refuses_callbacks_and_nothing_else() {
    let (hook, got) = noting();
    let script = format!("trap '' XFSZ; exec prlimit --fsize={LIMIT}:unlimited \"$0\" \"$@\"");
    let gateway = Binary::run_as(gateway(&hook), &script);
    let operate = async |action: &str| {
        let path = format!("/api/v1/subscribers/hook/{action}");
        assert_eq!(post(&path, "").send(gateway.admin).await.status, 200, "{action}");
    };
    let push =
        async |number: usize| post(&callback(None), record(number, 64 << 10)).send(gateway.callbacks).await;
    operate("pause").await;
    let mut acked = BTreeSet::new();
    let refused = loop {
        let answer = push(acked.len()).await;
        if answer.status != 200 {
            break answer;
        }
        acked.insert(acked.len());
        assert!(acked.len() < 2 * LIMIT / (64 << 10), "it is never full");
    };
    refused.refused(500, -50001, "not_kept");
    eventually(async || get("/readyz").send(gateway.admin).await.status == 503).await;
    assert!(got.lock().unwrap().len() < acked.len());

    // What is kept goes out, and stays delivered, while callbacks are still refused.
    operate("resume").await;
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    push(1_000_000).await.refused(500, -50001, "not_kept");

    // Nobody has to do more than make room.
    let id = gateway.id().to_string();
    let room = Command::new("prlimit").args(["--fsize=unlimited:unlimited", "--pid", &id]).status().unwrap();
    assert!(room.success());
    eventually(async || push(2_000_000).await.status == 200).await;
    eventually(async || get("/readyz").send(gateway.admin).await.status == 200).await;
    eventually(async || got.lock().unwrap().contains(&2_000_000)).await;
    assert!(!got.lock().unwrap().contains(&1_000_000), "a refused one was kept");
    let deliveries = hook.seen().len();
    assert_eq!(deliveries, got.lock().unwrap().len(), "something was delivered again");
}
