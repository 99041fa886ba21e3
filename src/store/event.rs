//! What is kept, and what is told of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::xinyao::callback::Kind;

/// Names an event, to subscribers too (`webhook-id`): a UUID of version 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A shard's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

/// An event's number in its shard, from 1 on, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// In which shard.
    pub shard: ShardId,
    /// Which of its events.
    pub seq: Seq,
}

/// Digest of what makes two callbacks the same: app, label and body.
pub type DuplicateKey = [u8; 16];

/// An event that is to be kept.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id, made by whoever took it in.
    pub id: EventId,
    /// When it came.
    pub received_at: Timestamp,
    /// Whose it is.
    pub app: Arc<str>,
    /// The label of the URL that it came to.
    pub label: Option<Arc<str>>,
    /// What it is.
    pub kind: Kind,
    /// Its task, if it names one.
    pub task_id: Option<String>,
    /// Its batch, if it names one.
    pub call_sn: Option<String>,
    /// Its `Content-Type`, as it came.
    pub content_type: Option<Bytes>,
    /// Refuse it as a duplicate of an event that has the same key and came since then.
    pub unless_since: Option<(DuplicateKey, Timestamp)>,
    /// Its body, as it came.
    pub body: Bytes,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is kept.
    Kept(Place),
    /// It was there already.
    Duplicate(EventId),
}

/// An event as kept.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where it stands.
    pub place: Place,
    /// Its id.
    pub id: EventId,
    /// When it came.
    pub received_at: Timestamp,
    /// Whose it is.
    pub app: Arc<str>,
    /// The label of the URL that it came to.
    pub label: Option<Arc<str>>,
    /// What it is.
    pub kind: Kind,
    /// Its task, if it names one.
    pub task_id: Option<String>,
    /// Its batch, if it names one.
    pub call_sn: Option<String>,
    /// Its `Content-Type`, as it came.
    pub content_type: Option<Bytes>,
    /// Its body, as it came.
    pub body: Bytes,
}

impl Event {
    /// What is kept of `new` once it has its place.
    pub fn new(place: Place, new: NewEvent) -> Self {
        let NewEvent { id, received_at, app, label, kind, task_id, call_sn, content_type, body, .. } = new;
        Self { place, id, received_at, app, label, kind, task_id, call_sn, content_type, body }
    }
}

/// A part of a shard.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its events, in order.
    pub events: Vec<Arc<Event>>,
    /// Where the next read begins.
    pub next: Seq,
    /// What is missing at its beginning, because retention has removed it or the disk has lost it.
    pub gap: Option<Gap>,
}

/// Events that are gone: removed by retention before they were read, or lost by the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: Seq,
    /// The first after them.
    pub until: Seq,
}

/// Where a new subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the first event that came then or later.
    Since(Timestamp),
}

/// How a subscriber stands when it is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberState {
    /// Its frontier in each shard.
    pub frontiers: Vec<(ShardId, Seq)>,
    /// Whether an operator paused it.
    pub paused: bool,
}

/// One try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// To whom.
    pub subscriber: Arc<str>,
    /// Which one, from 1 on.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// To the end of the answer, or of the waiting for it.
    pub latency_ms: u32,
    /// What was wrong.
    pub error: Option<String>,
    /// The first KiB of the answer.
    pub answer: Bytes,
}

impl Attempt {
    /// When it was over.
    pub fn ended_at(&self) -> Timestamp {
        self.at.saturating_add(Duration::from_millis(self.latency_ms.into())).unwrap_or(self.at)
    }
}

/// What is to become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Delivered,
    /// It is tried again.
    Retry {
        /// When.
        due: Timestamp,
        /// How many attempts of its schedule are used up (probes use none up).
        spent: u32,
    },
    /// It is a dead letter.
    Dead,
}

/// What came of a delivery.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whose.
    pub subscriber: Arc<str>,
    /// Of which event.
    pub place: Place,
    /// The attempt that led to it, if one was made.
    pub attempt: Option<Attempt>,
    /// What becomes of it.
    pub fate: Fate,
}

/// A row of a retry set.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Which event.
    pub event: Arc<Event>,
    /// When it is due.
    pub due: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// Attempts of its schedule that are used up.
    pub spent: u32,
}

/// Names a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplayId(pub i64);

/// A second pass over a part of a shard.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Its name.
    pub id: ReplayId,
    /// Which shard.
    pub shard: ShardId,
    /// The next of its events.
    pub next: Seq,
    /// The first that is not one of its events.
    pub end: Seq,
    /// What of them is delivered again.
    pub filter: EventFilter,
}

/// Which events are meant; what is `None` or empty does not narrow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this app.
    pub app: Option<String>,
    /// Of these kinds.
    pub kinds: Vec<Kind>,
    /// Of this task.
    pub task_id: Option<String>,
    /// Of this batch.
    pub call_sn: Option<String>,
    /// Which came then or later.
    pub since: Option<Timestamp>,
    /// Which came before then.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Whether `event` is meant.
    pub fn matches(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        same(&self.app, Some(&event.app))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && same(&self.task_id, event.task_id.as_deref())
            && same(&self.call_sn, event.call_sn.as_deref())
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
    }
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// What asks for the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// An event without its body.
#[derive(Debug, Clone)]
pub struct EventSummary {
    /// Where it stands.
    pub place: Place,
    /// Its id.
    pub id: EventId,
    /// When it came.
    pub received_at: Timestamp,
    /// Whose it is.
    pub app: String,
    /// What it is.
    pub kind: Kind,
    /// The label of the URL that it came to.
    pub label: Option<String>,
    /// Its task, if it names one.
    pub task_id: Option<String>,
    /// Its batch, if it names one.
    pub call_sn: Option<String>,
    /// Bytes of its body.
    pub size_bytes: u64,
    /// How its deliveries stand, of subscribers that have come to it or have tried it.
    pub deliveries: Vec<Delivery>,
}

/// How one delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub subscriber: String,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When the next one is due.
    pub next_attempt_at: Option<Timestamp>,
    /// What was wrong with the last one.
    pub last_error: Option<String>,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// The subscriber has not come to it yet.
    Pending,
    /// It failed, and is tried again.
    Retrying,
    /// It is done.
    Delivered,
    /// It is a dead letter.
    Dead,
    /// The subscriber has passed it without wanting it.
    Skipped,
}

/// An event and its attempts.
#[derive(Debug, Clone)]
pub struct EventDetail {
    /// The event.
    pub summary: EventSummary,
    /// Every attempt, in order of time.
    pub attempts: Vec<Attempt>,
}

/// A delivery that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Which event.
    pub event_id: EventId,
    /// Whose.
    pub subscriber: String,
    /// Of which app.
    pub app: String,
    /// What it is.
    pub kind: Kind,
    /// Its task, if it names one.
    pub task_id: Option<String>,
    /// Its batch, if it names one.
    pub call_sn: Option<String>,
    /// When it was given up.
    pub dead_at: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// What was wrong with the last one.
    pub last_error: Option<String>,
}

/// A subscriber in figures.
#[derive(Debug, Clone)]
pub struct SubscriberFigures {
    /// Its name.
    pub name: String,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Its frontier in each shard.
    pub frontiers: Vec<(ShardId, Seq)>,
    /// Events behind the frontier, of any app and kind, by app and kind: who knows what the subscriber
    /// wants adds up what it wants.
    pub ahead: Vec<(String, Kind, u64)>,
    /// When the oldest event came that is ahead or in the retry set.
    pub oldest: Option<Timestamp>,
    /// Rows of its retry set.
    pub retrying: u64,
    /// Events left to its replays.
    pub replaying: u64,
    /// Deliveries done.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events that retention removed before it got them.
    pub expired: u64,
}
