//! A look at a PostgreSQL that leaves nothing behind.

use std::time::Duration;

use deadpool_postgres::Client;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Error;
use tokio_rustls::rustls::ClientConfig;

use super::PostgresUrl;
use super::database::Database;
use super::schema::{OLDEST, VERSION};
use crate::store::StoreError;
use crate::store::log::record::{nanos, time};

const DEADLINE: Duration = Duration::from_secs(10);

/// How a PostgreSQL stands.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Its version, as it says it.
    pub version: String,
    /// Whether that is one that the gateway works with.
    pub is_new_enough: bool,
    /// How far its clock is ahead of this host's.
    pub clock_ahead: SignedDuration,
    /// Whether the gateway's tables are there, or may be made.
    pub may_make_tables: bool,
    /// Of which version its tables are, and which gateway they need at least; `None`: there are none yet.
    pub schema: Option<(i32, i32)>,
}

impl Probed {
    /// Whether its tables are such that this gateway can work with them.
    pub fn is_known_schema(&self) -> bool {
        self.schema.is_none_or(|(_, readable)| readable <= VERSION)
    }
}

/// Looks.
///
/// # Errors
/// It can't be asked, within ten seconds.
pub async fn probe(url: &PostgresUrl, tls: Option<ClientConfig>) -> Result<Probed, StoreError> {
    let database = Database::new(url.config.clone(), tls, 1)?;
    let late = |_| StoreError::Unavailable(format!("no answer within {} s", DEADLINE.as_secs()));
    tokio::time::timeout(DEADLINE, database.ask(|client| Box::pin(look(client)))).await.map_err(late)?
}

async fn look(client: &mut Client) -> Result<Probed, Error> {
    let before = nanos(Timestamp::now());
    let look = "SELECT current_setting('server_version'), current_setting('server_version_num')::integer,
      (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
      to_regclass('xinyao_gateway.schema_version') IS NOT NULL,
      has_database_privilege(current_database(), 'CREATE')";
    let row = client.query_one(look, &[]).await?;
    let here = before.midpoint(nanos(Timestamp::now()));
    let (number, made): (i32, bool) = (row.get(1), row.get(3));
    let schema = if made {
        let row =
            client.query_one("SELECT version, readable FROM xinyao_gateway.schema_version", &[]).await?;
        Some((row.get(0), row.get(1)))
    } else {
        None
    };
    Ok(Probed {
        version: row.get(0),
        is_new_enough: number >= OLDEST,
        clock_ahead: time(row.get::<_, i64>(2).saturating_mul(1000)).duration_since(time(here)),
        may_make_tables: made || row.get(4),
        schema,
    })
}
