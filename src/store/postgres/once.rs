//! Requests that must not be sent twice, as all replicas remember them.
//!
//! Claims of one key, or of the same content, are made one after the other wherever they come from: each transaction
//! takes an advisory lock of its own kind first. A unique index would do for keys alone; that the same content is held
//! back for a window, no index can say. A row that is under way carries the epoch that took it: only that seat
//! concludes it, and when the seat is lost the outcome is unknown.

mod claim;
mod conclude;
mod sweep;
#[cfg(test)]
mod tests;

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::PostgresStore;
use crate::store::log::record::{nanos, time};
use crate::store::{
    Answer, Claim, Claimed, Conclusion, Finding, Marks, Once, Page, RequestId, RequestState, RequestSummary,
    StoreError,
};

pub(super) use self::claim::Tickets;
pub(super) use self::conclude::Conclusions;
#[cfg(test)]
pub(super) use self::sweep::forget_old;
pub(super) use self::sweep::{Clock, sweep};

/// States 0 under way, 1 done, 2 unknown. `ticket` names a claim to who made it, before its `id` is known there. What
/// is remembered is counted as it comes and goes, in several rows for each app, so that claims need not wait for
/// each other.
pub(super) const TABLES: &str = "
CREATE TABLE request (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, app text NOT NULL, endpoint text NOT NULL,
  request_id text NOT NULL, key text, fingerprint bytea, content bytea, task_id text, state smallint NOT NULL,
  begun_at bigint NOT NULL, ended_at bigint, status integer, head bytea, body bytea, epoch bigint NOT NULL,
  ticket bigint NOT NULL);
CREATE UNIQUE INDEX request_key ON request (app, key) WHERE key IS NOT NULL;
CREATE INDEX request_content ON request (app, content) WHERE content IS NOT NULL;
CREATE INDEX request_state ON request (state, id) WHERE state <> 1;
CREATE INDEX request_begun ON request (begun_at);
CREATE INDEX request_under_way ON request (epoch, ticket) WHERE state = 0;
CREATE TABLE request_count (
  app text NOT NULL, slot bigint NOT NULL, requests bigint NOT NULL, PRIMARY KEY (app, slot)) WITH (fillfactor = 50);
CREATE FUNCTION request_comes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO xinyao_gateway.request_count AS counted
    SELECT app, id % 16, count(*) FROM come GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (app, slot) DO UPDATE SET requests = counted.requests + excluded.requests;
  RETURN NULL; END $$;
CREATE TRIGGER request_comes AFTER INSERT ON request
  REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION request_comes();
CREATE FUNCTION request_goes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO xinyao_gateway.request_count AS counted
    SELECT app, id % 16, -count(*) FROM gone GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (app, slot) DO UPDATE SET requests = counted.requests + excluded.requests;
  RETURN NULL; END $$;
CREATE TRIGGER request_goes AFTER DELETE ON request
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION request_goes();
";

/// Nobody knows what came of requests that were under way in these seats, which are lost or given up. Returns how
/// many.
pub(super) async fn take_over(transaction: &Transaction<'_>, epochs: &[i64]) -> Result<u64, Error> {
    let unknown = "UPDATE request SET state = 2, ended_at = $2 WHERE state = 0 AND epoch = ANY($1)";
    transaction.execute(unknown, &[&epochs, &nanos(Timestamp::now())]).await
}

fn state(code: i16) -> RequestState {
    match code {
        0 => RequestState::UnderWay,
        1 => RequestState::Done,
        _ => RequestState::Unknown,
    }
}

fn code(state: RequestState) -> i16 {
    match state {
        RequestState::UnderWay => 0,
        RequestState::Done => 1,
        RequestState::Unknown => 2,
    }
}

async fn seal(client: &mut Client, epoch: i64, id: RequestId, marks: Marks) -> Result<u64, Error> {
    let seal = "UPDATE request SET fingerprint = $3, content = $4, task_id = $5
      WHERE id = $2 AND state = 0 AND epoch = (
        SELECT epoch FROM replica WHERE epoch = $1 AND NOT fenced FOR KEY SHARE)";
    let seal = client.prepare_cached(seal).await?;
    let content = marks.content.as_ref().map(|content| &content[..]);
    let task_id = marks.task_id.as_deref().map(super::plain);
    client.execute(&seal, &[&epoch, &id.0, &&marks.fingerprint[..], &content, &task_id]).await
}

async fn settle(client: &mut Client, id: RequestId, finding: Finding, at: i64) -> Result<u64, Error> {
    match finding {
        Finding::Done => {
            let done = "UPDATE request SET state = 1, ended_at = $2 WHERE id = $1 AND state = 2";
            client.execute(done, &[&id.0, &at]).await
        }
        Finding::NotSent => client.execute("DELETE FROM request WHERE id = $1 AND state = 2", &[&id.0]).await,
    }
}

const SUMMARY: &str =
    "SELECT id, app, endpoint, request_id, key, task_id, state, begun_at, ended_at FROM request";

async fn page(
    client: &mut Client,
    wanted: Option<RequestState>,
    limit: usize,
    before: i64,
) -> Result<Page<RequestSummary>, Error> {
    // Written out, so that the index of what is not done is seen to do.
    let narrowed = wanted.map_or(String::new(), |wanted| format!("AND state = {}", code(wanted)));
    let rows = format!("{SUMMARY} WHERE id < $1 {narrowed} ORDER BY id DESC LIMIT $2");
    let rows = client.prepare_cached(&rows).await?;
    let rows = client.query(&rows, &[&before, &super::signed(limit as u64 + 1)]).await?;
    let mut rows: Vec<RequestSummary> = rows.iter().map(summary).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { rows, next_cursor })
}

async fn one(client: &mut Client, id: RequestId) -> Result<Option<RequestSummary>, Error> {
    let row = client.prepare_cached(&format!("{SUMMARY} WHERE id = $1")).await?;
    Ok(client.query_opt(&row, &[&id.0]).await?.as_ref().map(summary))
}

fn summary(row: &Row) -> RequestSummary {
    RequestSummary {
        id: RequestId(row.get(0)),
        app: row.get(1),
        endpoint: row.get(2),
        request_id: row.get(3),
        key: row.get(4),
        task_id: row.get(5),
        state: state(row.get(6)),
        begun_at: time(row.get(7)),
        ended_at: row.get::<_, Option<i64>>(8).map(time),
    }
}

impl Once for PostgresStore {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        Box::pin(self.claim_once(claim))
    }

    fn seal(&self, id: RequestId, marks: Marks) -> Answer<'_, ()> {
        Box::pin(async move {
            let epoch = self.answering()?;
            let sealed = self.database.ask(move |client| Box::pin(seal(client, epoch, id, marks))).await?;
            if sealed == 1 { Ok(()) } else { Err(StoreError::over(id)) }
        })
    }

    fn conclude(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) -> Answer<'_, ()> {
        self.conclusions.conclude(id, conclusion, at)
    }

    fn conclude_soon(&self, id: RequestId, conclusion: Conclusion, at: Timestamp) {
        self.conclusions.conclude_soon(id, conclusion, at);
    }

    fn requests(
        &self,
        state: Option<RequestState>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<RequestSummary>> {
        let before = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        Box::pin(self.database.ask(move |client| Box::pin(page(client, state, limit, before))))
    }

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestSummary>> {
        Box::pin(self.database.ask(move |client| Box::pin(one(client, id))))
    }

    fn settle_request(&self, id: RequestId, finding: Finding, at: Timestamp) -> Answer<'_, bool> {
        let at = nanos(at);
        Box::pin(async move {
            self.conclusions.catch_up().await?;
            let settled = self.database.ask(move |client| Box::pin(settle(client, id, finding, at)));
            Ok(settled.await? > 0)
        })
    }
}
