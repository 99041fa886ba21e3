//! A SaaS that pushes to several gateways, and a subscriber that notes what comes of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Answer, Ask, Line, Upstream, answer, callback, in_time, ok, post};

/// How many push at a time.
const CLIENTS: usize = 6;
/// Each lets so long pass after an answer.
const PAUSE: Duration = Duration::from_millis(20);
/// The SaaS waits no longer for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A record that was acknowledged.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Which one it is.
    pub name: String,
    /// The number of the replica that acknowledged it.
    pub replica: usize,
    /// When it was acknowledged.
    pub at: Instant,
    /// How long the acknowledgement took.
    pub took: Duration,
    /// How often it was pushed in vain before.
    pub failures: usize,
}

/// A SaaS that pushes records, each until some replica has acknowledged it.
pub struct Pushes {
    over: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<Pushed>>>,
    clients: JoinSet<()>,
}

impl Pushes {
    /// Begins to push to these in turn.
    pub fn to(callbacks: Vec<SocketAddr>) -> Self {
        let (over, acked) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Pushed>>>::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(push(client, callbacks.clone(), Arc::clone(&over), Arc::clone(&acked)));
        }
        Self { over, acked, clients }
    }

    /// What was acknowledged until now, in order.
    pub fn acked(&self) -> Vec<Pushed> {
        self.acked.lock().unwrap().clone()
    }

    /// Waits until so many more were acknowledged by `replica`, or by any.
    pub async fn go_on(&self, count: usize, replica: Option<usize>) {
        let of = || {
            let acked = self.acked.lock().unwrap();
            acked.iter().filter(|one| replica.is_none_or(|replica| replica == one.replica)).count()
        };
        let before = of();
        in_time(Duration::from_mins(1), async || of() >= before + count).await;
    }

    /// Ends; what was acknowledged.
    pub async fn end(self) -> Vec<Pushed> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        self.acked.lock().unwrap().clone()
    }
}

/// The record of a name, as the SaaS tells it.
fn record(name: &str) -> String {
    let filling = "x".repeat(500);
    format!(r#"{{"bot_id":"1","task_id":"7","call_sn":"{name}","uuid":"{name}","filling":"{filling}"}}"#)
}

async fn push(
    client: usize,
    callbacks: Vec<SocketAddr>,
    over: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<Pushed>>>,
) {
    let mut lines: Vec<Option<Line>> = callbacks.iter().map(|_| None).collect();
    let mut turn = client;
    for number in 0.. {
        let name = format!("{client}-{number}");
        let ask = post(&callback(None), record(&name));
        for failures in 0.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            turn += 1;
            let replica = turn % callbacks.len();
            let begun = Instant::now();
            let answer =
                tokio::time::timeout(PATIENCE, try_ask(&ask, callbacks[replica], &mut lines[replica]));
            if answer.await.ok().flatten().is_some_and(|answer| answer.status == 200) {
                let (at, took) = (Instant::now(), begun.elapsed());
                acked.lock().unwrap().push(Pushed { name, replica, at, took, failures });
                break;
            }
            lines[replica] = None;
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks on a kept connection, or on a new one; `None`: no answer came.
pub async fn try_ask(ask: &Ask, address: SocketAddr, kept: &mut Option<Line>) -> Option<Answer> {
    let mut line = match kept.take() {
        Some(line) => line,
        None => Line::over(TcpStream::connect(address).await.ok()?),
    };
    line.try_send(ask.to_bytes()).await.ok()?;
    let answer = line.try_answer(false).await.ok()?;
    if answer.header("connection") != "close" {
        *kept = Some(line);
    }
    Some(answer)
}

/// A delivery that came.
#[derive(Debug, Clone)]
pub struct Got {
    /// The event's id.
    pub id: String,
    /// The name of the replica that delivered it.
    pub by: String,
    /// When.
    pub at: Instant,
}

/// Notes who delivered what, and takes everything.
pub struct Subscriber {
    server: Upstream,
    got: Arc<Mutex<HashMap<String, Vec<Got>>>>,
    refuses: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Subscriber {
    /// Starts it.
    pub fn start() -> Self {
        let got = Arc::<Mutex<HashMap<String, Vec<Got>>>>::default();
        let (refuses, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (noted, refusing, counted) = (Arc::clone(&got), Arc::clone(&refuses), Arc::clone(&count));
        let server = Upstream::scripted(move |seen| {
            if refusing.load(Ordering::Relaxed) {
                return answer("500 Internal Server Error", "", "");
            }
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            let by = seen.target.rsplit('=').next().unwrap_or_default().to_owned();
            let one = Got { id: seen.header("webhook-id").to_owned(), by, at: Instant::now() };
            let name = body["uuid"].as_str().unwrap().to_owned();
            noted.lock().unwrap().entry(name).or_default().push(one);
            counted.fetch_add(1, Ordering::Relaxed);
            ok()
        });
        Self { server, got, refuses, count }
    }

    /// Its entry in the list of subscribers, with these further keys.
    pub fn entry(&self, name: &str, more: &str) -> String {
        format!("{{name: {name}, url: '{}/?by=${{REPLICA}}'{more}}}", self.server.url())
    }

    /// Has it answer 500 from now on, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// How many deliveries came.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The deliveries of a record.
    pub fn of(&self, name: &str) -> Vec<Got> {
        self.got.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    /// Waits until it has got all of these, at most so long; how long it took.
    #[track_caller]
    pub fn gets(&self, pushed: &[Pushed], limit: Duration) -> impl Future<Output = Duration> {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            loop {
                let missing = self.missing(pushed);
                if missing.is_empty() {
                    return begun.elapsed();
                }
                let few = &missing[..missing.len().min(5)];
                let late = || {
                    format!(
                        "{} of {} are missing after {limit:?}: {few:?}, {caller}",
                        missing.len(),
                        pushed.len()
                    )
                };
                assert!(begun.elapsed() < limit, "{}", late());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn missing<'a>(&self, pushed: &'a [Pushed]) -> Vec<&'a Pushed> {
        let got = self.got.lock().unwrap();
        pushed.iter().filter(|one| !got.contains_key(&one.name)).collect()
    }

    /// How many deliveries were repetitions: of one event, and of one record under another event's id.
    pub fn repetitions(&self) -> [usize; 2] {
        let got = self.got.lock().unwrap();
        got.values().fold([0, 0], |[same, other], of_one| {
            let mut ids = BTreeMap::<&str, usize>::new();
            for got in of_one {
                *ids.entry(&got.id).or_default() += 1;
            }
            [same + of_one.len() - ids.len(), other + ids.len() - 1]
        })
    }
}
