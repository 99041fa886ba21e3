//! The store loses nothing that it promised, though its process is killed at any moment.
//!
//! The test runs itself as the child: with [`CHILD`] set, it keeps events as fast as it can and writes each
//! promise down on standard output. `STORE_KILL_ROUNDS=100` has it do more rounds, by hand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;
use xinyao_gateway::store::{
    Appended, Attempt, EventId, Fate, Intake, Log, NewEvent, Place, Progress, Seq, Settings, Settled,
    ShardId, Start, open,
};
use xinyao_gateway::xinyao::callback::Kind;

const CHILD: &str = "STORE_KILL_CHILD";
const WRITERS: u64 = 16;
const SHARD: ShardId = ShardId(0);

#[test]
fn nothing_promised_is_lost_by_a_kill() {
    let rounds = std::env::var("STORE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let folder = tempfile::tempdir().unwrap();
    let mut promised = Promised::default();
    for round in 0..rounds {
        // A little longer each time: kills fall into opening, filling up, and writing the index.
        let promises = 200 + 400 * (round % 10);
        run_and_kill(folder.path(), round, promises, &mut promised);
        check(folder.path(), &promised);
    }
    eprintln!("{rounds} kills, {} events promised, none lost", promised.events.len());
}

#[test]
fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(write(Path::new(&folder)));
}

#[derive(Default)]
struct Promised {
    /// Ids by number.
    events: BTreeMap<u64, Uuid>,
    /// What is to be tried again.
    retries: Vec<u64>,
}

fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("gateway.db"),
        retention: Duration::from_hours(7 * 24),
        max_size_bytes: 20 << 30,
        cluster: None,
    }
}

fn run_and_kill(folder: &Path, round: u64, promises: u64, promised: &mut Promised) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_kill::child", "--nocapture"])
        .env(CHILD, folder)
        .env("STORE_KILL_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    while let Some(Ok(line)) = lines.next() {
        count += u64::from(promised.take(&line));
        if count == promises {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= promises, "the child ended by itself");
}

impl Promised {
    /// A line may be cut off by the kill: then it was no promise.
    fn take(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["event", seq, id, "."] => {
                let before = self.events.insert(seq.parse().unwrap(), id.parse().unwrap());
                assert_eq!(before, None, "a number was given twice");
            }
            ["retry", seq, "."] => self.retries.push(seq.parse().unwrap()),
            _ => return false,
        }
        true
    }
}

async fn write(folder: &Path) {
    let (store, _) = open(&settings(folder)).unwrap();
    let store = Arc::new(store);
    Progress::open(&*store, "hook", Start::Since(Timestamp::UNIX_EPOCH)).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            for number in 0_u64.. {
                let id = Uuid::now_v7();
                let Appended::Kept(place) = store.append(event(id, writer + number)).await.unwrap() else {
                    panic!("no event is a duplicate");
                };
                say(&format!("event {} {id} .", place.seq.0));
                if number.is_multiple_of(8) {
                    store.settle(vec![failed(place)]).await.unwrap();
                    say(&format!("retry {} .", place.seq.0));
                }
                store.advance("hook", SHARD, Seq(1));
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

/// One write a line: what is written is out, whatever happens to the process.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn event(id: Uuid, number: u64) -> NewEvent {
    let size = usize::try_from(number * 97 % 5000).unwrap();
    let key = *id.as_bytes();
    NewEvent {
        id: EventId(id),
        received_at: Timestamp::now(),
        app: "crm".into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: Some("1".into()),
        call_sn: None,
        content_type: None,
        unless_since: Some((key, Timestamp::now() - Duration::from_mins(10))),
        body: Bytes::from([&key[..], &vec![b'x'; size]].concat()),
    }
}

fn failed(place: Place) -> Settled {
    let subscriber: Arc<str> = "hook".into();
    let attempt = Attempt {
        subscriber: Arc::clone(&subscriber),
        number: 1,
        at: Timestamp::now(),
        status: Some(500),
        latency_ms: 1,
        error: Some("500".into()),
        answer: Bytes::new(),
    };
    let fate = Fate::Retry { due: Timestamp::UNIX_EPOCH, spent: 1 };
    Settled { subscriber, place, attempt: Some(attempt), fate }
}

fn check(folder: &Path, promised: &Promised) {
    let (store, recovered) = open(&settings(folder)).unwrap();
    assert_eq!(recovered.damaged, []);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut found = BTreeMap::new();
        let mut next = Seq(1);
        while next < *store.tail(SHARD).borrow() {
            let batch = store.read(SHARD, next, 1000, 1 << 20).await.unwrap();
            assert_eq!(batch.gap, None);
            next = batch.next;
            for event in batch.events {
                assert_eq!(event.body[..16], *event.id.0.as_bytes());
                found.insert(event.place.seq.0, event.id.0);
            }
        }
        for (seq, id) in &promised.events {
            assert_eq!(found.get(seq), Some(id), "event {seq} of {} is lost", found.len());
        }
        let due = store.due("hook", Timestamp::now(), usize::MAX).await.unwrap();
        let due: Vec<u64> = due.iter().map(|retry| retry.event.place.seq.0).collect();
        for seq in &promised.retries {
            assert!(due.contains(seq), "the retry of {seq} is lost");
        }
        store.close().await;
    });
}
