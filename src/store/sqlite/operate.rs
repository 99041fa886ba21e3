//! What operators ask for. Each is done in a transaction of its own, and then in memory.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::schema::{signed, unsigned};
use super::settle;
use super::shared::{Member, SHARD, Shared};
use super::work::Work;
use crate::store::log::record::{code, nanos};
use crate::store::standing::{RetryRow, Standing};
use crate::store::{EventFilter, EventId, MAX_RETRIES, Replay, ReplayId, Seq, StoreError};

impl Work {
    fn id_of(&self, subscriber: &str) -> Option<i64> {
        self.shared.members().by_name.get(subscriber).map(|member| member.id)
    }

    /// A transaction of SQLite's statements only.
    fn sql<T>(
        &mut self,
        act: impl FnOnce(&Connection, &Shared) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.durably(|connection, shared| act(connection, shared).map_err(|error| super::told(&error)))
    }

    /// Takes up a new subscriber.
    pub fn enter(&mut self, name: &str, at: Seq) -> Result<(), StoreError> {
        if self.id_of(name).is_some() {
            return Ok(());
        }
        let id = self.sql(|connection, _| {
            connection.execute("INSERT INTO subscriber (name) VALUES (?)", [name])?;
            let id = connection.last_insert_rowid();
            let (shard, at) = (SHARD.0, signed(at.0));
            connection.execute("INSERT INTO frontier VALUES (?, ?, ?, ?)", (id, shard, at, at))?;
            Ok(id)
        })?;
        let member = Member { id, standing: Standing::new(at), moved: false };
        self.shared.members().by_name.insert(name.to_owned(), member);
        Ok(())
    }

    pub fn set_paused(&mut self, name: &str, paused: bool) -> Result<bool, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(false) };
        self.sql(|connection, _| {
            connection.execute("UPDATE subscriber SET paused = ? WHERE id = ?", (paused, id))
        })?;
        if let Some(member) = self.shared.members().by_id(id) {
            member.standing.paused = paused;
        }
        Ok(true)
    }

    /// `left`: what its replays still had.
    pub fn purge(&mut self, name: &str, left: u64) -> Result<u64, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(0) };
        let tail = self.shared.shelf.tail();
        self.sql(|connection, _| {
            connection.execute("DELETE FROM retry WHERE subscriber = ?", [id])?;
            connection.execute("DELETE FROM replay WHERE subscriber = ?", [id])?;
            connection.execute("UPDATE frontier SET next = ? WHERE subscriber = ?", (signed(tail.0), id))
        })?;
        Ok(self.shared.members().by_id(id).map_or(0, |member| left + member.standing.purge(tail)))
    }

    pub fn forget(&mut self, name: &str) -> Result<bool, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(false) };
        self.sql(|connection, _| {
            for table in ["retry", "replay", "frontier", "gap", "dead"] {
                connection.execute(&format!("DELETE FROM {table} WHERE subscriber = ?"), [id])?;
            }
            // Attempts stay until their events go: their subscriber's number is not given again.
            connection.execute("DELETE FROM subscriber WHERE id = ?", [id])
        })?;
        self.shared.members().by_name.remove(name);
        Ok(true)
    }

    /// `count` events of `[next, end)` match the filter.
    pub fn replay(
        &mut self,
        name: &str,
        filter: EventFilter,
        (next, end): (Seq, Seq),
        count: u64,
    ) -> Result<u64, StoreError> {
        let Some(id) = self.id_of(name).filter(|_| count > 0) else { return Ok(0) };
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| code(*kind).to_string()).collect();
        let row = self.sql(|connection, _| {
            connection.execute(
                "INSERT INTO replay (subscriber, next, until, app, kinds, task_id, call_sn, since, before)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id,
                    signed(next.0),
                    signed(end.0),
                    &filter.app,
                    kinds.join(" "),
                    &filter.task_id,
                    &filter.call_sn,
                    filter.since.map(nanos),
                    filter.until.map(nanos),
                ),
            )?;
            Ok(connection.last_insert_rowid())
        })?;
        let replay = Replay { id: ReplayId(row), shard: SHARD, next, end, filter };
        if let Some(member) = self.shared.members().by_id(id) {
            member.standing.replays.push(replay);
        }
        Ok(count)
    }

    pub fn replay_ids(&mut self, name: &str, ids: &[EventId]) -> Result<u64, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(0) };
        let rows = self.sql(|connection, shared| {
            let mut seqs = Vec::new();
            for event in ids {
                let mut statement = connection.prepare_cached("SELECT seq FROM event WHERE id = ?")?;
                let seq =
                    statement.query_row([event.0.as_bytes()], |row| super::shared::seq(row, 0)).optional()?;
                let there = |seq: &Seq| *seq >= shared.shelf.first() || shared.members().kept.contains(seq);
                seqs.extend(seq.filter(there));
            }
            try_again(connection, shared, id, seqs)
        })?;
        Ok(self.put_rows(id, rows))
    }

    pub fn revive(&mut self, name: &str, ids: &[EventId]) -> Result<u64, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(0) };
        let room = self.shared.members().by_id(id).map_or(0, |member| member.standing.retries.room());
        let rows = self.sql(|connection, shared| {
            let dead = dead_of(connection, id, ids, room)?;
            for (row, _, _) in &dead {
                connection.prepare_cached("DELETE FROM dead WHERE id = ?")?.execute([row])?;
            }
            let mut rows = try_again(connection, shared, id, dead.iter().map(|(_, seq, _)| *seq).collect())?;
            // What a letter says of its attempts counts, though retention may have removed them.
            for ((seq, row), (_, _, attempts)) in rows.iter_mut().zip(&dead) {
                row.attempts = row.attempts.max(*attempts);
                settle::put(connection, id, *seq, *row)?;
            }
            Ok(rows)
        })?;
        Ok(self.put_rows(id, rows))
    }

    pub fn discard(&mut self, name: &str, ids: &[EventId]) -> Result<u64, StoreError> {
        let Some(id) = self.id_of(name) else { return Ok(0) };
        self.sql(|connection, _| {
            if ids.is_empty() {
                let count = connection.execute("DELETE FROM dead WHERE subscriber = ?", [id])?;
                return Ok(count as u64);
            }
            let dead = dead_of(connection, id, ids, usize::MAX)?;
            for (row, _, _) in &dead {
                connection.prepare_cached("DELETE FROM dead WHERE id = ?")?.execute([row])?;
            }
            Ok(dead.len() as u64)
        })
    }

    fn put_rows(&self, id: i64, rows: Vec<(Seq, RetryRow)>) -> u64 {
        let count = rows.len() as u64;
        if let Some(member) = self.shared.members().by_id(id) {
            for (seq, row) in rows {
                member.standing.retries.put(seq, row);
            }
        }
        count
    }
}

/// Rows of the retry set that are due now, as many as there is room for.
fn try_again(
    connection: &Connection,
    shared: &Shared,
    id: i64,
    seqs: Vec<Seq>,
) -> rusqlite::Result<Vec<(Seq, RetryRow)>> {
    let due = Timestamp::now();
    let mut count = shared.members().by_id(id).map_or(0, |member| member.standing.retries.len());
    let mut rows = Vec::new();
    for seq in seqs {
        let known =
            shared.members().by_id(id).is_some_and(|member| member.standing.retries.get(seq).is_some());
        if !known && count >= MAX_RETRIES {
            continue;
        }
        count += usize::from(!known);
        let mut statement = connection.prepare_cached(
            "SELECT coalesce(max(number), 0) FROM attempt WHERE seq = ? AND subscriber = ?",
        )?;
        let attempts = statement.query_row((signed(seq.0), id), |row| row.get(0))?;
        let row = RetryRow { due, attempts, spent: 0 };
        settle::put(connection, id, seq, row)?;
        rows.push((seq, row));
    }
    Ok(rows)
}

/// A subscriber's dead letters, the oldest first: row, event, attempts.
fn dead_of(
    connection: &Connection,
    id: i64,
    ids: &[EventId],
    most: usize,
) -> rusqlite::Result<Vec<(i64, Seq, u32)>> {
    let mut dead = Vec::new();
    if ids.is_empty() {
        let mut statement = connection
            .prepare("SELECT id, seq, attempts FROM dead WHERE subscriber = ? ORDER BY id LIMIT ?")?;
        let rows = statement.query_map((id, signed(most as u64)), |row| {
            Ok((row.get(0)?, Seq(unsigned(row.get(1)?)), row.get(2)?))
        })?;
        return rows.collect();
    }
    for event in ids {
        let mut statement = connection.prepare_cached(
            "SELECT dead.id, dead.seq, attempts FROM event JOIN dead ON dead.seq = event.seq
             WHERE event.id = ? AND subscriber = ?",
        )?;
        let row = statement.query_row((event.0.as_bytes(), id), |row| {
            Ok((row.get(0)?, Seq(unsigned(row.get(1)?)), row.get(2)?))
        });
        dead.extend(row.optional()?);
        if dead.len() >= most {
            break;
        }
    }
    Ok(dead)
}
