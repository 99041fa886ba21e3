//! Batches: a row each, and what is known of their calls in parts that are only added to.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::{signed, unsigned};
use crate::store::log::record::{nanos, time};
use crate::store::{
    BatchEntry, BatchRecord, KEEP_BATCHES, LedgerKey, LedgerStart, Page, Sent, SentNumbers, Seq, ShardId,
    Submission, Unseen,
};

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS ledger (shard INTEGER PRIMARY KEY, next INTEGER NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batch (
  id INTEGER PRIMARY KEY AUTOINCREMENT, call_sn TEXT NOT NULL, app TEXT NOT NULL, task_id TEXT, task_name TEXT,
  call_sn_name TEXT, submitted_at INTEGER, sent INTEGER, accepted INTEGER, returned INTEGER NOT NULL DEFAULT 0,
  connected INTEGER NOT NULL DEFAULT 0, by_state TEXT NOT NULL DEFAULT '{}',
  by_degree TEXT NOT NULL DEFAULT '{}', first_record_at INTEGER, last_record_at INTEGER,
  heard_at INTEGER NOT NULL, UNIQUE (call_sn, app));
CREATE TABLE IF NOT EXISTS batch_part (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, part BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batch_part_batch ON batch_part (batch);
-- the numbers of an outnum's file, each as its row and its digest; or why there are none: 1 unreadable, 2 no room
CREATE TABLE IF NOT EXISTS batch_sent (batch INTEGER PRIMARY KEY, unseen INTEGER, numbers BLOB NOT NULL);
";

/// Why there are no numbers.
const UNREADABLE: i64 = 1;
const NO_ROOM: i64 = 2;

pub(in crate::store) fn start(
    connection: &Connection,
    shard: ShardId,
    fresh: [u8; 32],
) -> rusqlite::Result<LedgerStart> {
    let mut new = connection.prepare_cached("INSERT OR IGNORE INTO ledger VALUES (?, 1, ?)")?;
    new.execute((shard.0, fresh))?;
    let mut statement = connection.prepare_cached("SELECT next, key FROM ledger WHERE shard = ?")?;
    statement.query_row([shard.0], |row| {
        Ok(LedgerStart { next: Seq(unsigned(row.get(0)?)), key: LedgerKey(row.get(1)?) })
    })
}

pub(in crate::store) fn submit(connection: &Connection, one: &Submission) -> rusqlite::Result<()> {
    let Submission { app, call_sn, task_id, call_sn_name, sent, accepted, at } = one;
    let (at, sent, accepted) = (nanos(*at), sent.map(signed), accepted.map(signed));
    let mut statement = connection.prepare_cached(
        "INSERT INTO batch (call_sn, app, task_id, call_sn_name, submitted_at, sent, accepted, heard_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?5)
         ON CONFLICT (call_sn, app) DO UPDATE SET task_id = coalesce(?3, task_id),
         call_sn_name = coalesce(?4, call_sn_name), submitted_at = coalesce(submitted_at, ?5),
         sent = coalesce(?6, sent), accepted = coalesce(?7, accepted), heard_at = max(heard_at, ?5)
         RETURNING id",
    )?;
    let row = (call_sn, app, task_id, call_sn_name, at, sent, accepted);
    let id: i64 = statement.query_row(row, |row| row.get(0))?;
    connection.prepare_cached("DELETE FROM batch_sent WHERE batch = ?")?.execute([id]).map(drop)
}

pub(in crate::store) fn keep_sent(
    connection: &Connection,
    app: &str,
    call_sn: &str,
    sent: &Sent,
) -> rusqlite::Result<()> {
    let (unseen, numbers) = match sent {
        Ok(numbers) => (None, numbers.bytes()),
        Err(Unseen::Unreadable) => (Some(UNREADABLE), &[][..]),
        Err(Unseen::NoRoom) => (Some(NO_ROOM), &[][..]),
        Err(Unseen::Elsewhere | Unseen::NotKept) => return Ok(()),
    };
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO batch_sent SELECT id, ?, ? FROM batch WHERE call_sn = ? AND app = ?",
    )?;
    statement.execute((unseen, numbers, call_sn, app)).map(drop)
}

pub(in crate::store) fn sent(connection: &Connection, app: &str, call_sn: &str) -> rusqlite::Result<Sent> {
    let mut statement = connection.prepare_cached(
        "SELECT submitted_at, unseen, numbers FROM batch LEFT JOIN batch_sent ON batch = batch.id
         WHERE call_sn = ? AND app = ?",
    )?;
    let sent = statement.query_row((call_sn, app), |row| {
        let (submitted, unseen): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        let numbers: Option<Vec<u8>> = row.get(2)?;
        Ok(match (unseen, numbers, submitted) {
            (None, Some(numbers), _) => Ok(SentNumbers::read(numbers)),
            (Some(UNREADABLE), ..) => Err(Unseen::Unreadable),
            (Some(_), ..) => Err(Unseen::NoRoom),
            (None, None, Some(_)) => Err(Unseen::NotKept),
            (None, None, None) => Err(Unseen::Elsewhere),
        })
    });
    Ok(sent.optional()?.unwrap_or(Err(Unseen::Elsewhere)))
}

pub(in crate::store) fn enter(
    connection: &Connection,
    shard: ShardId,
    next: Seq,
    entries: &[BatchEntry],
    now: Timestamp,
) -> rusqlite::Result<()> {
    for entry in entries {
        enter_one(connection, entry, nanos(now))?;
    }
    let mut statement = connection.prepare_cached("UPDATE ledger SET next = ? WHERE shard = ?")?;
    statement.execute((signed(next.0), shard.0)).map(drop)
}

fn enter_one(connection: &Connection, entry: &BatchEntry, now: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO batch (call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state,
         by_degree, first_record_at, last_record_at, heard_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (call_sn, app) DO UPDATE SET task_id = coalesce(?3, task_id),
         task_name = coalesce(?4, task_name), call_sn_name = coalesce(?5, call_sn_name), returned = ?6,
         connected = ?7, by_state = ?8, by_degree = ?9,
         first_record_at = coalesce(min(first_record_at, ?10), first_record_at, ?10),
         last_record_at = coalesce(max(last_record_at, ?11), last_record_at, ?11), heard_at = ?12
         RETURNING id",
    )?;
    let json = |map: serde_json::Result<String>| map.unwrap_or_else(|_| "{}".into());
    let row = rusqlite::params![
        entry.call_sn,
        entry.app,
        entry.task_id,
        entry.task_name,
        entry.call_sn_name,
        signed(entry.returned),
        signed(entry.connected),
        json(serde_json::to_string(&entry.by_state)),
        json(serde_json::to_string(&entry.by_degree)),
        entry.first_record_at.map(nanos),
        entry.last_record_at.map(nanos),
        now,
    ];
    let id: i64 = statement.query_row(row, |row| row.get(0))?;
    if entry.part.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached("INSERT INTO batch_part (batch, part) VALUES (?, ?)")?;
    statement.execute((id, &entry.part[..])).map(drop)
}

pub(in crate::store) fn parts(
    connection: &Connection,
    app: &str,
    call_sn: &str,
) -> rusqlite::Result<Vec<Bytes>> {
    let mut statement = connection.prepare_cached(
        "SELECT part FROM batch JOIN batch_part ON batch = batch.id WHERE call_sn = ? AND app = ?
         ORDER BY batch_part.id",
    )?;
    let parts = statement.query_map((call_sn, app), |row| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?)))?;
    parts.collect()
}

/// Forgets what nothing was heard of for long.
pub(super) fn expire(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = nanos(now.saturating_sub(KEEP_BATCHES).unwrap_or(Timestamp::MIN));
    for table in ["batch_part", "batch_sent"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE batch IN (SELECT id FROM batch WHERE heard_at < ?)"),
            [before],
        )?;
    }
    connection.execute("DELETE FROM batch WHERE heard_at < ?", [before]).map(drop)
}

const ROW: &str = "SELECT id, call_sn, app, task_id, task_name, call_sn_name, submitted_at, sent, accepted,
    returned, connected, by_state, by_degree, first_record_at, last_record_at FROM batch";

pub(in crate::store) fn page(
    connection: &Connection,
    app: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> rusqlite::Result<Page<BatchRecord>> {
    let before: i64 = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
    let mut statement = connection.prepare_cached(&format!(
        "{ROW} WHERE id < ?1 AND (?2 IS NULL OR app = ?2) ORDER BY id DESC LIMIT ?3"
    ))?;
    let found = statement.query_map((before, app, signed(limit as u64 + 1)), record)?;
    let mut found: Vec<(i64, BatchRecord)> = found.collect::<Result<_, _>>()?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(id, _)| id.to_string());
    Ok(Page { rows: found.into_iter().map(|(_, record)| record).collect(), next_cursor })
}

/// Of several apps' it is the one whose outnum was seen.
pub(in crate::store) fn one(connection: &Connection, call_sn: &str) -> rusqlite::Result<Option<BatchRecord>> {
    let mut statement = connection
        .prepare_cached(&format!("{ROW} WHERE call_sn = ? ORDER BY submitted_at IS NULL, id LIMIT 1"))?;
    Ok(statement.query_row([call_sn], record).optional()?.map(|(_, record)| record))
}

pub(in crate::store) fn quiet(connection: &Connection, before: Timestamp) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM batch WHERE returned < accepted
         AND max(coalesce(last_record_at, submitted_at), submitted_at) < ?",
    )?;
    statement.query_row([nanos(before)], |row| Ok(unsigned(row.get(0)?)))
}

fn record(row: &Row<'_>) -> rusqlite::Result<(i64, BatchRecord)> {
    let at = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(time));
    let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(unsigned));
    let (by_state, by_degree): (String, String) = (row.get(11)?, row.get(12)?);
    let told = BatchEntry {
        call_sn: row.get(1)?,
        app: row.get(2)?,
        task_id: row.get(3)?,
        task_name: row.get(4)?,
        call_sn_name: row.get(5)?,
        returned: number(9)?.unwrap_or(0),
        connected: number(10)?.unwrap_or(0),
        by_state: serde_json::from_str::<BTreeMap<i64, u64>>(&by_state).unwrap_or_default(),
        by_degree: serde_json::from_str(&by_degree).unwrap_or_default(),
        first_record_at: at(13)?,
        last_record_at: at(14)?,
        part: Bytes::new(),
    };
    let record = BatchRecord { told, submitted_at: at(6)?, sent: number(7)?, accepted: number(8)? };
    Ok((row.get(0)?, record))
}
