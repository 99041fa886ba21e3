//! Takes requests up.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use deadpool_postgres::{Client, GenericClient, Transaction};
use futures_util::future::join4;
use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::super::seat::held;
use super::state;
use crate::store::log::record::{nanos, time};
use crate::store::postgres::{PostgresStore, plain, signed};
use crate::store::{
    Claim, Claimed, Earlier, KeptAnswer, MAX_REQUESTS, MAX_REQUESTS_OF_APP, RequestId, StoreError,
};

/// Each statement sees what was committed before it, whatever the server is configured for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

macro_rules! claim {
    ($earlier:literal) => {
        concat!(
            held!(),
            ", earlier AS (
              SELECT request_id, begun_at, fingerprint, state, status, head, body FROM request
              WHERE app = $2 AND ",
            $earlier,
            "), counted AS (
              SELECT coalesce(sum(requests), 0)::bigint AS every,
                coalesce(sum(requests) FILTER (WHERE app = $2), 0)::bigint AS own FROM request_count),
            taken AS (
              INSERT INTO request
                (app, endpoint, request_id, key, fingerprint, content, task_id, state, begun_at, epoch, ticket)
              SELECT $2, $3::text, $4::text, $5::text, $6::bytea, $7::bytea, $8::text, 0, $9::bigint, held.epoch,
                $10::bigint FROM held, counted
              WHERE NOT EXISTS (SELECT 1 FROM earlier) AND every < $11 AND own < $12 RETURNING id)
            SELECT EXISTS (SELECT 1 FROM held), (SELECT id FROM taken), every, earlier.*
            FROM counted LEFT JOIN earlier ON true"
        )
    };
}

/// However old it is: whether the clock is to be trusted with that is not asked here.
const OF_KEY: &str = claim!("key = $5");
/// What came until `$14` may be younger than it looks.
const OF_CONTENT: &str = claim!(
    "content = $7 AND $13::bigint IS NOT NULL
     AND (state = 0 OR coalesce(ended_at, begun_at) >= $13 OR coalesce(ended_at, begun_at) <= $14)
     ORDER BY id DESC LIMIT 1"
);

/// As [`Earlier::is_overruled_by`] has it.
const OVERRULED_OF_KEY: &str = concat!(
    held!(),
    "DELETE FROM request USING held WHERE app = $2 AND key = $3 AND state <> 0 AND status IS NULL
     AND (fingerprint IS NULL OR fingerprint = $4)"
);
const OVERRULED_OF_CONTENT: &str = concat!(
    held!(),
    "DELETE FROM request USING held WHERE app = $2 AND content = $3 AND state = 2 AND key IS NULL"
);

/// Names claims.
#[derive(Debug, Default)]
pub(in crate::store::postgres) struct Tickets(AtomicI64);

impl Tickets {
    fn next(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A claim, and how it is made.
struct Claiming {
    claim: Claim,
    epoch: i64,
    ticket: i64,
    doubted: i64,
}

/// What came of it.
struct Said {
    held: bool,
    taken: Option<i64>,
    every: i64,
    earlier: Option<Earlier>,
}

impl PostgresStore {
    pub(super) async fn claim_once(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let epoch = self.answering()?;
        #[cfg(test)]
        self.room.check(0)?;
        // A claim sees what came of those before it.
        self.conclusions.catch_up().await?;
        let (app, ticket) = (claim.app.clone(), self.tickets.next());
        let claiming = Claiming { claim, epoch, ticket, doubted: nanos(self.clock.doubted()) };
        let said =
            self.database.ask(move |client| Box::pin(async move { claiming.make(client).await })).await;
        let said = said.inspect_err(|_| {
            // It may have been taken all the same, and nobody would ever conclude it.
            self.conclusions.undo(ticket);
        })?;
        if !said.held {
            return Err(self.seat.lost(epoch));
        }
        if let Some(earlier) = said.earlier {
            return Ok(Claimed::Blocked(Box::new(earlier)));
        }
        said.taken.map(|id| Claimed::Taken(RequestId(id))).ok_or_else(|| no_room(&said, &app))
    }
}

fn no_room(said: &Said, app: &str) -> StoreError {
    StoreError::Full(if said.every >= signed(MAX_REQUESTS as u64) {
        format!("{MAX_REQUESTS} requests are remembered already")
    } else {
        format!("{MAX_REQUESTS_OF_APP} requests of app {app} are remembered already")
    })
}

impl Claiming {
    async fn make(self, client: &mut Client) -> Result<Said, Error> {
        if self.claim.force {
            return self.forced(client).await;
        }
        let claim = client.prepare_cached(self.statement()).await?;
        let lock = client.prepare_cached(LOCK).await?;
        // All in one flight. What fails, the server rolls back at the end.
        let lock_on = self.lock_on();
        let (begun, locked, said, done) = join4(
            client.batch_execute(BEGIN),
            client.execute(&lock, &[&lock_on]),
            self.ask(&***client, &claim),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        locked?;
        let said = said?;
        done.map(|()| said)
    }

    /// What stands in its way goes first; and comes back, if there is no room for this one.
    async fn forced(&self, client: &mut Client) -> Result<Said, Error> {
        let transaction =
            client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::ReadCommitted);
        let transaction = transaction.start().await?;
        transaction.execute(LOCK, &[&self.lock_on()]).await?;
        self.overrule(&transaction).await?;
        let claim = transaction.prepare_cached(self.statement()).await?;
        let said = self.ask(&*transaction, &claim).await?;
        if said.taken.is_some() {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(said)
    }

    async fn overrule(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let Claim { app, key, marks, .. } = &self.claim;
        let content = marks.as_ref().and_then(|marks| marks.content);
        match (key, content) {
            (Some(key), _) => {
                let given = marks.as_ref().map(|marks| &marks.fingerprint[..]);
                transaction.execute(OVERRULED_OF_KEY, &[&self.epoch, app, key, &given]).await.map(drop)
            }
            (None, Some(content)) if self.claim.unless_since.is_some() => {
                transaction.execute(OVERRULED_OF_CONTENT, &[&self.epoch, app, &&content[..]]).await.map(drop)
            }
            (None, _) => Ok(()),
        }
    }

    fn statement(&self) -> &'static str {
        if self.claim.key.is_some() { OF_KEY } else { OF_CONTENT }
    }

    async fn ask(
        &self,
        client: &impl tokio_postgres::GenericClient,
        statement: &tokio_postgres::Statement,
    ) -> Result<Said, Error> {
        let Claim { app, endpoint, request_id, key, marks, at, unless_since, force } = &self.claim;
        let (request_id, at) = (plain(request_id), nanos(*at));
        let fingerprint = marks.as_ref().map(|marks| &marks.fingerprint[..]);
        let content = marks.as_ref().and_then(|marks| marks.content.as_ref()).map(|content| &content[..]);
        let task_id = marks.as_ref().and_then(|marks| marks.task_id.as_deref()).map(plain);
        let most = (signed(MAX_REQUESTS as u64), signed(MAX_REQUESTS_OF_APP as u64));
        let since = unless_since.filter(|_| !force).map(nanos);
        let all: [&(dyn ToSql + Sync); 14] = [
            &self.epoch,
            app,
            endpoint,
            &request_id,
            key,
            &fingerprint,
            &content,
            &task_id,
            &at,
            &self.ticket,
            &most.0,
            &most.1,
            &since,
            &self.doubted,
        ];
        let needed = statement.params().len();
        Ok(said(&client.query_one(statement, &all[..needed]).await?))
    }

    /// What only one claim at a time is about. That two things share a number costs a wait.
    fn lock_on(&self) -> i64 {
        let content = self.claim.marks.as_ref().and_then(|marks| marks.content);
        let named = match (&self.claim.key, &content) {
            (Some(key), _) => Sha256::new_with_prefix(b"key").chain_update(key),
            (None, Some(content)) => Sha256::new_with_prefix(b"content").chain_update(content),
            (None, None) => Sha256::new_with_prefix(self.ticket.to_be_bytes()),
        };
        let digest = named.chain_update([0]).chain_update(&self.claim.app).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
    }
}

fn said(row: &Row) -> Said {
    let earlier = row.get::<_, Option<String>>(3).map(|request_id| Earlier {
        request_id,
        begun_at: time(row.get(4)),
        fingerprint: row.get::<_, Option<Vec<u8>>>(5).and_then(|bytes| bytes.try_into().ok()),
        state: state(row.get(6)),
        answer: answer(row),
    });
    Said { held: row.get(0), taken: row.get(1), every: row.get(2), earlier }
}

fn answer(row: &Row) -> Option<KeptAnswer> {
    let status: Option<i32> = row.get(7);
    let blob = |column| Bytes::from(row.get::<_, Option<Vec<u8>>>(column).unwrap_or_default());
    Some(KeptAnswer { status: status?.try_into().ok()?, head: blob(8), body: blob(9) })
}
