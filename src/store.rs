//! Where events are kept, and how far each subscriber has come.
//!
//! Events stand in *shards*, in the order in which they were accepted: a place is a shard and a number in
//! it. The embedded store has one shard; in a cluster each replica writes one of its own. A subscriber has
//! a *frontier* in each shard: everything before it is settled, or has a row in the subscriber's retry set,
//! or is a dead letter. Those rows are durable before the frontier passes them; the frontier itself is
//! written a moment later, so that a crash repeats deliveries and never loses one.
//!
//! The traits are what others need: [`Intake`] the callbacks listener, [`Log`] and [`Progress`] the
//! dispatcher, [`Query`] and [`Operate`] the operators, [`Once`] whoever sends what must not be sent twice.
//! `suite.rs` holds what every store must satisfy.

mod clock_watch;
mod cluster;
mod embedded;
mod event;
mod figures;
mod ledger;
mod lock;
mod log;
mod memory;
mod numbers;
mod once;
mod postgres;
mod settings;
mod sqlite;
mod standing;
#[cfg(test)]
mod suite;
mod team_url;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::cluster::{About, Replica};
pub use self::embedded::{EmbeddedStore, open, open_locked};
pub use self::event::{
    Appended, Attempt, Batch, DeadLetter, Delivery, DeliveryState, DuplicateKey, Event, EventDetail,
    EventFilter, EventId, EventSummary, Fate, Gap, NewEvent, Page, Place, Replay, ReplayId, Retry, Seq,
    Settled, ShardId, Start, SubscriberFigures, SubscriberState,
};
pub use self::figures::{CommitMetrics, Commits};
pub use self::ledger::{BatchEntry, BatchRecord, KEEP_BATCHES, LedgerStart, Submission};
pub use self::lock::{Locking, StoreLock, held};
pub use self::log::Recovered;
pub use self::memory::MemoryStore;
pub use self::numbers::{LedgerKey, MAX_REPEATS, Missing, MissingNumber, Sent, SentNumbers, SentRow, Unseen};
pub use self::once::{
    Claim, Claimed, Conclusion, Digest, Earlier, Finding, KEEP_REQUESTS, KeptAnswer, MAX_REQUESTS,
    MAX_REQUESTS_OF_APP, Marks, RequestId, RequestState, RequestSummary,
};
pub use self::postgres::{BadPostgresUrl, ClusterMetrics, PostgresStore, PostgresUrl, Probed, probe};
pub use self::settings::{ClusterSettings, Settings};
pub use self::team_url::{MAX_TEAM_URLS, MAX_TEAM_URLS_EACH, TeamUrl, too_many};

/// Why the store could not do as asked. What it means for the caller is the caller's to say.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No room: the disk is full, or `store.max_size` is reached.
    #[error("no room for more events: {0}")]
    Full(String),
    /// Reading or writing failed, and may work again later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Nothing more can be told of that request.
    fn over(id: RequestId) -> Self {
        Self::Unavailable(format!("request {id} is no longer under way"))
    }
}

/// All that a store does.
pub trait Store: Intake + Log + Progress + Query + Operate + Once + TeamUrls + Ledger + Cluster {}

impl<T: Intake + Log + Progress + Query + Operate + Once + TeamUrls + Ledger + Cluster> Store for T {}

/// What a store answers, a moment later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Takes events in.
pub trait Intake: Send + Sync {
    /// Keeps an event. Once this is `Ok`, the event survives a crash of process and machine; a duplicate is
    /// told only once the event that it repeats does.
    fn append(&self, event: NewEvent) -> Answer<'_, Appended>;

    /// Whether events can be kept at present.
    ///
    /// # Errors
    /// Why not.
    fn writable(&self) -> Result<(), StoreError>;
}

/// Gives events back in the order in which they were accepted.
pub trait Log: Send + Sync {
    /// The shards that this process delivers from. Changes when another replica's shard is adopted.
    fn shards(&self) -> watch::Receiver<Arc<[ShardId]>>;

    /// The number that the shard's next event will have; changes with each group of events.
    fn tail(&self, shard: ShardId) -> watch::Receiver<Seq>;

    /// Events from `from` on: at most `max_events`, and no more after `max_bytes` of bodies (one at least).
    fn read(&self, shard: ShardId, from: Seq, max_events: usize, max_bytes: usize) -> Answer<'_, Batch>;

    /// The event at a place; `None` when retention has removed it.
    fn event_at(&self, place: Place) -> Answer<'_, Option<Arc<Event>>>;
}

/// How far subscribers have come.
pub trait Progress: Send + Sync {
    /// Takes a subscriber up: a known one where it stopped, a new one at `start`.
    fn open(&self, subscriber: &str, start: Start) -> Answer<'_, SubscriberState>;

    /// Writes down what came of deliveries, in order. Ready when it is durable, as [`Fate::Retry`] and
    /// [`Fate::Dead`] must be before the frontier passes; [`Fate::Delivered`] alone need not be waited for.
    /// After an error (the disk may be full) nothing is written down but that what was delivered is out of
    /// the retry set: the rest is still the caller's, to be settled again. What comes of a subscriber that
    /// was forgotten, or of an event that retention removed, is nobody's concern any more, and is no error.
    fn settle(&self, settled: Vec<Settled>) -> Answer<'_, ()>;

    /// Everything of the shard before `frontier` is settled or in the retry set. Written within a moment; a
    /// frontier never goes back.
    fn advance(&self, subscriber: &str, shard: ShardId, frontier: Seq);

    /// What of the retry set is due at `now`, the longest due first.
    fn due(&self, subscriber: &str, now: Timestamp, max: usize) -> Answer<'_, Vec<Retry>>;

    /// When the next of the retry set is due.
    fn next_due(&self, subscriber: &str) -> Answer<'_, Option<Timestamp>>;

    /// How many are in the retry set; past [`MAX_RETRIES`] the subscriber is to be left alone.
    fn retries(&self, subscriber: &str) -> Answer<'_, usize>;

    /// The replays of a subscriber that are not done, oldest first.
    fn replays(&self, subscriber: &str) -> Answer<'_, Vec<Replay>>;

    /// A replay has come to `next` in the shard; at its end it is forgotten. Written within a moment.
    fn advance_replay(&self, replay: ReplayId, next: Seq);

    /// Counts operators' actions: a change means that states, retry sets or replays are to be read again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Most rows of one subscriber's retry set.
pub const MAX_RETRIES: usize = 10_000;

/// Answers operators' questions.
pub trait Query: Send + Sync {
    /// Events, newest first. A cursor neither skips nor repeats while events arrive.
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<EventSummary>>;

    /// One event with every attempt.
    fn event(&self, id: EventId) -> Answer<'_, Option<EventDetail>>;

    /// One event with its body.
    fn body(&self, id: EventId) -> Answer<'_, Option<Arc<Event>>>;

    /// Dead letters, newest first, of one subscriber or of all.
    fn dead_letters(
        &self,
        subscriber: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<DeadLetter>>;

    /// The figures of every subscriber that the store knows, those no longer configured included.
    fn figures(&self) -> Answer<'_, Vec<SubscriberFigures>>;

    /// Bytes on disk, and how many there may be.
    fn size(&self) -> Answer<'_, (u64, u64)>;
}

/// Does what operators ask for. Durable when ready.
pub trait Operate: Send + Sync {
    /// Pauses a subscriber, or lets it go on. `false`: there is none of that name.
    fn set_paused(&self, subscriber: &str, paused: bool) -> Answer<'_, bool>;

    /// Drops a subscriber's backlog: its frontier goes to the tail, its retry set and replays go. Returns
    /// how many deliveries were dropped.
    fn purge(&self, subscriber: &str) -> Answer<'_, u64>;

    /// Forgets a subscriber and everything about it, dead letters included.
    fn forget(&self, subscriber: &str) -> Answer<'_, bool>;

    /// Delivers again what matches `filter`, beside the live deliveries. Returns how many events that is.
    fn replay(&self, subscriber: &str, filter: EventFilter) -> Answer<'_, u64>;

    /// Delivers these events again at once: they go into the retry set, due now, as far as there is room in
    /// it. Returns how many did.
    fn replay_ids(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64>;

    /// Puts dead letters back into the retry set, due now, with a fresh schedule; empty `ids`: all of them,
    /// the oldest first, as far as there is room in it. Returns how many.
    fn revive(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64>;

    /// Forgets dead letters; empty `ids`: all of them.
    fn discard(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64>;
}

/// Remembers requests that must not reach the SaaS twice. What a request comes to is durable when ready.
///
/// A request that was under way when the process ended has an unknown outcome after the next start.
pub trait Once: Send + Sync {
    /// Takes a request up, unless an earlier one stands in its way.
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed>;

    /// Tells what the body of a request is known by, now that it has come whole. Fails if it is no longer under
    /// way.
    fn seal(&self, id: RequestId, marks: Marks) -> Answer<'_, ()>;

    /// Tells what came of a request, for the first time. While that can't be written down it stays under
    /// way, and is written later.
    fn conclude(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) -> Answer<'_, ()>;

    /// The same for who can't wait.
    fn conclude_soon(&self, id: RequestId, conclusion: Conclusion, at: Timestamp);

    /// Remembered requests, newest first, in one state or in any.
    fn requests(
        &self,
        state: Option<RequestState>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<RequestSummary>>;

    /// One of them.
    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestSummary>>;

    /// Decides about an unknown outcome. `false`: there is none of that name.
    fn settle_request(&self, id: RequestId, finding: Finding, at: Timestamp) -> Answer<'_, bool>;
}

/// Keeps the callback addresses that apps name in their tasks.
pub trait TeamUrls: Send + Sync {
    /// All of them, the oldest first.
    fn team_urls(&self) -> Answer<'_, Vec<TeamUrl>>;

    /// Keeps one, unless there are [`too_many`]. One that is known stays as it is. Durable when ready.
    fn keep_team_url(&self, team_url: TeamUrl) -> Answer<'_, ()>;

    /// Forgets one, which leaves room for another.
    fn forget_team_url(&self, app: String, url: String) -> Answer<'_, ()>;
}

/// Keeps what is known of batches.
pub trait Ledger: Send + Sync {
    /// The shards that the ledger of this process follows: where replicas share the store, all of them for one
    /// replica, and none for the others.
    fn ledger_shards(&self) -> watch::Receiver<Arc<[ShardId]>>;

    /// What numbers and calls are digested with; always the same.
    fn ledger_key(&self) -> Answer<'_, LedgerKey>;

    /// Where the ledger goes on in the shard.
    fn ledger(&self, shard: ShardId) -> Answer<'_, LedgerStart>;

    /// Enters what events before `next` have told. Durable when ready, with how far that is.
    fn enter_batches(&self, shard: ShardId, next: Seq, entries: Vec<BatchEntry>) -> Answer<'_, ()>;

    /// Enters what an outnum was answered with. Numbers that were kept of one of that name are forgotten.
    fn submit_batch(&self, submission: Submission) -> Answer<'_, ()>;

    /// Keeps the numbers that the outnum of a batch sent, as long as the batch; or why they were not seen.
    fn keep_sent(&self, app: &str, call_sn: &str, sent: Sent) -> Answer<'_, ()>;

    /// The numbers that were kept of a batch.
    fn sent(&self, app: &str, call_sn: &str) -> Answer<'_, Sent>;

    /// The parts that were entered of a batch, in order.
    fn batch_parts(&self, app: &str, call_sn: &str) -> Answer<'_, Vec<Bytes>>;

    /// Batches, newest first, of one app or of all.
    fn batches(
        &self,
        app: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<BatchRecord>>;

    /// One of them.
    fn batch(&self, call_sn: &str) -> Answer<'_, Option<BatchRecord>>;

    /// How many lack numbers, and were not heard of since `before`.
    fn quiet_batches(&self, before: Timestamp) -> Answer<'_, u64>;
}

/// Tells of the replicas that share the store; nothing, where one process has it for itself.
pub trait Cluster: Send + Sync {
    /// What the others know this process by; `None`: there are no others.
    fn replica(&self) -> Option<Arc<str>> {
        None
    }

    /// All that hold a seat, in the order in which they took it; at most 1000.
    fn replicas(&self) -> Answer<'_, Vec<Replica>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// What the others are to know of this process from now on.
    fn tell_about(&self, _: About) {}
}
