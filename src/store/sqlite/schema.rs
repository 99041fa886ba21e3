//! The file's tables, and how it is opened.

use std::fmt::Display;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;

/// Events of one block of `tally`.
pub(super) const BLOCK: u64 = 4096;

const VERSION: i64 = 2;

/// Times are nanoseconds of the epoch; kinds 1 call_record, 2 intent_result, 3 inbound_query, 4 unknown;
/// outcomes 0 failed, 1 delivered, 2 dead.
const TABLES: &str = "
CREATE TABLE progress (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- apps and kinds that there have been
CREATE TABLE class (id INTEGER PRIMARY KEY, app TEXT NOT NULL, kind INTEGER NOT NULL, UNIQUE (app, kind));
CREATE TABLE event (
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL, received_at INTEGER NOT NULL, class INTEGER NOT NULL,
  label TEXT, task_id TEXT, call_sn TEXT, size INTEGER NOT NULL);
CREATE INDEX event_id ON event (id);
CREATE INDEX event_class ON event (class);
CREATE INDEX event_task ON event (task_id, class) WHERE task_id IS NOT NULL;
CREATE INDEX event_call ON event (call_sn, class) WHERE call_sn IS NOT NULL;
-- how many of each class stand in each 4096 events, and when the first and the last of them came
CREATE TABLE tally (block INTEGER, class INTEGER, events INTEGER NOT NULL, early INTEGER NOT NULL,
  late INTEGER NOT NULL, PRIMARY KEY (block, class)) WITHOUT ROWID;
-- keys of duplicates, to be read at the start: for each event from `first` on the first 8 bytes of its key,
-- or zeros; `late` is when the latest of them came
CREATE TABLE keys (first INTEGER PRIMARY KEY, late INTEGER NOT NULL, keys BLOB NOT NULL);

CREATE TABLE subscriber (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0);
CREATE TABLE frontier (subscriber INTEGER, shard INTEGER, began INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY (subscriber, shard)) WITHOUT ROWID;
CREATE TABLE retry (subscriber INTEGER, seq INTEGER, due INTEGER NOT NULL, attempts INTEGER NOT NULL,
  spent INTEGER NOT NULL, PRIMARY KEY (subscriber, seq)) WITHOUT ROWID;
CREATE TABLE dead (
  id INTEGER PRIMARY KEY AUTOINCREMENT, subscriber INTEGER NOT NULL, seq INTEGER NOT NULL,
  event_id BLOB NOT NULL, app TEXT NOT NULL, kind INTEGER NOT NULL, task_id TEXT, call_sn TEXT,
  dead_at INTEGER NOT NULL, attempts INTEGER NOT NULL, error TEXT);
CREATE UNIQUE INDEX dead_delivery ON dead (seq, subscriber);
CREATE INDEX dead_subscriber ON dead (subscriber);
CREATE TABLE attempt (seq INTEGER, subscriber INTEGER, at INTEGER, number INTEGER, outcome INTEGER NOT NULL,
  status INTEGER, latency_ms INTEGER NOT NULL, error TEXT, answer BLOB,
  PRIMARY KEY (seq, subscriber, at, number)) WITHOUT ROWID;
CREATE TABLE replay (
  id INTEGER PRIMARY KEY AUTOINCREMENT, subscriber INTEGER NOT NULL, next INTEGER NOT NULL,
  until INTEGER NOT NULL, app TEXT, kinds TEXT NOT NULL, task_id TEXT, call_sn TEXT, since INTEGER,
  before INTEGER);
-- events that retention removed before a subscriber got them
CREATE TABLE gap (subscriber INTEGER, first INTEGER, until INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
  PRIMARY KEY (subscriber, first)) WITHOUT ROWID;
-- events of dead letters whose segment is gone
CREATE TABLE kept (seq INTEGER PRIMARY KEY, record BLOB NOT NULL);
";

/// Opens the file to write it; makes it, if it is not there.
pub(in crate::store) fn open(path: &Path) -> Result<Connection, StoreError> {
    let about = |error: &dyn Display| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let connection = open_to_write(path).map_err(|error| about(&error))?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    match version.map_err(|error| about(&error))? {
        0 => {
            let made = format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&made).map_err(|error| about(&error))?;
        }
        VERSION => {}
        other => return Err(about(&format!("is of version {other}, and this gateway knows {VERSION}"))),
    }
    for tables in [super::once::TABLE, super::team_url::TABLE, super::ledger::TABLE] {
        connection.execute_batch(tables).map_err(|error| about(&error))?;
    }
    Ok(connection)
}

fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 2000;
         PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA busy_timeout = 10000;
         PRAGMA journal_size_limit = 268435456; PRAGMA synchronous = FULL;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the file to read it.
pub(in crate::store) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch(
        "PRAGMA busy_timeout = 10000; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A number of `progress`.
pub(in crate::store) fn progress(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    use rusqlite::OptionalExtension;
    let mut statement = connection.prepare_cached("SELECT value FROM progress WHERE name = ?")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?.map_or(0, unsigned))
}

pub(super) fn set_progress(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO progress VALUES (?, ?)")?;
    statement.execute((name, signed(value))).map(drop)
}

/// SQLite's integers have a sign; our numbers are far from where it matters.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
