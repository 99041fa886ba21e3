//! Batches, as they are told.

use std::collections::BTreeMap;

use bytes::Bytes;
use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use crate::store::log::record::time;
use crate::store::postgres::{plain, signed, unsigned};
use crate::store::{BatchEntry, BatchRecord, Page};

const ROW: &str = "SELECT id, call_sn, app, task_id, task_name, call_sn_name, submitted_at, sent, accepted,
    returned, connected, by_state, by_degree, first_record_at, last_record_at FROM batch";

pub(super) async fn page(
    client: &mut Client,
    app: Option<String>,
    limit: usize,
    before: i64,
) -> Result<Page<BatchRecord>, Error> {
    let rows = format!("{ROW} WHERE id < $1 AND ($2::text IS NULL OR app = $2) ORDER BY id DESC LIMIT $3");
    let rows = client.prepare_cached(&rows).await?;
    let mut rows = client.query(&rows, &[&before, &app, &signed(limit as u64 + 1)]).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| last.get::<_, i64>(0).to_string());
    Ok(Page { rows: rows.iter().map(record).collect(), next_cursor })
}

/// Of several apps' it is the one whose outnum was seen.
pub(super) async fn one(client: &mut Client, call_sn: String) -> Result<Option<BatchRecord>, Error> {
    let one = format!("{ROW} WHERE call_sn = $1 ORDER BY submitted_at IS NULL, id LIMIT 1");
    let one = client.prepare_cached(&one).await?;
    Ok(client.query_opt(&one, &[&plain(&call_sn)]).await?.as_ref().map(record))
}

pub(super) async fn quiet(client: &mut Client, before: i64) -> Result<u64, Error> {
    let quiet = "SELECT count(*) FROM batch WHERE returned < accepted
      AND greatest(last_record_at, submitted_at) < $1 AND submitted_at IS NOT NULL";
    let quiet = client.prepare_cached(quiet).await?;
    Ok(unsigned(client.query_one(&quiet, &[&before]).await?.get(0)))
}

fn record(row: &Row) -> BatchRecord {
    let at = |column: usize| row.get::<_, Option<i64>>(column).map(time);
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(unsigned);
    let told = BatchEntry {
        call_sn: row.get(1),
        app: row.get(2),
        task_id: row.get(3),
        task_name: row.get(4),
        call_sn_name: row.get(5),
        returned: number(9).unwrap_or(0),
        connected: number(10).unwrap_or(0),
        by_state: serde_json::from_str::<BTreeMap<i64, u64>>(row.get(11)).unwrap_or_default(),
        by_degree: serde_json::from_str(row.get(12)).unwrap_or_default(),
        first_record_at: at(13),
        last_record_at: at(14),
        part: Bytes::new(),
    };
    BatchRecord { told, submitted_at: at(6), sent: number(7), accepted: number(8) }
}
