//! What came of deliveries becomes rows.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::schema::signed;
use super::shared::{Members, Shared};
use crate::store::log::record::{self, code, nanos};
use crate::store::standing::{Outcome, RetryRow};
use crate::store::{Attempt, Event, Fate, Seq, Settled, StoreError};

/// What a transaction changes of retry sets and counts; it holds in memory once it is committed.
#[derive(Default)]
pub(super) struct Changes {
    rows: HashMap<(i64, Seq), Option<RetryRow>>,
    counts: HashMap<i64, (u64, u64)>,
}

impl Changes {
    pub fn apply(self, members: &mut Members) {
        for ((id, seq), row) in self.rows {
            let Some(member) = members.by_id(id) else { continue };
            match row {
                Some(row) => member.standing.retries.put(seq, row),
                None => _ = member.standing.retries.take(seq),
            }
        }
        for (id, (delivered, failed)) in self.counts {
            let Some(member) = members.by_id(id) else { continue };
            member.standing.delivered += delivered;
            member.standing.failed += failed;
        }
        members.unsaved.clear();
    }

    fn row(&self, members: &Members, id: i64, settled: &Settled) -> Option<RetryRow> {
        let seq = settled.place.seq;
        let own =
            || members.by_name.get(&*settled.subscriber).and_then(|member| member.standing.retries.get(seq));
        self.rows.get(&(id, seq)).copied().unwrap_or_else(own)
    }

    fn count(&mut self, id: i64, settled: &Settled) {
        let counts = self.counts.entry(id).or_default();
        match (&settled.attempt, settled.fate) {
            (Some(_), Fate::Delivered) => counts.0 += 1,
            (Some(_), Fate::Retry { .. } | Fate::Dead) => counts.1 += 1,
            (None, _) => {}
        }
    }

    pub fn write_counts(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "UPDATE subscriber SET delivered = delivered + ?, failed = failed + ? WHERE id = ?",
        )?;
        let changed = self.counts.iter().filter(|(_, counts)| **counts != (0, 0));
        for (id, (delivered, failed)) in changed {
            statement.execute((signed(*delivered), signed(*failed), id))?;
        }
        Ok(())
    }

    /// Writes one down.
    pub fn settle(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        settled: &Settled,
    ) -> Result<(), StoreError> {
        let seq = settled.place.seq;
        let members = shared.members();
        let Some(id) = members.by_name.get(&*settled.subscriber).map(|member| member.id) else {
            return Ok(());
        };
        if seq < shared.shelf.first() && !members.kept.contains(&seq) {
            return Ok(());
        }
        let before = self.row(&members, id, settled);
        drop(members);
        self.fate(connection, shared, id, settled, before)?;
        if let Some(attempt) = &settled.attempt {
            write_attempt(connection, id, seq, attempt, settled.fate.into())
                .map_err(|error| super::told(&error))?;
        }
        self.count(id, settled);
        Ok(())
    }

    fn fate(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        id: i64,
        settled: &Settled,
        before: Option<RetryRow>,
    ) -> Result<(), StoreError> {
        let seq = settled.place.seq;
        let tried = settled.attempt.as_ref().map(|attempt| attempt.number);
        let attempts = tried.or(before.map(|row| row.attempts)).unwrap_or(0);
        match settled.fate {
            Fate::Retry { due, spent } => {
                let row = RetryRow { due, attempts, spent };
                put(connection, id, seq, row).map_err(|error| super::told(&error))?;
                self.rows.insert((id, seq), Some(row));
            }
            Fate::Delivered | Fate::Dead if before.is_some() => {
                remove(connection, id, seq).map_err(|error| super::told(&error))?;
                self.rows.insert((id, seq), None);
            }
            Fate::Delivered | Fate::Dead => {}
        }
        if settled.fate == Fate::Dead
            && let Some(event) = find(connection, shared, seq)?
        {
            let attempt = settled.attempt.as_ref();
            bury(connection, id, &event, attempts, attempt).map_err(|error| super::told(&error))?;
        }
        Ok(())
    }
}

pub(super) fn put(connection: &Connection, id: i64, seq: Seq, row: RetryRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO retry VALUES (?, ?, ?, ?, ?)")?;
    statement.execute((id, signed(seq.0), nanos(row.due), row.attempts, row.spent)).map(drop)
}

pub(super) fn remove(connection: &Connection, id: i64, seq: Seq) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM retry WHERE subscriber = ? AND seq = ?")?;
    statement.execute((id, signed(seq.0))).map(drop)
}

fn write_attempt(
    connection: &Connection,
    id: i64,
    seq: Seq,
    attempt: &Attempt,
    outcome: Outcome,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let outcome = match outcome {
        Outcome::Failed => 0,
        Outcome::Delivered => 1,
        Outcome::Dead => 2,
    };
    let answer = (!attempt.answer.is_empty()).then_some(&attempt.answer[..]);
    let Attempt { number, status, latency_ms, error, .. } = attempt;
    statement
        .execute((signed(seq.0), id, nanos(attempt.at), number, outcome, status, latency_ms, error, answer))
        .map(drop)
}

fn bury(
    connection: &Connection,
    id: i64,
    event: &Event,
    attempts: u32,
    attempt: Option<&Attempt>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO dead
         (subscriber, seq, event_id, app, kind, task_id, call_sn, dead_at, attempts, error)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let dead_at = nanos(attempt.map_or_else(Timestamp::now, Attempt::ended_at));
    let error = attempt.and_then(|attempt| attempt.error.as_deref());
    let (seq, event_id) = (signed(event.place.seq.0), event.id.0.as_bytes());
    let Event { app, kind, task_id, call_sn, .. } = event;
    let (app, kind) = (&**app, code(*kind));
    statement.execute((id, seq, event_id, app, kind, task_id, call_sn, dead_at, attempts, error)).map(drop)
}

/// The event at `seq`: from the log, or from what is kept for dead letters.
pub(in crate::store) fn find(
    connection: &Connection,
    shared: &Shared,
    seq: Seq,
) -> Result<Option<Arc<Event>>, StoreError> {
    let read = shared.shelf.read(seq, 1, 0).map_err(|error| unreadable(&error))?;
    if let (None, Some(stored)) = (read.gap, read.events.into_iter().next()) {
        return Ok(Some(stored.event));
    }
    if !shared.members().kept.contains(&seq) {
        return Ok(None);
    }
    let record: Vec<u8> = connection
        .query_row("SELECT record FROM kept WHERE seq = ?", [signed(seq.0)], |row| row.get(0))
        .map_err(|error| super::told(&error))?;
    Ok(record::decode(&record, shared.shelf.shard).map(|stored| stored.event))
}

pub(in crate::store) fn unreadable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("reading the event log failed: {error}"))
}
