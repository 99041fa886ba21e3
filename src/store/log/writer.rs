//! The writer's thread: it takes what waits as one group, has it synced once, and answers everyone.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::append::Appender;
use super::shelf::Shelf;
use crate::store::figures::Commits;
use crate::store::{Appended, DuplicateKey, EventId, NewEvent, Place, Seq, ShardId, StoreError};

/// Most of one group.
const MAX_GROUP: usize = 512;
const MAX_GROUP_BYTES: usize = 4 << 20;
/// Most appends that wait.
const MAX_WAITING: usize = 4096;
/// While all is well, nothing needs looking after.
const IDLE: Duration = Duration::from_hours(1);
/// While nothing can be written, it is tried again this often, so that `writable` does not need an event.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the writer asks of the index.
pub(in crate::store) trait Index: Send {
    /// The event with that key that came at `since` or later; the one that is to be kept came at `at`.
    fn duplicate(&mut self, key: &DuplicateKey, since: Timestamp, at: Timestamp) -> Option<EventId>;
    /// What comes before is in the index.
    fn indexed(&self) -> Seq;
    /// Waits for a moment, if the index is far behind; `false`: it still is.
    fn keeps_up(&self, tail: Seq) -> bool;
    /// There is more to index.
    fn appended(&self);
    /// Bytes that the index takes on the disk.
    fn bytes(&self) -> u64;
}

enum Request {
    Append(Box<Waiting>),
    /// Begin a new segment, so that the present one can be removed.
    Roll,
    Stop,
}

struct Waiting {
    event: NewEvent,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
    _permit: OwnedSemaphorePermit,
}

/// Gives events to the writer.
pub(in crate::store) struct Writer {
    requests: Sender<Request>,
    room: Arc<Semaphore>,
    state: Arc<Mutex<Result<(), StoreError>>>,
    pub tail: watch::Receiver<Seq>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer works with.
pub(in crate::store) struct Parts {
    pub shelf: Arc<Shelf>,
    pub appender: Appender,
    pub index: Box<dyn Index>,
    pub commits: Arc<Commits>,
    pub max_bytes: u64,
}

impl Writer {
    /// Starts the thread.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (requests, receiver) = channel();
        let state = Arc::new(Mutex::new(Ok(())));
        let (tail, tail_seen) = watch::channel(parts.shelf.tail());
        let work = Work { parts, keys: Keys::default(), tail, state: Arc::clone(&state) };
        let thread = thread::Builder::new().name("store-log".into()).spawn(move || work.run(&receiver))?;
        Ok(Self {
            requests,
            room: Arc::new(Semaphore::new(MAX_WAITING)),
            state,
            tail: tail_seen,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Box::new(Waiting { event, answer, _permit: permit });
        self.requests.send(Request::Append(waiting)).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    pub fn writable(&self) -> Result<(), StoreError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn roll(&self) {
        self.requests.send(Request::Roll).ok();
    }

    /// Writes what waits, and ends the thread.
    pub fn stop(&self) {
        self.requests.send(Request::Stop).ok();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the event log's writer panicked");
        }
    }
}

struct Work {
    parts: Parts,
    keys: Keys,
    tail: watch::Sender<Seq>,
    state: Arc<Mutex<Result<(), StoreError>>>,
}

impl Work {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let timeout = if self.works() { IDLE } else { PROBE_EVERY };
            let first = match requests.recv_timeout(timeout) {
                Ok(Request::Append(waiting)) => waiting,
                Ok(Request::Roll) => {
                    self.roll();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.probe();
                    continue;
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut bytes = first.event.body.len();
            let mut group = vec![*first];
            let mut after = None;
            while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                match requests.try_recv() {
                    Ok(Request::Append(waiting)) => {
                        bytes += waiting.event.body.len();
                        group.push(*waiting);
                    }
                    Ok(other) => {
                        after = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.commit(group, bytes as u64);
            match after {
                Some(Request::Stop) => return,
                Some(_) => self.roll(),
                None => {}
            }
        }
    }

    fn works(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_ok()
    }

    fn set_state(&self, state: Result<(), StoreError>) {
        let mut now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*now, &state) {
            (Ok(()), Err(error)) => tracing::error!(%error, "events can't be kept"),
            (Err(_), Ok(())) => tracing::info!("events are kept again"),
            _ => {}
        }
        *now = state;
    }

    fn room(&self, bytes: u64) -> Result<(), StoreError> {
        let Parts { shelf, index, max_bytes, .. } = &self.parts;
        if shelf.bytes() + index.bytes() + bytes > *max_bytes {
            return Err(StoreError::Full("store.max_size is reached".into()));
        }
        Ok(())
    }

    fn probe(&mut self) {
        let probed = self.room(0).and_then(|()| self.parts.appender.probe());
        self.set_state(probed);
    }

    fn roll(&mut self) {
        if let Err(error) = self.parts.appender.roll() {
            tracing::warn!(%error, "no new segment was begun");
        }
    }

    fn commit(&mut self, group: Vec<Waiting>, bytes: u64) {
        let begun = Instant::now();
        let first = self.parts.shelf.tail();
        self.keys.forget_before(self.parts.index.indexed());
        let (mut events, mut answers) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for waiting in group {
            let Waiting { event, answer, _permit } = waiting;
            let appended = self.place(&event, Seq(first.0 + events.len() as u64));
            if matches!(appended, Appended::Kept(_)) {
                events.push(event);
            }
            answers.push((answer, appended));
        }
        let count = events.len();
        let written = if count == 0 {
            Ok(())
        } else {
            self.room(bytes).and_then(|()| self.fits()).and_then(|()| self.parts.appender.append(events))
        };
        let tail = self.parts.shelf.tail();
        if written.is_err() {
            self.keys.forget_from(first);
        } else if count > 0 {
            self.parts.commits.observe(begun.elapsed(), count);
            self.tail.send_replace(tail);
            self.parts.index.appended();
        }
        if count > 0 {
            self.set_state(written.clone());
        }
        for (answer, appended) in answers {
            answer.send(written.clone().map(|()| appended)).ok();
        }
    }

    fn fits(&self) -> Result<(), StoreError> {
        if self.parts.index.keeps_up(self.parts.shelf.tail()) {
            return Ok(());
        }
        Err(StoreError::Unavailable("the index is too far behind the event log".into()))
    }

    /// Where an event goes, unless it is a duplicate.
    fn place(&mut self, event: &NewEvent, seq: Seq) -> Appended {
        if let Some((key, since)) = &event.unless_since {
            let known = self.keys.find(key, *since);
            if let Some(id) = known.or_else(|| self.parts.index.duplicate(key, *since, event.received_at)) {
                return Appended::Duplicate(id);
            }
            self.keys.add(*key, event.received_at, event.id, seq);
        }
        Appended::Kept(Place { shard: ShardId(0), seq })
    }
}

/// Keys that are not in the index yet.
#[derive(Debug, Default)]
struct Keys {
    newest: HashMap<DuplicateKey, (Timestamp, EventId, Seq)>,
    order: VecDeque<(Seq, DuplicateKey)>,
}

impl Keys {
    fn find(&self, key: &DuplicateKey, since: Timestamp) -> Option<EventId> {
        self.newest.get(key).filter(|(at, ..)| *at >= since).map(|(_, id, _)| *id)
    }

    fn add(&mut self, key: DuplicateKey, at: Timestamp, id: EventId, seq: Seq) {
        self.newest.insert(key, (at, id, seq));
        self.order.push_back((seq, key));
    }

    fn forget_before(&mut self, seq: Seq) {
        while let Some((old, key)) = self.order.pop_front_if(|(old, _)| *old < seq) {
            self.drop_key(&key, old);
        }
    }

    /// After a group that failed. What it stood in the way of was too old to matter.
    fn forget_from(&mut self, seq: Seq) {
        while let Some((late, key)) = self.order.pop_back_if(|(late, _)| *late >= seq) {
            self.drop_key(&key, late);
        }
    }

    fn drop_key(&mut self, key: &DuplicateKey, seq: Seq) {
        if self.newest.get(key).is_some_and(|(.., newest)| *newest == seq) {
            self.newest.remove(key);
        }
    }
}
