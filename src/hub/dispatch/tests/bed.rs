//! A store, subscribers' loops on it, and the means to look at both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::actor::{Actor, PausedClock, Stage};
use crate::hub::dispatch::shown::Shown;
use crate::hub::dispatch::subscriber::{Rooms, Served, Subscriber};
use crate::hub::filter::Filter;
use crate::hub::schedule::Clock;
use crate::hub::settings::SubscriberSettings;
use crate::store::{
    Answer, EventId, Intake, Log, MemoryStore, NewEvent, Progress, Query, Replay, ReplayId, Retry, Seq,
    Settled, ShardId, Start, StoreError, SubscriberFigures, SubscriberState,
};
use crate::xinyao::callback::Kind;

const SHARD: ShardId = ShardId(0);
/// Longest that anything in a test takes, in tokio's time.
const DEADLINE: Duration = Duration::from_hours(1);

pub struct Bed {
    pub store: Arc<MemoryStore>,
    gate: Arc<Gate>,
    clock: PausedClock,
}

/// A loop that runs.
pub struct Loop {
    serving: watch::Sender<Arc<Served>>,
    task: JoinHandle<()>,
}

impl Loop {
    /// Lets it end.
    pub async fn end(self) {
        drop(self.serving);
        self.task.await.unwrap();
    }

    /// Ends it where it stands.
    pub fn kill(self) {
        self.task.abort();
    }

    pub fn change(&self, settings: SubscriberSettings, actor: &Arc<Actor>) {
        self.serving.send_replace(served(settings, actor));
    }
}

fn served(settings: SubscriberSettings, actor: &Arc<Actor>) -> Arc<Served> {
    let filter = Filter::new(&settings.filter);
    Arc::new(Served { settings, filter, carrier: Arc::new(Stage(Arc::clone(actor))) })
}

impl Bed {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let gate = Gate { store: Arc::clone(&store), writes: AtomicUsize::new(0) };
        Self { store, gate: Arc::new(gate), clock: PausedClock::new() }
    }

    pub fn serve(&self, settings: SubscriberSettings, actor: &Arc<Actor>) -> (Loop, Arc<Shown>) {
        let (serving, receiver) = watch::channel(served(settings, actor));
        let shown = Arc::new(Shown::default());
        let rooms = Rooms {
            log: Arc::clone(&self.store) as Arc<dyn Log>,
            progress: Arc::clone(&self.gate) as Arc<dyn Progress>,
            clock: Arc::new(self.clock.clone()),
        };
        let task = tokio::spawn(Subscriber::new(receiver, rooms, Arc::clone(&shown), 1).run());
        (Loop { serving, task }, shown)
    }

    pub async fn append(&self, events: usize) {
        // A new subscriber begins with what comes after it was taken up.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..events {
            self.append_body("{}").await;
        }
    }

    pub async fn append_body(&self, body: &str) {
        let id = Self::id(self.store.tail(SHARD).borrow().0);
        let new = NewEvent {
            id,
            received_at: self.clock.now(),
            app: "crm".into(),
            label: None,
            kind: Kind::CallRecord,
            task_id: None,
            call_sn: None,
            content_type: None,
            unless_since: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        // Only what comes of deliveries is refused.
        let refused = self.store.writable().err();
        self.store.refuse(None);
        self.store.append(new).await.unwrap();
        self.store.refuse(refused);
    }

    /// The id of the event of that number.
    pub fn id(seq: u64) -> EventId {
        EventId(Uuid::from_u128(seq.into()))
    }

    /// Waits until `holds`.
    pub async fn until(&self, holds: impl Fn() -> bool) {
        let waiting = async {
            let mut pause = Duration::from_millis(1);
            while !holds() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("it came to that");
    }

    pub fn frontier(&self, subscriber: &str) -> Seq {
        self.look(subscriber).map_or(Seq(0), |figures| figures.frontiers[0].1)
    }

    pub async fn frontier_comes_to(&self, subscriber: &str, seq: Seq) {
        self.until(|| self.frontier(subscriber) == seq).await;
    }

    pub async fn until_retrying(&self, subscriber: &str, rows: u64) {
        self.until(|| self.look(subscriber).is_some_and(|figures| figures.retrying == rows)).await;
    }

    pub fn figures(&self, subscriber: &str) -> SubscriberFigures {
        self.look(subscriber).expect("a subscriber that was taken up")
    }

    /// The store in memory answers at once.
    fn look(&self, subscriber: &str) -> Option<SubscriberFigures> {
        let figures = self.store.figures().now_or_never().unwrap().unwrap();
        figures.into_iter().find(|figures| figures.name == subscriber)
    }

    /// Whether nothing is left to do.
    pub fn settled(&self, subscriber: &str) -> bool {
        self.look(subscriber).is_some_and(|figures| figures.retrying == 0 && figures.replaying == 0)
    }

    /// Which events were given up.
    pub async fn dead(&self, subscriber: &str) -> Vec<u64> {
        let page = self.store.dead_letters(Some(subscriber.into()), 10_000, None).await.unwrap();
        page.rows.iter().map(|dead| u64::try_from(dead.event_id.0.as_u128()).unwrap()).collect()
    }

    pub fn fail_writes(&self, fail: bool) {
        self.store.refuse(fail.then(|| StoreError::Full("as the test wants it".into())));
    }

    pub fn writes(&self) -> usize {
        self.gate.writes.load(Ordering::Relaxed)
    }
}

/// The store's door for progress, which counts.
struct Gate {
    store: Arc<MemoryStore>,
    writes: AtomicUsize,
}

impl Progress for Gate {
    fn settle(&self, settled: Vec<Settled>) -> Answer<'_, ()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.store.settle(settled)
    }

    fn open(&self, subscriber: &str, start: Start) -> Answer<'_, SubscriberState> {
        self.store.open(subscriber, start)
    }

    fn advance(&self, subscriber: &str, shard: ShardId, frontier: Seq) {
        self.store.advance(subscriber, shard, frontier);
    }

    fn due(&self, subscriber: &str, now: Timestamp, max: usize) -> Answer<'_, Vec<Retry>> {
        self.store.due(subscriber, now, max)
    }

    fn next_due(&self, subscriber: &str) -> Answer<'_, Option<Timestamp>> {
        self.store.next_due(subscriber)
    }

    fn retries(&self, subscriber: &str) -> Answer<'_, usize> {
        self.store.retries(subscriber)
    }

    fn replays(&self, subscriber: &str) -> Answer<'_, Vec<Replay>> {
        self.store.replays(subscriber)
    }

    fn advance_replay(&self, replay: ReplayId, next: Seq) {
        self.store.advance_replay(replay, next);
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }
}
