//! The tables, and how a database comes to have them.

use deadpool_postgres::Client;
use tokio_postgres::Error;

/// What this gateway makes of a database. Replicas are upgraded one after the other, so that two versions work on one
/// database for a while. A change comes in two steps, each a release of its own:
///
/// 1. *Expand*: it adds tables, columns with a default, indexes, and raises `VERSION`. The version before goes on with
///    what it knows, and the new one reads what the old one writes.
/// 2. *Contract*: what only the version before step 1 needs is dropped, and [`READABLE`] is raised to that of step 1:
///    a gateway that is older refuses to start.
pub(super) const VERSION: i32 = 1;
/// The oldest gateway that works with it.
const READABLE: i32 = 1;

/// The oldest PostgreSQL that it works with.
pub(super) const OLDEST: i32 = 130_000;

/// One at a time makes tables.
const LOCK: i64 = 0x0078_696e_7961_6f00;
/// Held by who adds a shard or a subscriber: each subscriber has a frontier in each shard.
pub(super) const MEMBERS: i64 = LOCK + 1;
/// Held by who moves everybody past what is too old.
pub(super) const RETENTION: i64 = LOCK + 5;
/// Held by who makes or drops partitions.
pub(super) const PARTITIONS: i64 = LOCK + 2;
/// Held by who keeps a `team_url`: there is room for so many.
pub(super) const TEAM_URLS: i64 = LOCK + 3;
/// Held by who forgets what is too old to be remembered.
pub(super) const SWEEP: i64 = LOCK + 4;

/// Times are nanoseconds of the epoch; kinds 1 call_record, 2 intent_result, 3 inbound_query, 4 unknown;
/// outcomes 0 failed, 1 delivered, 2 dead: as in the embedded store.
///
/// `replica`: the processes there are. Whoever writes holds its own row (`FOR KEY SHARE`) and sees that it is not
/// fenced; whoever takes over from one locks it (`FOR UPDATE`) first: so nothing is written by a process whose lease
/// another has ended, whenever it wakes.
const TABLES: &str = "
CREATE TABLE schema_version (
  single boolean PRIMARY KEY DEFAULT true CHECK (single), version integer NOT NULL, readable integer NOT NULL);
CREATE TABLE replica (
  epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, about text NOT NULL,
  started_at bigint NOT NULL, lease_until timestamptz NOT NULL, fenced boolean NOT NULL DEFAULT false);
-- `generation` counts what operators did
CREATE TABLE control (single boolean PRIMARY KEY DEFAULT true CHECK (single), generation bigint NOT NULL);
INSERT INTO control (generation) VALUES (0);
-- `holder` is an epoch; `first` is the first event that retention has left, `day` the last event's
CREATE TABLE shard (
  id integer PRIMARY KEY, next bigint NOT NULL DEFAULT 1, first bigint NOT NULL DEFAULT 1, holder bigint,
  day integer NOT NULL DEFAULT 0);
";

/// What came of looking at a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    /// It has the tables.
    Ready,
    /// It was made by a gateway of that version, which this one can't work with.
    TooNew(i32),
    /// The server is of that version (`server_version_num`), before [`OLDEST`].
    TooOld(i32),
}

/// Makes the tables if they are not there.
pub(super) async fn prepare(client: &mut Client) -> Result<Prepared, Error> {
    let server = client.query_one("SELECT current_setting('server_version_num')::integer", &[]).await?.get(0);
    if server < OLDEST {
        return Ok(Prepared::TooOld(server));
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute("CREATE SCHEMA IF NOT EXISTS xinyao_gateway").await?;
    let known = "SELECT to_regclass('xinyao_gateway.schema_version') IS NOT NULL";
    if !transaction.query_one(known, &[]).await?.get::<_, bool>(0) {
        for tables in [
            TABLES,
            super::events::TABLES,
            super::progress::TABLES,
            super::once::TABLES,
            super::team_url::TABLES,
            super::ledger::TABLES,
        ] {
            transaction.batch_execute(tables).await?;
        }
        let made = "INSERT INTO schema_version (version, readable) VALUES ($1, $2)";
        transaction.execute(made, &[&VERSION, &READABLE]).await?;
    }
    let row = transaction.query_one("SELECT version, readable FROM schema_version", &[]).await?;
    let (version, readable): (i32, i32) = (row.get(0), row.get(1));
    transaction.commit().await?;
    Ok(if readable > VERSION { Prepared::TooNew(version) } else { Prepared::Ready })
}

#[cfg(test)]
mod tests;
