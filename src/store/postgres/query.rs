//! Answers operators' questions, over all shards of the cluster.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::keeper::{seq, shard_id};
use super::partition::day_of;
use super::values::{natural, plain};
use super::{PostgresStore, deliveries, events, figures};
use crate::store::log::record::{code, kind_of, nanos, time};
use crate::store::{
    Answer, DeadLetter, Event, EventDetail, EventFilter, EventId, EventSummary, Page, Place, Query,
    StoreError, SubscriberFigures,
};
use crate::xinyao::callback::Kind;

/// What [`summary`] reads.
const SUMMARY: &str = "e.shard, e.seq, e.id, e.received_at, e.kind, e.app, e.label, e.task_id, e.call_sn, \
     octet_length(e.body)::bigint";
/// An event's id tells when it was made to the millisecond, by the clock that tells when it came. Between the two
/// that clock may be set.
const ID_SLACK_MS: i64 = 60_000;

/// The event of an id, from the log or from what is kept for dead letters.
const BY_ID: &str = "
SELECT e.shard, e.seq, e.id, e.received_at, e.kind, e.app, e.label, e.task_id, e.call_sn, e.content_type, e.body
FROM event AS e JOIN shard AS h ON h.id = e.shard AND e.seq >= h.first WHERE e.id = $1
UNION ALL
SELECT shard, seq, id, received_at, kind, app, label, task_id, call_sn, content_type, body FROM kept WHERE id = $1
LIMIT 1";

const DEAD_LETTERS: &str = "
SELECT d.event_id, s.name, d.app, d.kind, d.task_id, d.call_sn, d.dead_at, d.attempts, d.error, d.id
FROM dead AS d JOIN subscriber AS s ON s.id = d.subscriber WHERE d.id < $1";

pub(super) type Parameter = Box<dyn ToSql + Sync + Send>;

/// Parameters as a statement takes them.
pub(super) fn borrowed(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect()
}

/// Conditions, and what they are compared with.
#[derive(Default)]
pub(super) struct Narrowed {
    pub conditions: Vec<String>,
    pub parameters: Vec<Parameter>,
}

impl Narrowed {
    /// `condition` is followed by the parameter.
    pub fn add(&mut self, condition: &str, parameter: impl ToSql + Sync + Send + 'static) {
        self.parameters.push(Box::new(parameter));
        self.conditions.push(format!("{condition} ${}", self.parameters.len()));
    }

    /// Of an app, and of kinds.
    pub fn classes(&mut self, table: &str, filter: &EventFilter) {
        if let Some(app) = &filter.app {
            self.add(&format!("{table}.app ="), plain(app).into_owned());
        }
        if !filter.kinds.is_empty() {
            let kinds: Vec<i16> = filter.kinds.iter().map(|kind| code(*kind).into()).collect();
            self.add(&format!("{table}.kind = ANY"), kinds);
            if let Some(condition) = self.conditions.last_mut() {
                *condition = condition.replace("ANY $", "ANY ($") + ")";
            }
        }
    }

    /// Of a task, and of a batch.
    pub fn named(&mut self, filter: &EventFilter) {
        if let Some(task) = &filter.task_id {
            self.add("e.task_id =", plain(task).into_owned());
        }
        if let Some(call) = &filter.call_sn {
            self.add("e.call_sn =", plain(call).into_owned());
        }
    }

    fn times(&mut self, filter: &EventFilter) {
        if let Some(since) = filter.since {
            self.add("e.received_at >=", nanos(since));
            self.add("e.day >=", day_of(nanos(since)));
            self.add("e.id >=", first_id(since, -ID_SLACK_MS));
        }
        if let Some(until) = filter.until {
            self.add("e.received_at <", nanos(until));
            self.add("e.id <", first_id(until, ID_SLACK_MS));
        }
    }

    pub fn sql(&self) -> String {
        if self.conditions.is_empty() { "true".to_owned() } else { self.conditions.join(" AND ") }
    }
}

/// The first of all ids that can be made so long after `at` (RFC 9562, 5.7).
fn first_id(at: Timestamp, after_ms: i64) -> Uuid {
    let made_ms = at.as_millisecond().saturating_add(after_ms).max(0);
    Uuid::from_u128(u128::from(made_ms.unsigned_abs()) << 80)
}

/// Events that the filter means, with ids before `before`, newest first. An index has them in this order, if need be
/// for each class (an app and a kind) by itself.
async fn list(
    client: &mut Client,
    filter: &EventFilter,
    limit: i64,
    before: Option<Uuid>,
) -> Result<Vec<EventSummary>, Error> {
    let mut narrowed = Narrowed::default();
    narrowed.named(filter);
    let by_class = narrowed.conditions.is_empty() && (filter.app.is_some() || !filter.kinds.is_empty());
    narrowed.times(filter);
    if let Some(before) = before {
        narrowed.add("e.id <", before);
    }
    narrowed.conditions.push("e.seq >= (SELECT first FROM shard WHERE id = e.shard)".into());
    let sql = if by_class {
        let conditions = std::mem::take(&mut narrowed.conditions).join(" AND ");
        narrowed.classes("t", filter);
        let classes = narrowed.sql();
        format!(
            "SELECT page.* FROM (SELECT DISTINCT t.app, t.kind FROM tally AS t WHERE {classes}) AS class, LATERAL (
               SELECT {SUMMARY} FROM event AS e WHERE e.app = class.app AND e.kind = class.kind AND {conditions}
               ORDER BY e.id DESC LIMIT {limit}) AS page
             ORDER BY page.id DESC LIMIT {limit}"
        )
    } else {
        narrowed.classes("e", filter);
        format!("SELECT {SUMMARY} FROM event AS e WHERE {} ORDER BY e.id DESC LIMIT {limit}", narrowed.sql())
    };
    let rows = client.query(&sql, &borrowed(&narrowed.parameters)).await?;
    Ok(rows.iter().map(summary).collect())
}

async fn page(
    client: &mut Client,
    filter: &EventFilter,
    limit: usize,
    before: Option<Uuid>,
) -> Result<Page<EventSummary>, Error> {
    let more = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
    let mut rows = list(client, filter, more, before).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    deliveries::add(client, &mut rows).await?;
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    Ok(Page { rows, next_cursor })
}

/// The event of that id.
pub(super) async fn by_id(client: &mut Client, id: EventId) -> Result<Option<Event>, Error> {
    let by_id = client.prepare_cached(BY_ID).await?;
    Ok(client.query_opt(&by_id, &[&id.0]).await?.map(|row| events::event(&row, 0)))
}

async fn detail(client: &mut Client, id: EventId) -> Result<Option<EventDetail>, Error> {
    let Some(event) = by_id(client, id).await? else { return Ok(None) };
    let mut summary = [EventSummary {
        place: event.place,
        id,
        received_at: event.received_at,
        app: event.app.to_string(),
        kind: event.kind,
        label: event.label.as_deref().map(str::to_owned),
        task_id: event.task_id,
        call_sn: event.call_sn,
        size_bytes: event.body.len() as u64,
        deliveries: Vec::new(),
    }];
    deliveries::add(client, &mut summary).await?;
    let attempts = deliveries::attempts(client, event.place).await?;
    let [summary] = summary;
    Ok(Some(EventDetail { summary, attempts }))
}

async fn dead_letters(
    client: &mut Client,
    subscriber: Option<String>,
    limit: usize,
    before: i64,
) -> Result<Page<DeadLetter>, Error> {
    let more = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
    let rows = match &subscriber {
        Some(name) => {
            let sql = format!("{DEAD_LETTERS} AND s.name = $2 ORDER BY d.id DESC LIMIT $3");
            client.query(&sql, &[&before, name, &more]).await?
        }
        None => {
            let sql = format!("{DEAD_LETTERS} ORDER BY d.id DESC LIMIT $2");
            client.query(&sql, &[&before, &more]).await?
        }
    };
    let last = rows.get(limit.saturating_sub(1)).filter(|_| rows.len() > limit);
    let next_cursor = last.map(|row| row.get::<_, i64>(9).to_string());
    Ok(Page { rows: rows.iter().take(limit).map(letter).collect(), next_cursor })
}

fn letter(row: &Row) -> DeadLetter {
    DeadLetter {
        event_id: EventId(row.get(0)),
        subscriber: row.get(1),
        app: row.get(2),
        kind: kind(row, 3),
        task_id: row.get(4),
        call_sn: row.get(5),
        dead_at: time(row.get(6)),
        attempts: natural(row.get(7)),
        last_error: row.get(8),
    }
}

fn summary(row: &Row) -> EventSummary {
    EventSummary {
        place: Place { shard: shard_id(row.get(0)), seq: seq(row.get(1)) },
        id: EventId(row.get(2)),
        received_at: time(row.get(3)),
        kind: kind(row, 4),
        app: row.get(5),
        label: row.get(6),
        task_id: row.get(7),
        call_sn: row.get(8),
        size_bytes: count(row, 9),
        deliveries: Vec::new(),
    }
}

/// A kind that a later version wrote is one that this one does not know.
pub(super) fn kind(row: &Row, column: usize) -> Kind {
    let kind = u8::try_from(row.get::<_, i16>(column)).ok().and_then(kind_of);
    kind.unwrap_or(Kind::Unknown)
}

pub(super) fn count(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}

impl PostgresStore {
    /// Has frontiers written first, so that the question sees them. Where there is no seat, what was written is told.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        match self.seat.epoch() {
            Ok(_) => self.settler()?.flush().await,
            Err(_) => Ok(()),
        }
    }
}

impl Query for PostgresStore {
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<EventSummary>> {
        Box::pin(async move {
            let Ok(before) = cursor.map(|cursor| cursor.parse()).transpose() else {
                return Ok(Page { rows: Vec::new(), next_cursor: None });
            };
            self.settled().await?;
            let page = self
                .database
                .ask(move |client| Box::pin(async move { page(client, &filter, limit, before).await }));
            page.await
        })
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<EventDetail>> {
        Box::pin(async move {
            self.settled().await?;
            self.database.ask(move |client| Box::pin(detail(client, id))).await
        })
    }

    fn body(&self, id: EventId) -> Answer<'_, Option<Arc<Event>>> {
        Box::pin(async move {
            let event = self.database.ask(move |client| Box::pin(by_id(client, id)));
            Ok(event.await?.map(Arc::new))
        })
    }

    fn dead_letters(
        &self,
        subscriber: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<DeadLetter>> {
        let before = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        Box::pin(self.database.ask(move |client| Box::pin(dead_letters(client, subscriber, limit, before))))
    }

    fn figures(&self) -> Answer<'_, Vec<SubscriberFigures>> {
        Box::pin(async move {
            self.settled().await?;
            self.database.ask(|client| Box::pin(figures::figures(client))).await
        })
    }

    fn size(&self) -> Answer<'_, (u64, u64)> {
        Box::pin(std::future::ready(Ok(self.room.size())))
    }
}
