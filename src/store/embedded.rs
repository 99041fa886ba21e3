//! The store of one process: a segment log, and a SQLite file behind it.

mod answers;
mod ledger;
mod local;
mod once;

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot, watch};

use super::figures::Commits;
use super::log::append::{Appender, SEGMENT_BYTES};
use super::log::disk::{Disk, Folder};
use super::log::writer::{Parts, Writer};
use super::log::{Recovered, Shelf, recover};
use super::sqlite::once::after_a_crash;
use super::sqlite::{
    Command, Link, MAX_BEHIND, Readers, Shared, Work, events, schema, shared::Members, told,
};
use super::{Seq, Settings, ShardId, StoreError, StoreLock};

const SHARD: ShardId = ShardId(0);
/// Most calls of `settle` that wait.
const MAX_SETTLING: usize = 4096;

/// The store of one process. Dropping it without [`EmbeddedStore::close`] loses nothing that was promised.
pub struct EmbeddedStore {
    writer: Arc<Writer>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    commits: Arc<Commits>,
    settling: Arc<Semaphore>,
    shards: watch::Sender<Arc<[ShardId]>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Given back when the store is closed, or dropped.
    lock: Mutex<Option<StoreLock>>,
    max_size_bytes: u64,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// Opens the store, and makes it if it is not there. What the index lacks of the log it takes in first.
///
/// # Errors
/// A file can't be opened, read or written, or is of another version; another process has the store open.
pub fn open(settings: &Settings) -> Result<(EmbeddedStore, Recovered), StoreError> {
    open_locked(settings, StoreLock::take_now(&settings.path)?)
}

/// Likewise, with the store's lock taken already.
///
/// # Errors
/// See [`open`].
pub fn open_locked(settings: &Settings, lock: StoreLock) -> Result<(EmbeddedStore, Recovered), StoreError> {
    let folder = log_folder(&settings.path);
    let disk = Folder::new(folder.clone()).map_err(|error| failed(&folder, &error))?;
    let (mut store, recovered) = open_on(settings, Arc::new(disk), SEGMENT_BYTES)?;
    store.lock = Mutex::new(Some(lock));
    Ok((store, recovered))
}

/// `gateway.db` has its segments in `gateway.log.d`.
fn log_folder(path: &Path) -> PathBuf {
    path.with_extension("log.d")
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

fn open_on(
    settings: &Settings,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
) -> Result<(EmbeddedStore, Recovered), StoreError> {
    let path = settings.path.clone();
    let connection = schema::open(&path)?;
    let unknown = after_a_crash(&connection, Timestamp::now()).map_err(|error| told(&error))?;
    if unknown > 0 {
        tracing::warn!(
            requests = unknown,
            "whether the SaaS acted on requests that were under way is unknown; see `xinyao-gateway requests`"
        );
    }
    let floor = Seq(schema::progress(&connection, "floor").map_err(|error| told(&error))?);
    let (shelf, mut recovered) = recover(disk, SHARD, floor).map_err(|error| failed(&path, &error))?;
    for gap in &recovered.damaged {
        tracing::error!(from = gap.from.0, until = gap.until.0, "the disk has lost events that were kept");
    }
    let mut indexed = lacking(&connection, &shelf)?;
    recovered.indexed = shelf.tail().0 - indexed.0;
    if recovered.indexed > MAX_BEHIND {
        tracing::info!(events = recovered.indexed, "the index takes in what it lacks of the event log");
        events::catch_up(&connection, &shelf, indexed)?;
        indexed = shelf.tail();
    }

    let (commands, receiver) = channel();
    let members = Members::load(&connection, shelf.tail()).map_err(|error| told(&error))?;
    let shared = Arc::new(Shared::new(path.clone(), Arc::clone(&shelf), commands, members, indexed));
    shared.measure();
    let commits = Arc::new(Commits::default());
    let keys = events::load_keys(&connection, &shelf, indexed)?;
    let index = Box::new(Link(Arc::clone(&shared)));
    let appender = Appender::new(Arc::clone(&shelf), segment_bytes);
    let max_bytes = settings.max_size_bytes;
    let parts = Parts { shelf, appender, keys, index, commits: Arc::clone(&commits), max_bytes };
    let writer = Arc::new(Writer::start(parts).map_err(|error| failed(&path, &error))?);

    let rolling = Arc::clone(&writer);
    let mut work =
        Work::new(connection, Arc::clone(&shared), settings.retention, Box::new(move || rolling.roll()));
    work.find_cleaned().map_err(|error| told(&error))?;
    work.find_clock(Timestamp::now()).map_err(|error| told(&error))?;
    let thread = std::thread::Builder::new().name("store-index".into()).spawn(move || work.run(&receiver));
    let store = EmbeddedStore {
        writer,
        readers: Arc::new(Readers::new(Arc::clone(&shared))),
        shared,
        commits,
        settling: Arc::new(Semaphore::new(MAX_SETTLING)),
        shards: watch::Sender::new(Arc::from([SHARD])),
        thread: Mutex::new(Some(thread.map_err(|error| failed(&path, &error))?)),
        lock: Mutex::default(),
        max_size_bytes: max_bytes,
    };
    Ok((store, recovered))
}

/// From where on the index lacks what is in the log: after a crash what came within a moment of it, which
/// its thread takes in while all else goes on, and everything if the file was lost.
fn lacking(connection: &rusqlite::Connection, shelf: &Shelf) -> Result<Seq, StoreError> {
    let sql = |error| told(&error);
    let mut from = Seq(schema::progress(connection, "indexed").map_err(sql)?);
    if from > shelf.tail() {
        tracing::error!(
            index = from.0,
            log = shelf.tail().0,
            "the index knows of events that the log does not have; it is made again from the log"
        );
        events::clear(connection, shelf.tail()).map_err(sql)?;
        from = Seq(0);
    }
    Ok(from.max(shelf.first()))
}

impl EmbeddedStore {
    /// Counts of the groups that were committed.
    pub fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    /// Writes what waits, ends the threads, and lets another process have the store. What is asked of it afterwards
    /// is refused.
    pub async fn close(&self) {
        let (writer, shared) = (Arc::clone(&self.writer), Arc::clone(&self.shared));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let closing = tokio::task::spawn_blocking(move || {
            writer.stop();
            shared.send(Command::Stop);
            thread.is_none_or(|thread| thread.join().is_ok())
        });
        if !closing.await.unwrap_or(false) {
            tracing::error!("the store's index thread panicked");
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Has the index write what is there, so that a question sees it.
    async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.shared.send(Command::Flush(answer)) {
            answered.await.ok();
        }
    }

    /// Has the index's thread do something.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Work) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let changed = Arc::clone(&self.shared);
        self.shared.send(Command::Act(Box::new(move |work| {
            let done = act(work);
            changed.changed();
            answer.send(done).ok();
        })));
        answered.await.map_err(|_| StoreError::Unavailable("the store is closed".into()))?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.writer.stop();
        self.shared.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
