//! Events become rows.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::link::Classes;
use super::schema::{BLOCK, set_progress, signed};
use super::settle::unreadable;
use super::shared::seq;
use crate::store::log::keys::{self, Keys};
use crate::store::log::record::{code, nanos};
use crate::store::log::{Run, Shelf, Stored};
use crate::store::{Seq, StoreError};

/// Most events of a transaction, and most bytes of their bodies that are in memory at once.
pub(in crate::store) const MAX_EVENTS: usize = 16_384;
const MAX_BYTES: usize = 2 << 20;

/// How far is looked back for a key is told by the first event; until then none is too old.
const WINDOW_UNKNOWN: i64 = i64::MAX;

/// What a block has of a class: how many, the earliest and the latest.
type Tallies = BTreeMap<(u64, i64), (u64, i64, i64)>;

/// Takes a run of events in, and says so.
fn insert(connection: &Connection, classes: &mut Classes, run: &Run) -> rusqlite::Result<()> {
    let mut rows =
        connection.prepare_cached("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
    let mut tallies = Tallies::new();
    for Stored { event, .. } in &run.events {
        let (seq, at) = (event.place.seq, nanos(event.received_at));
        let class = classes.of(connection, &event.app, code(event.kind))?;
        let id = event.id.0.as_bytes();
        let size = signed(event.body.len() as u64);
        let (label, task_id, call_sn) = (event.label.as_deref(), &event.task_id, &event.call_sn);
        rows.execute((signed(seq.0), id, at, class, label, task_id, call_sn, size))?;
        let tally = tallies.entry((seq.0 / BLOCK, class)).or_insert((0, at, at));
        *tally = (tally.0 + 1, tally.1.min(at), tally.2.max(at));
    }
    tally(connection, tallies)?;
    write_keys(connection, &run.events)?;
    set_indexed(connection, run.next)
}

pub(super) fn set_indexed(connection: &Connection, seq: Seq) -> rusqlite::Result<()> {
    set_progress(connection, "indexed", seq.0)
}

fn tally(connection: &Connection, tallies: Tallies) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO tally VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events,
         early = min(early, excluded.early), late = max(late, excluded.late)",
    )?;
    for ((block, class), (events, early, late)) in tallies {
        statement.execute((signed(block), class, signed(events), early, late))?;
    }
    Ok(())
}

fn write_keys(connection: &Connection, events: &[Stored]) -> rusqlite::Result<()> {
    let keyed = events.iter().filter(|stored| stored.key.is_some());
    let Some(late) = keyed.map(|stored| nanos(stored.event.received_at)).max() else { return Ok(()) };
    let prints = events.iter().map(|stored| stored.key.as_ref().map_or(0, keys::print));
    let prints: Vec<u8> = prints.flat_map(u64::to_le_bytes).collect();
    let first = events.first().map_or(Seq(0), |stored| stored.event.place.seq);
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)")?;
    statement.execute((signed(first.0), late, prints)).map(drop)
}

/// The keys of all events: of those before `indexed` from the table, of the others from the log.
pub(in crate::store) fn load_keys(
    connection: &Connection,
    shelf: &Shelf,
    indexed: Seq,
) -> Result<Keys, StoreError> {
    let mut loaded = Keys::new(keys::MAX_KEYS);
    read_keys(connection, &mut loaded).map_err(|error| super::told(&error))?;
    let mut from = indexed;
    while from < shelf.tail() {
        let run = shelf.read(from, MAX_EVENTS, MAX_BYTES).map_err(|error| unreadable(&error))?;
        for Stored { event, key } in &run.events {
            if let Some(key) = key {
                loaded.add(keys::print(key), event.place.seq, nanos(event.received_at), WINDOW_UNKNOWN);
            }
        }
        from = run.next;
    }
    Ok(loaded)
}

fn read_keys(connection: &Connection, loaded: &mut Keys) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT first, late, keys FROM keys ORDER BY first")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (first, late) = (seq(row, 0)?, row.get(1)?);
        let (prints, _) = row.get_ref(2)?.as_blob()?.as_chunks::<8>();
        for (number, print) in (first.0..).zip(prints.iter().map(|print| u64::from_le_bytes(*print))) {
            if print != 0 {
                loaded.add(print, Seq(number), late, WINDOW_UNKNOWN);
            }
        }
    }
    Ok(())
}

/// Lets go of all that can be had again from the log, and of what is about events that it does not have.
pub(in crate::store) fn clear(connection: &Connection, tail: Seq) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(
        "DELETE FROM event WHERE seq NOT IN (SELECT seq FROM kept); DELETE FROM tally;
         DELETE FROM keys; DELETE FROM progress WHERE name = 'indexed';",
    )?;
    for table in ["attempt", "retry", "dead"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE seq >= ?"), [signed(tail.0)])?;
    }
    transaction.commit()
}

/// Takes in what stands in the log from `from` on, as far as one transaction goes; tells how far that is.
pub(super) fn take_in(
    connection: &Connection,
    classes: &mut Classes,
    shelf: &Shelf,
    from: Seq,
) -> Result<Seq, StoreError> {
    let (mut next, mut left) = (from, MAX_EVENTS);
    while left > 0 && next < shelf.tail() {
        let run = shelf.read(next, left, MAX_BYTES).map_err(|error| unreadable(&error))?;
        insert(connection, classes, &run).map_err(|error| super::told(&error))?;
        left -= run.events.len().min(left);
        next = run.next;
    }
    Ok(next)
}

/// Takes in all that stands in the log from `from` on.
pub(in crate::store) fn catch_up(
    connection: &Connection,
    shelf: &Shelf,
    mut from: Seq,
) -> Result<(), StoreError> {
    let mut classes = Classes::default();
    while from < shelf.tail() {
        let transaction = connection.unchecked_transaction().map_err(|error| super::told(&error))?;
        from = take_in(&transaction, &mut classes, shelf, from)?;
        transaction.commit().map_err(|error| super::told(&error))?;
    }
    Ok(())
}
