//! Enters what callbacks have told.

use deadpool_postgres::Client;
use tokio_postgres::Error;

use super::super::seat::held;
use crate::store::BatchEntry;
use crate::store::log::record::nanos;
use crate::store::postgres::{plain, signed};

const ENTER: &str = concat!(
    held!(),
    ", kept AS (SELECT 1 FROM ledger_book JOIN held ON keeper = epoch),
    moved AS (
      INSERT INTO ledger AS known (shard, next) SELECT $2::integer, $3::bigint FROM kept
      ON CONFLICT (shard) DO UPDATE SET next = excluded.next),
    entry AS (
      SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
        $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bytea[])
      AS entry (call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state, by_degree,
        first_record_at, last_record_at, part)),
    entered AS (
      INSERT INTO batch AS known (call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state,
        by_degree, first_record_at, last_record_at, heard_at)
      SELECT call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state, by_degree,
        first_record_at, last_record_at, $16::bigint FROM entry, kept ORDER BY call_sn, app
      ON CONFLICT (call_sn, app) DO UPDATE SET task_id = coalesce(excluded.task_id, known.task_id),
        task_name = coalesce(excluded.task_name, known.task_name),
        call_sn_name = coalesce(excluded.call_sn_name, known.call_sn_name), returned = excluded.returned,
        connected = excluded.connected, by_state = excluded.by_state, by_degree = excluded.by_degree,
        first_record_at = least(known.first_record_at, excluded.first_record_at),
        last_record_at = greatest(known.last_record_at, excluded.last_record_at), heard_at = excluded.heard_at
      RETURNING id, call_sn, app),
    added AS (
      INSERT INTO batch_part (batch, part) SELECT id, part FROM entered JOIN entry USING (call_sn, app)
      WHERE length(part) > 0)
    SELECT EXISTS (SELECT 1 FROM held), EXISTS (SELECT 1 FROM kept)"
);

/// Columns of entries.
#[derive(Clone, Default)]
pub(super) struct Arrays {
    call_sn: Vec<String>,
    app: Vec<String>,
    task_id: Vec<Option<String>>,
    task_name: Vec<Option<String>>,
    call_sn_name: Vec<Option<String>>,
    returned: Vec<i64>,
    connected: Vec<i64>,
    by_state: Vec<String>,
    by_degree: Vec<String>,
    first_record_at: Vec<Option<i64>>,
    last_record_at: Vec<Option<i64>>,
    part: Vec<Vec<u8>>,
}

impl Arrays {
    pub fn of(entries: &[BatchEntry]) -> Self {
        let mut all = Self::default();
        let named = |text: &Option<String>| text.as_deref().map(|text| plain(text).into_owned());
        let json = |map: serde_json::Result<String>| map.unwrap_or_else(|_| "{}".into());
        for entry in entries {
            all.call_sn.push(plain(&entry.call_sn).into_owned());
            all.app.push(entry.app.clone());
            all.task_id.push(named(&entry.task_id));
            all.task_name.push(named(&entry.task_name));
            all.call_sn_name.push(named(&entry.call_sn_name));
            all.returned.push(signed(entry.returned));
            all.connected.push(signed(entry.connected));
            all.by_state.push(json(serde_json::to_string(&entry.by_state)));
            all.by_degree.push(json(serde_json::to_string(&entry.by_degree)));
            all.first_record_at.push(entry.first_record_at.map(nanos));
            all.last_record_at.push(entry.last_record_at.map(nanos));
            all.part.push(entry.part.to_vec());
        }
        all
    }

    /// Whether the seat is held, and whether it keeps the ledger.
    pub async fn enter(self, client: &mut Client, under: Under) -> Result<(bool, bool), Error> {
        let enter = client.prepare_cached(ENTER).await?;
        let Under { epoch, shard, next, now } = under;
        let row = client
            .query_one(
                &enter,
                &[
                    &epoch,
                    &shard,
                    &next,
                    &self.call_sn,
                    &self.app,
                    &self.task_id,
                    &self.task_name,
                    &self.call_sn_name,
                    &self.returned,
                    &self.connected,
                    &self.by_state,
                    &self.by_degree,
                    &self.first_record_at,
                    &self.last_record_at,
                    &self.part,
                    &now,
                ],
            )
            .await?;
        Ok((row.get(0), row.get(1)))
    }
}

/// Under which seat, how far and when something is entered.
#[derive(Clone, Copy)]
pub(super) struct Under {
    pub epoch: i64,
    pub shard: i32,
    pub next: i64,
    pub now: i64,
}
