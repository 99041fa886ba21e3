//! What the index's thread shares with everybody: how subscribers stand, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use tokio::sync::watch;

use super::schema::unsigned;
use super::work::Command;
use crate::store::log::Shelf;
use crate::store::log::record::{kind_of, nanos, time};
use crate::store::standing::{RetryRow, RetrySet, Standing};
use crate::store::{EventFilter, Replay, ReplayId, Seq, ShardId};

pub(in crate::store) const SHARD: ShardId = ShardId(0);

pub(in crate::store) struct Shared {
    pub path: PathBuf,
    pub shelf: Arc<Shelf>,
    commands: Sender<Command>,
    members: Mutex<Members>,
    pub changes: watch::Sender<u64>,
    /// Somebody has told the thread that there is something to do.
    pub nudged: AtomicBool,
    indexed: AtomicU64,
    pub progressed: (Mutex<()>, Condvar),
    pub bytes: AtomicU64,
    /// The longest window of duplicates that was asked for, in nanoseconds; 0: none yet.
    pub window: AtomicI64,
    /// Times until then may be from a clock that was set since; in nanoseconds.
    doubted: AtomicI64,
    /// Nothing can be written to the index.
    #[cfg(test)]
    pub full: AtomicBool,
}

#[derive(Default)]
pub(in crate::store) struct Members {
    pub by_name: BTreeMap<String, Member>,
    /// Events whose segment is gone, and which are kept for dead letters.
    pub kept: BTreeSet<Seq>,
    /// Rows of retry sets that were delivered while nothing could be written.
    pub unsaved: BTreeSet<(i64, Seq)>,
}

pub(in crate::store) struct Member {
    pub id: i64,
    pub standing: Standing,
    /// Its frontier or one of its replays has moved since it was written.
    pub moved: bool,
}

impl Shared {
    pub fn new(
        path: PathBuf,
        shelf: Arc<Shelf>,
        commands: Sender<Command>,
        members: Members,
        indexed: Seq,
    ) -> Self {
        Self {
            path,
            shelf,
            commands,
            members: Mutex::new(members),
            changes: watch::Sender::new(0),
            nudged: AtomicBool::new(false),
            indexed: AtomicU64::new(indexed.0),
            progressed: (Mutex::default(), Condvar::new()),
            bytes: AtomicU64::new(0),
            window: AtomicI64::new(0),
            doubted: AtomicI64::new(i64::MIN),
            #[cfg(test)]
            full: AtomicBool::new(false),
        }
    }

    pub fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn indexed(&self) -> Seq {
        Seq(self.indexed.load(Ordering::Acquire))
    }

    pub fn set_indexed(&self, seq: Seq) {
        self.indexed.store(seq.0, Ordering::Release);
        let _guard = self.progressed.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.progressed.1.notify_all();
    }

    /// Until when times may be from a clock that was set since.
    pub fn doubted(&self) -> Timestamp {
        time(self.doubted.load(Ordering::Relaxed))
    }

    pub(super) fn doubt(&self, until: Option<Timestamp>) {
        self.doubted.store(until.map_or(i64::MIN, nanos), Ordering::Relaxed);
    }

    /// Gives the thread something to do; `false`: it has ended.
    pub fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    /// Tells the thread that there is something to write within a moment.
    pub fn nudge(&self) {
        if !self.nudged.swap(true, Ordering::AcqRel) {
            self.send(Command::Nudge);
        }
    }

    pub fn index_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Looks how large the files are.
    pub fn measure(&self) {
        let size = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |data| data.len())
        };
        self.bytes.store(size("") + size("-wal"), Ordering::Relaxed);
    }
}

impl Members {
    /// How everybody stood when the file was written last.
    pub fn load(connection: &Connection, tail: Seq) -> rusqlite::Result<Self> {
        let mut members = Self::default();
        let mut statement = connection.prepare(
            "SELECT id, name, paused, delivered, failed, expired, began, next FROM subscriber
             JOIN frontier ON subscriber = id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let standing = Standing {
                paused: row.get(2)?,
                delivered: unsigned(row.get(3)?),
                failed: unsigned(row.get(4)?),
                expired: unsigned(row.get(5)?),
                began: seq(row, 6)?.min(tail),
                frontier: seq(row, 7)?.min(tail),
                retries: retries(connection, id)?,
                replays: replays(connection, id)?,
            };
            members.by_name.insert(row.get(1)?, Member { id, standing, moved: false });
        }
        let mut statement = connection.prepare("SELECT seq FROM kept")?;
        members.kept = statement.query_map([], |row| seq(row, 0))?.collect::<Result<_, _>>()?;
        Ok(members)
    }

    pub fn by_id(&mut self, id: i64) -> Option<&mut Member> {
        self.by_name.values_mut().find(|member| member.id == id)
    }
}

pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    Ok(Seq(unsigned(row.get(column)?)))
}

fn retries(connection: &Connection, id: i64) -> rusqlite::Result<RetrySet> {
    let mut set = RetrySet::default();
    let mut statement =
        connection.prepare("SELECT seq, due, attempts, spent FROM retry WHERE subscriber = ?")?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let due = time(row.get(1)?);
        set.put(seq(row, 0)?, RetryRow { due, attempts: row.get(2)?, spent: row.get(3)? });
    }
    Ok(set)
}

fn replays(connection: &Connection, id: i64) -> rusqlite::Result<Vec<Replay>> {
    let mut statement = connection.prepare(
        "SELECT id, next, until, app, kinds, task_id, call_sn, since, before FROM replay
         WHERE subscriber = ? ORDER BY id",
    )?;
    let replays = statement.query_map([id], |row| {
        let kinds: String = row.get(4)?;
        let filter = EventFilter {
            app: row.get(3)?,
            kinds: kinds.split(' ').filter_map(|code| code.parse().ok().and_then(kind_of)).collect(),
            task_id: row.get(5)?,
            call_sn: row.get(6)?,
            since: row.get::<_, Option<i64>>(7)?.map(time),
            until: row.get::<_, Option<i64>>(8)?.map(time),
        };
        let (next, end) = (seq(row, 1)?, seq(row, 2)?);
        Ok(Replay { id: ReplayId(row.get(0)?), shard: SHARD, next, end, filter })
    })?;
    replays.collect()
}
