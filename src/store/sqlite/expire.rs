//! What is too old goes: segments of events, rows about them, keys of duplicates, dead letters.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::schema::{BLOCK, progress, set_progress, signed};
use super::settle;
use super::shared::{Members, Shared};
use super::work::Work;
use crate::store::log::record::{self, nanos};
use crate::store::{Seq, StoreError};

/// How long dead letters are kept, and gaps on record.
const KEEP_DEAD: Duration = Duration::from_hours(30 * 24);
/// A segment that is written to for longer than this part of the retention is ended, so that what it holds
/// does not outstay it for much longer.
const ROLL_AFTER: u32 = 8;
/// Rows that are removed in one transaction, so that nobody waits for long.
const CHUNK: u64 = 4096;

impl Work {
    /// Looks after retention.
    pub(in crate::store) fn sweep(&mut self, now: Timestamp) {
        let ago = |age: Duration| nanos(now.saturating_sub(age).unwrap_or(Timestamp::MIN));
        if self.shared.shelf.writing_since().is_some_and(|since| since < ago(self.retention / ROLL_AFTER)) {
            (self.roll)();
        }
        let until = self.shared.shelf.older_than(ago(self.retention));
        let swept = self.expire(until, now).and_then(|()| self.expire_rows(ago(KEEP_DEAD), nanos(now)));
        if let Err(error) = swept {
            tracing::warn!(%error, "retention is looked after later");
        }
    }

    /// Removes what stands before `until`, as far as whole segments go.
    pub(in crate::store) fn expire(&mut self, until: Seq, now: Timestamp) -> Result<(), StoreError> {
        let first = self.shared.shelf.first();
        if until <= first {
            return Ok(());
        }
        let kept = self.durably(|connection, shared| {
            let kept = keep_dead(connection, shared, until)?;
            record_gaps(connection, shared, until, now).map_err(|error| super::told(&error))?;
            set_progress(connection, "floor", until.0).map_err(|error| super::told(&error))?;
            Ok(kept)
        })?;
        pass(&mut self.shared.members(), until, kept);
        self.shared.changed();
        tracing::info!(events = until.0 - first.0, "events past their retention are removed");
        let removed = self.shared.shelf.remove_before(until);
        removed.map_err(|error| StoreError::Unavailable(format!("removing a segment failed: {error}")))
    }

    fn expire_rows(&mut self, dead_before: i64, now: i64) -> Result<(), StoreError> {
        let window = self.shared.window.load(Ordering::Relaxed);
        self.durably(|connection, shared| {
            let done = (|| {
                if window > 0 {
                    let since = now.saturating_sub(window);
                    connection.execute("DELETE FROM keys WHERE late < ?", [since])?;
                }
                connection.execute("DELETE FROM gap WHERE recorded_at < ?", [dead_before])?;
                connection.execute("DELETE FROM dead WHERE dead_at < ?", [dead_before])?;
                super::once::expire(connection, record::time(now))?;
                super::ledger::expire(connection, record::time(now))?;
                let_go(connection, shared)
            })();
            done.map_err(|error| super::told(&error))
        })
    }

    /// Removes some of the rows about events that are gone.
    pub(super) fn clean(&mut self) {
        let first = self.shared.shelf.first();
        if self.cleaned >= first {
            return;
        }
        let until = Seq((self.cleaned.0 + CHUNK).min(first.0));
        let from = self.cleaned;
        let cleaned = self.synchronous(false).and_then(|()| {
            let transaction = self.connection.transaction()?;
            for table in ["event", "attempt"] {
                let mut statement = transaction.prepare_cached(&format!(
                    "DELETE FROM {table} WHERE seq >= ? AND seq < ? AND seq NOT IN (SELECT seq FROM kept)"
                ))?;
                statement.execute((signed(from.0), signed(until.0)))?;
            }
            transaction.execute("DELETE FROM tally WHERE block < ?", [signed(until.0 / BLOCK)])?;
            set_progress(&transaction, "cleaned", until.0)?;
            transaction.commit()
        });
        match cleaned {
            Ok(()) => self.cleaned = until,
            Err(error) => {
                tracing::warn!(%error, "rows about events that are gone are removed later");
                // Not in a loop that turns as fast as it can.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Where the removing of rows goes on.
    pub(in crate::store) fn find_cleaned(&mut self) -> rusqlite::Result<()> {
        self.cleaned = Seq(progress(&self.connection, "cleaned")?.max(1));
        Ok(())
    }
}

/// Copies the events of dead letters, whose segments are about to go.
fn keep_dead(connection: &Connection, shared: &Shared, until: Seq) -> Result<Vec<Seq>, StoreError> {
    let told = |error| super::told(&error);
    let mut statement = connection
        .prepare("SELECT DISTINCT seq FROM dead WHERE seq < ? AND seq NOT IN (SELECT seq FROM kept)")
        .map_err(told)?;
    let rows = statement.query_map([signed(until.0)], |row| super::shared::seq(row, 0)).map_err(told)?;
    let mut kept = Vec::new();
    for seq in rows {
        let seq = seq.map_err(told)?;
        if let Some(event) = settle::find(connection, shared, seq)? {
            let row = (signed(seq.0), record::keep(&event));
            connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", row).map_err(told)?;
            kept.push(seq);
        }
    }
    Ok(kept)
}

/// Who has not come so far has a gap now.
fn record_gaps(connection: &Connection, shared: &Shared, until: Seq, now: Timestamp) -> rusqlite::Result<()> {
    let members = shared.members();
    for member in members.by_name.values() {
        let mut copy = member.standing.clone();
        let (from, retrying) = (copy.frontier, expire_retries(&mut copy.retries, until, &members));
        let ahead = until.0.saturating_sub(from.0);
        if ahead > 0 {
            let row = (member.id, signed(from.0), signed(until.0), nanos(now));
            connection.execute("INSERT OR REPLACE INTO gap VALUES (?, ?, ?, ?)", row)?;
            connection
                .execute("UPDATE frontier SET next = ? WHERE subscriber = ?", (signed(until.0), member.id))?;
        }
        for seq in &retrying {
            settle::remove(connection, member.id, *seq)?;
        }
        let expired = signed(ahead + retrying.len() as u64);
        connection
            .execute("UPDATE subscriber SET expired = expired + ? WHERE id = ?", (expired, member.id))?;
    }
    Ok(())
}

fn expire_retries(retries: &mut crate::store::standing::RetrySet, until: Seq, members: &Members) -> Vec<Seq> {
    let kept = members.kept.range(..until);
    let rows: Vec<_> = kept.filter_map(|seq| retries.get(*seq).map(|row| (*seq, row))).collect();
    for (seq, _) in &rows {
        retries.take(*seq);
    }
    let gone = retries.take_before(until);
    for (seq, row) in rows {
        retries.put(seq, row);
    }
    gone
}

/// The same in memory.
fn pass(members: &mut Members, until: Seq, kept: Vec<Seq>) {
    let mut by_name = std::mem::take(&mut members.by_name);
    for member in by_name.values_mut() {
        let standing = &mut member.standing;
        standing.expired += until.0.saturating_sub(standing.frontier.0);
        standing.expired += expire_retries(&mut standing.retries, until, members).len() as u64;
        standing.frontier = standing.frontier.max(until);
    }
    members.by_name = by_name;
    members.kept.extend(kept);
}

/// Lets go of events that were kept for dead letters which are no more.
fn let_go(connection: &Connection, shared: &Shared) -> rusqlite::Result<()> {
    let mut members = shared.members();
    let mut needed = connection.prepare(
        "SELECT seq FROM kept WHERE seq IN (SELECT seq FROM dead) OR seq IN (SELECT seq FROM retry)",
    )?;
    let needed = needed.query_map([], |row| super::shared::seq(row, 0))?.collect::<Result<_, _>>()?;
    let gone: Vec<Seq> = members.kept.difference(&needed).copied().collect();
    for seq in gone {
        for table in ["kept", "event", "attempt"] {
            connection.execute(&format!("DELETE FROM {table} WHERE seq = ?"), [signed(seq.0)])?;
        }
    }
    members.kept = needed;
    Ok(())
}
