//! What the log's writer sees of the index.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::shared::Shared;
use crate::store::Seq;
use crate::store::log::writer::Index;

/// The index may be this many events behind the log, so that it has soon taken them in after a crash.
pub(in crate::store) const MAX_BEHIND: u64 = 200_000;
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Tells the index, and is told how far it has come.
pub(in crate::store) struct Link(pub Arc<Shared>);

impl Index for Link {
    fn keeps_up(&self, tail: Seq) -> bool {
        let behind = || tail.0.saturating_sub(self.0.indexed().0) > MAX_BEHIND;
        let begun = Instant::now();
        while behind() {
            let left = MAX_WAIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            let (lock, progressed) = &self.0.progressed;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            drop(progressed.wait_timeout(guard, left.min(Duration::from_millis(50))));
        }
        true
    }

    fn appended(&self, window: i64) {
        self.0.window.fetch_max(window, Ordering::Relaxed);
        self.0.nudge();
    }

    fn bytes(&self) -> u64 {
        self.0.index_bytes()
    }
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
