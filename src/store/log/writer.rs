//! The writer's thread: it takes what waits as one group, has it synced once, and answers everyone.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::append::Appender;
use super::keys::{self, Keys};
use super::record::nanos;
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
    /// Waits for a moment, if the index is far behind; `false`: it still is.
    fn keeps_up(&self, tail: Seq) -> bool;
    /// There is more to index; nobody asks for keys from more than `window` nanoseconds ago.
    fn appended(&self, window: i64);
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
    pub keys: Keys,
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
        let group = Group::default();
        let work = Work { parts, group, window: 0, unreadable: false, tail, state: Arc::clone(&state) };
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
    group: Group,
    /// The longest that was looked back for a key, in nanoseconds.
    window: i64,
    /// The event of a key could not be read.
    unreadable: bool,
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
        let kept = self.group.take();
        if written.is_ok() && count > 0 {
            self.parts.commits.observe(begun.elapsed(), count);
            for Keyed { print, seq, at } in kept {
                self.parts.keys.add(print, seq, at, self.window);
            }
            self.tail.send_replace(tail);
            self.parts.index.appended(self.window);
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
            let found = self.group.find(key, *since).or_else(|| self.kept_before(key, *since));
            if let Some(id) = found {
                return Appended::Duplicate(id);
            }
            let at = nanos(event.received_at);
            self.window = self.window.max(at.saturating_sub(nanos(*since)));
            self.group.add(*key, event, seq);
        }
        Appended::Kept(Place { shard: ShardId(0), seq })
    }

    /// The event of the log with that key that came at `since` or later.
    fn kept_before(&mut self, key: &DuplicateKey, since: Timestamp) -> Option<EventId> {
        let Parts { shelf, keys, .. } = &self.parts;
        for seq in keys.may_have(keys::print(key)) {
            let run = match shelf.read(seq, 1, 0) {
                Ok(run) => run,
                Err(error) => {
                    if !std::mem::replace(&mut self.unreadable, true) {
                        // Twice is better than never.
                        tracing::error!(%error, "a key's event can't be read; duplicates may be kept");
                    }
                    continue;
                }
            };
            let mut own = run.events.iter().filter(|stored| stored.event.place.seq == seq);
            let same = own.find(|stored| stored.key == Some(*key) && stored.event.received_at >= since);
            if let Some(stored) = same {
                return Some(stored.event.id);
            }
        }
        None
    }
}

/// Keys of the group that is about to be written.
#[derive(Debug, Default)]
struct Group {
    newest: HashMap<DuplicateKey, (Timestamp, EventId)>,
    kept: Vec<Keyed>,
}

/// A key as it is remembered once its event is kept.
#[derive(Debug)]
struct Keyed {
    print: u64,
    seq: Seq,
    at: i64,
}

impl Group {
    fn find(&self, key: &DuplicateKey, since: Timestamp) -> Option<EventId> {
        self.newest.get(key).filter(|(at, _)| *at >= since).map(|(_, id)| *id)
    }

    fn add(&mut self, key: DuplicateKey, event: &NewEvent, seq: Seq) {
        self.newest.insert(key, (event.received_at, event.id));
        self.kept.push(Keyed { print: keys::print(&key), seq, at: nanos(event.received_at) });
    }

    fn take(&mut self) -> Vec<Keyed> {
        self.newest.clear();
        std::mem::take(&mut self.kept)
    }
}
