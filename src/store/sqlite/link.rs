//! What the log's writer sees of the index.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::schema::BUCKET;
use super::shared::Shared;
use crate::store::log::record::nanos;
use crate::store::log::writer::Index;
use crate::store::{DuplicateKey, EventId, Seq};

/// The index may be this many events behind the log: their keys are in memory.
const MAX_BEHIND: u64 = 200_000;
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Asks the index on a connection of its own.
pub(in crate::store) struct Link {
    shared: Arc<Shared>,
    connection: Connection,
    failed: bool,
}

impl Link {
    pub fn new(shared: Arc<Shared>) -> rusqlite::Result<Self> {
        let connection = super::schema::open_to_read(&shared.path)?;
        Ok(Self { shared, connection, failed: false })
    }

    fn look(&self, key: &DuplicateKey, since: i64, at: i64) -> rusqlite::Result<Option<EventId>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM duplicate WHERE bucket = ? AND key = ? AND received_at >= ?")?;
        // One more, for a clock that was set back.
        for bucket in (bucket(since)..=bucket(at) + 1).rev() {
            let id: Option<Uuid> = statement
                .query_row((bucket, key, since), |row| Ok(Uuid::from_bytes(row.get(0)?)))
                .optional()?;
            if id.is_some() {
                return Ok(id.map(EventId));
            }
        }
        Ok(None)
    }
}

impl Index for Link {
    fn duplicate(&mut self, key: &DuplicateKey, since: Timestamp, at: Timestamp) -> Option<EventId> {
        let (since, at) = (nanos(since), nanos(at));
        self.shared.window.fetch_max(at.saturating_sub(since), Ordering::Relaxed);
        let found = self.look(key, since, at);
        if let (Err(error), false) = (&found, self.failed) {
            // Twice is better than never.
            tracing::error!(%error, "duplicates can't be looked up in the index; events are kept regardless");
        }
        self.failed = found.is_err();
        found.ok().flatten()
    }

    fn indexed(&self) -> Seq {
        self.shared.indexed()
    }

    fn keeps_up(&self, tail: Seq) -> bool {
        let behind = || tail.0.saturating_sub(self.shared.indexed().0) > MAX_BEHIND;
        let begun = Instant::now();
        while behind() {
            let left = MAX_WAIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            let (lock, progressed) = &self.shared.progressed;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            drop(progressed.wait_timeout(guard, left.min(Duration::from_millis(50))));
        }
        true
    }

    fn appended(&self) {
        self.shared.nudge();
    }

    fn bytes(&self) -> u64 {
        self.shared.index_bytes()
    }
}

/// Where a key stands that came at that time.
pub(super) fn bucket(at: i64) -> i64 {
    at.div_euclid(BUCKET * 1_000_000_000)
}

/// Classes by app and kind, as the index knows them.
#[derive(Debug, Default)]
pub(super) struct Classes(HashMap<(Arc<str>, u8), i64>);

impl Classes {
    pub fn of(&mut self, connection: &Connection, app: &Arc<str>, kind: u8) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(&(Arc::clone(app), kind)) {
            return Ok(*id);
        }
        connection.execute("INSERT OR IGNORE INTO class (app, kind) VALUES (?, ?)", (&**app, kind))?;
        let id = connection.query_row(
            "SELECT id FROM class WHERE app = ? AND kind = ?",
            (&**app, kind),
            |row| row.get(0),
        )?;
        self.0.insert((Arc::clone(app), kind), id);
        Ok(id)
    }

    /// After a transaction that failed: what it added is not there.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
