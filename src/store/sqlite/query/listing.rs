//! Pages of events. Whatever narrows them, rows come out of an index in their order: for each class (an app
//! and a kind) by itself, put together afterwards. Times narrow the numbers to whole blocks first.

use rusqlite::types::Value;
use rusqlite::{Row, ToSql};
use uuid::Uuid;

use super::super::schema::{BLOCK, signed};
use super::super::shared::SHARD;
use super::Questions;
use crate::store::log::record::{code, nanos, time};
use crate::store::standing::Outcome;
use crate::store::{Delivery, EventFilter, EventId, EventSummary, Page, Place, Seq};

const COLUMNS: &str = "seq, event.id, received_at, app, kind, label, task_id, call_sn, size";

/// What of `event` is asked for.
struct Narrowed {
    /// Each by itself; one that is empty: whatever class.
    classes: Vec<Option<i64>>,
    condition: String,
    values: Vec<Value>,
    index: &'static str,
}

impl Questions<'_> {
    pub fn events(
        &self,
        filter: &EventFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> rusqlite::Result<Page<EventSummary>> {
        let before = Seq(cursor.map_or(u64::MAX, |cursor| cursor.parse().unwrap_or(0)));
        let narrowed = self.narrow(filter, self.shared.shelf.first(), before)?;
        let mut rows = Vec::new();
        for class in &narrowed.classes {
            let sql = format!(
                "SELECT {COLUMNS} FROM event {} JOIN class ON class.id = class WHERE {} {} ORDER BY seq DESC LIMIT {}",
                narrowed.index,
                narrowed.condition,
                of_class(*class),
                limit + 1
            );
            let mut statement = self.connection.prepare_cached(&sql)?;
            let values = narrowed.values.iter().map(|value| value as &dyn ToSql).collect::<Vec<_>>();
            for row in statement.query_map(&*values, summary)? {
                rows.push(row?);
            }
        }
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.place.seq));
        let more = rows.len() > limit;
        rows.truncate(limit);
        for row in &mut rows {
            row.deliveries = self.deliveries(row.place.seq)?;
        }
        let next_cursor = rows.last().filter(|_| more).map(|row| row.place.seq.0.to_string());
        Ok(Page { rows, next_cursor })
    }

    pub(super) fn summary_at(&self, seq: Seq) -> rusqlite::Result<Option<EventSummary>> {
        use rusqlite::OptionalExtension;
        let sql = format!("SELECT {COLUMNS} FROM event JOIN class ON class.id = class WHERE seq = ?");
        let found = self.connection.prepare_cached(&sql)?.query_row([signed(seq.0)], summary).optional()?;
        found.map(|row| Ok(EventSummary { deliveries: self.deliveries(seq)?, ..row })).transpose()
    }

    /// How many events of `[from, until)` are meant.
    pub fn count(&self, filter: &EventFilter, from: Seq, until: Seq) -> rusqlite::Result<u64> {
        let narrowed = self.narrow(filter, from, until)?;
        let mut sum = 0;
        for class in &narrowed.classes {
            let sql = format!(
                "SELECT count(*) FROM event {} WHERE {} {}",
                narrowed.index,
                narrowed.condition,
                of_class(*class)
            );
            let values = narrowed.values.iter().map(|value| value as &dyn ToSql).collect::<Vec<_>>();
            sum += self.connection.prepare_cached(&sql)?.query_row(&*values, |row| super::count(row, 0))?;
        }
        Ok(sum)
    }

    /// The first event that came at `at` or later.
    pub fn first_since(&self, at: i64) -> rusqlite::Result<Option<Seq>> {
        use rusqlite::OptionalExtension;
        let Some(low) = self.first_block(at)? else { return Ok(None) };
        let low = low.max(self.shared.shelf.first().0);
        let sql = "SELECT seq FROM event WHERE seq >= ? AND received_at >= ? ORDER BY seq LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row((signed(low), at), |row| super::super::shared::seq(row, 0)).optional()
    }

    /// Where the first block begins that has something of `at` or later.
    fn first_block(&self, at: i64) -> rusqlite::Result<Option<u64>> {
        let mut statement = self.connection.prepare_cached("SELECT min(block) FROM tally WHERE late >= ?")?;
        let block: Option<i64> = statement.query_row([at], |row| row.get(0))?;
        Ok(block.map(|block| super::unsigned(block) * BLOCK))
    }

    fn narrow(&self, filter: &EventFilter, mut from: Seq, mut until: Seq) -> rusqlite::Result<Narrowed> {
        let mut condition = String::new();
        let mut values = Vec::new();
        let mut add = |column: &str, value: Value| {
            condition.push_str(&format!(" AND {column} ?"));
            values.push(value);
        };
        if let Some(since) = filter.since.map(nanos) {
            add("received_at >=", since.into());
            from = from.max(self.first_block(since)?.map_or(Seq(u64::MAX), Seq));
        }
        if let Some(before) = filter.until.map(nanos) {
            add("received_at <", before.into());
            let mut statement =
                self.connection.prepare_cached("SELECT max(block) FROM tally WHERE early < ?")?;
            let block: Option<i64> = statement.query_row([before], |row| row.get(0))?;
            until = until.min(Seq(block.map_or(0, |block| (super::unsigned(block) + 1) * BLOCK)));
        }
        let (mut index, mut by_class) = ("NOT INDEXED", filter.app.is_some() || !filter.kinds.is_empty());
        if by_class {
            index = "INDEXED BY event_class";
        }
        if let Some(task) = &filter.task_id {
            add("task_id =", task.clone().into());
            (index, by_class) = ("INDEXED BY event_task", true);
        }
        if let Some(call) = &filter.call_sn {
            add("call_sn =", call.clone().into());
            (index, by_class) = ("INDEXED BY event_call", true);
        }
        add("seq >=", signed(from.0).into());
        add("seq <", signed(until.0).into());
        let classes =
            if by_class { self.classes(filter)?.into_iter().map(Some).collect() } else { vec![None] };
        let condition = condition.trim_start_matches(" AND").to_owned();
        Ok(Narrowed { classes, condition, values, index })
    }

    fn classes(&self, filter: &EventFilter) -> rusqlite::Result<Vec<i64>> {
        let mut statement = self.connection.prepare_cached("SELECT id, app, kind FROM class")?;
        let mut rows = statement.query([])?;
        let mut classes = Vec::new();
        while let Some(row) = rows.next()? {
            let (app, kind): (String, u8) = (row.get(1)?, row.get(2)?);
            let kinds = &filter.kinds;
            if filter.app.as_ref().is_none_or(|wanted| *wanted == app)
                && (kinds.is_empty() || kinds.iter().any(|wanted| code(*wanted) == kind))
            {
                classes.push(row.get(0)?);
            }
        }
        Ok(classes)
    }

    fn deliveries(&self, seq: Seq) -> rusqlite::Result<Vec<Delivery>> {
        let mut tried = self.connection.prepare_cached(
            "SELECT subscriber, outcome, error FROM attempt WHERE seq = ? ORDER BY at, number",
        )?;
        let tried: Vec<(i64, Outcome, Option<String>)> = tried
            .query_map([signed(seq.0)], |row| Ok((row.get(0)?, outcome(row.get(1)?), row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut dead = self.connection.prepare_cached("SELECT subscriber FROM dead WHERE seq = ?")?;
        let dead: Vec<i64> = dead.query_map([signed(seq.0)], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let members = self.shared.members();
        let deliveries = members.by_name.iter().filter_map(|(name, member)| {
            let mut attempts = 0;
            let own = tried.iter().filter(|(id, ..)| *id == member.id).inspect(|_| attempts += 1);
            let last = own.last();
            let standing = &member.standing;
            let state =
                standing.state(seq, dead.contains(&member.id), last.map(|(_, outcome, _)| *outcome))?;
            Some(Delivery {
                subscriber: name.clone(),
                state,
                attempts,
                next_attempt_at: standing.retries.get(seq).map(|row| row.due),
                last_error: last.and_then(|(.., error)| error.clone()),
            })
        });
        Ok(deliveries.collect())
    }
}

fn of_class(class: Option<i64>) -> String {
    class.map_or_else(String::new, |class| format!("AND class = {class}"))
}

fn outcome(number: i64) -> Outcome {
    match number {
        1 => Outcome::Delivered,
        2 => Outcome::Dead,
        _ => Outcome::Failed,
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<EventSummary> {
    Ok(EventSummary {
        place: Place { shard: SHARD, seq: super::super::shared::seq(row, 0)? },
        id: EventId(Uuid::from_bytes(row.get(1)?)),
        received_at: time(row.get(2)?),
        app: row.get(3)?,
        kind: super::kind(row, 4)?,
        label: row.get(5)?,
        task_id: row.get(6)?,
        call_sn: row.get(7)?,
        size_bytes: super::count(row, 8)?,
        deliveries: Vec::new(),
    })
}
