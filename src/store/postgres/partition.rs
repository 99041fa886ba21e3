//! Tables that are partitioned by day: a day is made before it is written to, and dropped as a whole.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::Error;

use super::database::Database;
use super::schema::PARTITIONS;
use crate::store::StoreError;
use crate::store::log::record::nanos;

const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// A day of the epoch, in UTC.
pub(super) type Day = i32;

/// A table whose column `day` is a [`Day`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partitioned {
    pub table: &'static str,
    /// Storage parameters of its partitions.
    pub with: &'static str,
    /// Asks whether a day (`$1`) has to stay yet: then it gives a row.
    pub stays: Option<&'static str>,
}

/// All of them.
const TABLES: [&Partitioned; 2] = [&super::events::PARTITIONED, &super::progress::ATTEMPTS];

/// The days that are known to be there.
#[derive(Debug, Default)]
pub(super) struct Partitions(Mutex<BTreeSet<(&'static str, Day)>>);

impl Partitions {
    /// Makes today's and tomorrow's.
    pub async fn ahead(&self, database: &Database, now: Timestamp) -> Result<(), StoreError> {
        let today = day_of(nanos(now));
        for table in TABLES {
            self.need(database, table, [today, today + 1]).await?;
        }
        Ok(())
    }

    /// Makes those that are not known to be there.
    pub async fn need(
        &self,
        database: &Database,
        table: &'static Partitioned,
        days: impl IntoIterator<Item = Day>,
    ) -> Result<(), StoreError> {
        for day in days {
            if self.known().contains(&(table.table, day)) {
                continue;
            }
            database.ask(move |client| Box::pin(make(client, table, day))).await?;
            self.known().insert((table.table, day));
        }
        Ok(())
    }

    /// They may be gone.
    pub fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<(&'static str, Day)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day of a time in nanoseconds.
pub(super) fn day_of(nanos: i64) -> Day {
    Day::try_from(nanos.div_euclid(DAY)).unwrap_or(Day::MAX)
}

/// Attached rather than created as one: that needs no lock which others wait for.
async fn make(client: &mut Client, of: &Partitioned, day: Day) -> Result<(), Error> {
    let Partitioned { table, with, .. } = of;
    let name = format!("{table}_{day}");
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&PARTITIONS]).await?;
    let known = "SELECT to_regclass('xinyao_gateway.' || $1::text) IS NOT NULL";
    if !transaction.query_one(known, &[&name]).await?.get::<_, bool>(0) {
        let made = format!(
            "CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING INDEXES) WITH ({with});
             ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({});",
            day.saturating_add(1)
        );
        transaction.batch_execute(&made).await?;
    }
    transaction.commit().await
}

/// The days that there are of a table, from the oldest on.
pub(super) async fn days(client: &Client, of: &Partitioned) -> Result<Vec<Day>, Error> {
    let partitions = "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
      WHERE inhparent = ('xinyao_gateway.' || $1::text)::regclass";
    let rows = client.query(partitions, &[&of.table]).await?;
    let day = |name: &str| name.rsplit_once('_').and_then(|(_, day)| day.parse().ok());
    let mut days: Vec<Day> = rows.iter().filter_map(|row| day(row.get(0))).collect();
    days.sort_unstable();
    Ok(days)
}

/// Drops a day; `false`: it stays yet. It waits for a moment only, since all that comes behind it would wait too.
pub(super) async fn drop_day(client: &mut Client, of: &Partitioned, day: Day) -> Result<bool, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("SET LOCAL lock_timeout = '{} ms'", PATIENCE.as_millis())).await?;
    if let Some(stays) = of.stays {
        // What dropping takes as well: nothing may come in between.
        transaction.batch_execute(&format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", of.table)).await?;
        if transaction.query_opt(stays, &[&day]).await?.is_some() {
            return Ok(false);
        }
    }
    transaction.batch_execute(&format!("DROP TABLE IF EXISTS {}_{day}", of.table)).await?;
    transaction.commit().await?;
    Ok(true)
}

const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_before_the_epoch_too() {
        for (nanos, day) in [(0, 0), (DAY - 1, 0), (DAY, 1), (-1, -1), (-DAY, -1), (-DAY - 1, -2)] {
            assert_eq!(day_of(nanos), day, "{nanos}");
        }
    }
}
