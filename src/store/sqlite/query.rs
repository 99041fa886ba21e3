//! Questions of operators, in SQL.

mod figures;
mod listing;

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::schema::{signed, unsigned};
use super::settle;
use super::shared::Shared;
use crate::store::log::record::{kind_of, time};
use crate::store::{Attempt, DeadLetter, Event, EventDetail, EventId, Page, Seq, StoreError};
use crate::xinyao::callback::Kind;

/// Asks one connection.
pub(in crate::store) struct Questions<'a> {
    pub connection: &'a Connection,
    pub shared: &'a Shared,
}

impl Questions<'_> {
    /// The events at those places, with their attempts.
    pub fn event(&self, id: EventId) -> rusqlite::Result<Option<EventDetail>> {
        let Some(seq) = self.seq_of(id)? else { return Ok(None) };
        let Some(summary) = self.summary_at(seq)? else { return Ok(None) };
        Ok(Some(EventDetail { summary, attempts: self.attempts(seq)? }))
    }

    pub fn body(&self, id: EventId) -> Result<Option<Arc<Event>>, StoreError> {
        let seq = self.seq_of(id).map_err(|error| super::told(&error))?;
        seq.map_or(Ok(None), |seq| settle::find(self.connection, self.shared, seq))
    }

    /// Where an event stands that is still kept.
    fn seq_of(&self, id: EventId) -> rusqlite::Result<Option<Seq>> {
        let mut statement = self.connection.prepare_cached("SELECT seq FROM event WHERE id = ?")?;
        let seq = statement.query_row([id.0.as_bytes()], |row| super::shared::seq(row, 0)).optional()?;
        let there = |seq: &Seq| *seq >= self.shared.shelf.first() || self.shared.members().kept.contains(seq);
        Ok(seq.filter(there))
    }

    fn names(&self) -> HashMap<i64, String> {
        let members = self.shared.members();
        members.by_name.iter().map(|(name, member)| (member.id, name.clone())).collect()
    }

    fn attempts(&self, seq: Seq) -> rusqlite::Result<Vec<Attempt>> {
        let names: HashMap<i64, Arc<str>> =
            self.names().into_iter().map(|(id, name)| (id, name.into())).collect();
        let mut statement = self.connection.prepare_cached(
            "SELECT subscriber, number, at, status, latency_ms, error, answer FROM attempt
             WHERE seq = ? ORDER BY at, number",
        )?;
        let mut rows = statement.query([signed(seq.0)])?;
        let mut attempts = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(subscriber) = names.get(&row.get(0)?) else { continue };
            attempts.push(Attempt {
                subscriber: Arc::clone(subscriber),
                number: row.get(1)?,
                at: time(row.get(2)?),
                status: row.get(3)?,
                latency_ms: row.get(4)?,
                error: row.get(5)?,
                answer: row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default().into(),
            });
        }
        Ok(attempts)
    }

    pub fn dead_letters(
        &self,
        subscriber: Option<&str>,
        limit: usize,
        cursor: Option<&str>,
    ) -> rusqlite::Result<Page<DeadLetter>> {
        let before: i64 = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        let names = self.names();
        let own = subscriber.map(|name| names.iter().find(|(_, own)| *own == name).map_or(0, |(id, _)| *id));
        let narrowed = if own.is_some() { "subscriber = ?2" } else { "?2 IS NULL" };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT id, subscriber, event_id, app, kind, task_id, call_sn, dead_at, attempts, error FROM dead
             WHERE id < ?1 AND {narrowed} ORDER BY id DESC LIMIT ?3"
        ))?;
        let mut rows = statement.query((before, own, signed(limit as u64 + 1)))?;
        let (mut letters, mut last, mut next_cursor) = (Vec::new(), 0_i64, None);
        while let Some(row) = rows.next()? {
            if letters.len() == limit {
                next_cursor = Some(last.to_string());
                break;
            }
            last = row.get(0)?;
            letters.push(letter(row, names.get(&row.get(1)?).cloned().unwrap_or_default())?);
        }
        Ok(Page { rows: letters, next_cursor })
    }
}

fn letter(row: &Row<'_>, subscriber: String) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        event_id: EventId(Uuid::from_bytes(row.get(2)?)),
        subscriber,
        app: row.get(3)?,
        kind: kind(row, 4)?,
        task_id: row.get(5)?,
        call_sn: row.get(6)?,
        dead_at: time(row.get(7)?),
        attempts: row.get(8)?,
        last_error: row.get(9)?,
    })
}

/// A kind that a later version wrote is one that this one does not know.
fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    Ok(kind_of(row.get(column)?).unwrap_or(Kind::Unknown))
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(unsigned(row.get::<_, Option<i64>>(column)?.unwrap_or(0)))
}
